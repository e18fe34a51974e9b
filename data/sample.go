package data

import (
	"errors"
	"fmt"
	"hash"
	"slices"

	"moco/internal/rng"
	"moco/picture"
)

// Sample returns n images of the set, as many of each class as of any other (one more of some where
// n does not divide), chosen by the seed and kept in the set's order. It reads through s and its
// cache: close it or not, but use it only while s is open.
func (s *Set) Sample(n int, seed uint64) (*Set, error) {
	if n < 1 || n > s.Len() {
		return nil, fmt.Errorf("a sample of %d images is asked for, and there are %d; give 1 to %d",
			n, s.Len(), s.Len())
	}
	if s.groups != nil {
		return nil, errors.New("a sample of images would tear their groups apart; give a folder with fewer " +
			"videos or groups")
	}
	order := make([]int, s.Len())
	random := rng.New(seed, sampleStream)
	random.Perm(order)
	byClass := make([][]int, max(1, len(s.classes)))
	for _, i := range order {
		c := max(0, s.Label(i))
		byClass[c] = append(byClass[c], i)
	}
	var keep []int
	for round := 0; len(keep) < n; round++ {
		for _, images := range byClass {
			if round < len(images) && len(keep) < n {
				keep = append(keep, images[round])
			}
		}
	}
	slices.Sort(keep)
	return s.Subset(keep)
}

// Subset returns the images of the set that have these places, in this order. Like a Sample it
// reads through s.
func (s *Set) Subset(keep []int) (*Set, error) {
	if len(keep) == 0 {
		return nil, errors.New("a subset of no images is asked for")
	}
	if s.groups != nil {
		return nil, errors.New("a subset would tear the groups of the images apart")
	}
	part := s.take(keep)
	part.kind, part.backend = fmt.Sprintf("%d of the images of %s", len(keep), s.kind), &sampled{s, keep}
	return part, nil
}

// sampleStream is the purpose of the random numbers that a sample is drawn with.
const sampleStream = 300

// sampled is some of the images of a set.
type sampled struct {
	of   *Set
	keep []int
}

func (b *sampled) read(i int, how picture.Options, dst *Image) error {
	err := b.of.ReadAs(b.keep[i], readingOf(how), dst)
	var bad *BadImage
	if errors.As(err, &bad) { // the sample names it again
		return bad.Err
	}
	return err
}

func (b *sampled) header(i int) (string, int, int, error) { return b.of.backend.header(b.keep[i]) }
func (b *sampled) stored(i int, buf []byte) ([]byte, bool, error) {
	return b.of.backend.stored(b.keep[i], buf)
}
func (b *sampled) changed(i int) int64     { return changedOf(b.of.backend, b.keep[i]) }
func (b *sampled) size(i int) int64        { return b.of.backend.size(b.keep[i]) }
func (b *sampled) fingerprint(h hash.Hash) { b.of.backend.fingerprint(h) }
func (b *sampled) close() error            { return nil }
