package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
)

// cacheFlags say where pictures are kept once they have been read. Every command that opens images
// takes them.
type cacheFlags struct {
	dir   string
	limit byteSize
}

func (f *cacheFlags) bind(c *cobra.Command) {
	f.limit = data.DefaultCacheLimit
	c.PersistentFlags().StringVar(&f.dir, "cache", "", "folder that keeps pictures once they are decoded and reduced, "+
		"for the next epoch and the next command. The result is the same with and without")
	c.PersistentFlags().Var(&f.limit, "cache-size", "most that --cache may take; what was unused for longest goes first")
}

// byteSize is the value of a flag: a number of bytes, or of KB, MB, GB, TB, KiB, MiB, GiB or TiB.
type byteSize int64

// units of byteSize, the longer words first.
var units = []struct {
	word  string
	bytes float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12}, {"b", 1}, {"", 1},
}

// Set parses the flag.
func (b *byteSize) Set(text string) error {
	lower := strings.ToLower(strings.TrimSpace(text))
	for _, u := range units {
		number, ok := strings.CutSuffix(lower, u.word)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v > 0) || v*u.bytes >= math.MaxInt64 || v*u.bytes < 1 {
			break
		}
		*b = byteSize(v * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size; give bytes, or a number of KB, MB, GB, KiB, MiB or GiB, such as 20GiB", text)
}

// Type is what the help calls the value.
func (b *byteSize) Type() string { return "size" }

// String is what Set reads, in the largest unit that divides the number.
func (b *byteSize) String() string {
	for _, u := range []struct {
		word  string
		bytes byteSize
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if *b >= u.bytes && *b%u.bytes == 0 {
			return strconv.FormatInt(int64(*b/u.bytes), 10) + u.word
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}
