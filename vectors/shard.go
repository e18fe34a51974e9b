package vectors

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Shard is one of several files that together hold the rows of a set: number Index, counted from 1,
// of Count. The zero value is the whole.
type Shard struct{ Index, Count int }

// Whole is true of a shard that is no part.
func (s Shard) Whole() bool { return s.Count == 0 }

// String is the shard as ParseShard reads it: "3/7".
func (s Shard) String() string {
	if s.Whole() {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}

// ParseShard reads "3/7": the third of seven.
func ParseShard(text string) (Shard, error) {
	left, right, ok := strings.Cut(text, "/")
	index, err1 := strconv.Atoi(left)
	count, err2 := strconv.Atoi(right)
	s := Shard{Index: index, Count: count}
	if !ok || err1 != nil || err2 != nil {
		return Shard{}, fmt.Errorf("%q is no shard; 3/7 is the third of seven", text)
	}
	if err := s.Check(); err != nil {
		return Shard{}, err
	}
	return s, nil
}

// mostShards is the largest number of shards.
const mostShards = 1_000_000

// Check returns an error if there is no such shard.
func (s Shard) Check() error {
	if s.Whole() && s.Index == 0 {
		return nil
	}
	if s.Count < 1 || s.Count > mostShards || s.Index < 1 || s.Index > s.Count {
		return fmt.Errorf("there is no shard %d of %d: shards are counted from 1, and are at most %d", s.Index, s.Count, mostShards)
	}
	return nil
}

// Range is the images of the shard, from first up to last, of a set of n. The ranges of all shards
// follow each other without gaps, and their lengths differ by at most one.
func (s Shard) Range(n int) (first, last int) {
	if s.Whole() {
		return 0, n
	}
	cut := func(i int) int { // n*i/count, without overflow
		return n/s.Count*i + n%s.Count*i/s.Count
	}
	return cut(s.Index - 1), cut(s.Index)
}

// Path is the shard's file: photos.jsonl becomes photos-0003-of-0007.jsonl.
func (s Shard) Path(whole string) string {
	if s.Whole() {
		return whole
	}
	if _, ok := clipNumber(whole); ok {
		return clipShard(whole, s)
	}
	ending := filepath.Ext(whole)
	return fmt.Sprintf("%s-%04d-of-%04d%s", strings.TrimSuffix(whole, ending), s.Index, s.Count, ending)
}

var shardName = regexp.MustCompile(`^(.*)-([0-9]{4,7})-of-([0-9]{4,7})$`)

// parseShardName takes the name of a shard's file apart. It accepts only what Path gives.
func parseShardName(name string) (whole string, s Shard, ok bool) {
	ending := filepath.Ext(name)
	m := shardName.FindStringSubmatch(strings.TrimSuffix(name, ending))
	if m == nil {
		return "", Shard{}, false
	}
	s.Index, _ = strconv.Atoi(m[2])
	s.Count, _ = strconv.Atoi(m[3])
	whole = m[1] + ending
	return whole, s, !s.Whole() && s.Check() == nil && s.Path(whole) == name
}
