package explore

import (
	"context"
	"runtime"
	"testing"

	"moco/evaluate"
	"moco/vectors"
)

// allocated is the number of bytes that f allocates, whether or not they are given back meanwhile.
func allocated(t *testing.T, f func() error) int64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestMemory: questions on features in a file allocate no more than is said, which is less than the
// features alone take in memory.
func TestMemory(t *testing.T) { // not parallel: it measures the process
	const n, dim = 100_000, 256
	ctx := context.Background()
	set := inFile(t, noisy(n, dim), vectors.Float16, 1)
	features := int64(n) * dim * 4
	x := explorer(t, 0)
	for name, c := range map[string]struct {
		said int64
		ask  func() error
	}{
		"search": {SearchMemory(dim, 10), func() error {
			return x.Search(ctx, set, set.Part(0, 100), 10, func(int, []evaluate.Neighbour) error { return nil })
		}},
		"pairs": {PairsMemory(max(n, pairsExactly+1), dim), func() error {
			h, err := newHashing(ctx, set, 0.999)
			if err != nil {
				return err
			}
			_, err = x.hashedPairs(ctx, set, h, 0.999)
			return err
		}},
		"clusters": {KMeans{K: 4}.Memory(n, dim), func() error {
			_, err := x.start(ctx, set, 4, 0)
			return err
		}},
	} {
		if c.said > features {
			t.Errorf("%s: %d MB are said, and the features alone take %d", name, c.said>>20, features>>20)
		}
		if got := allocated(t, c.ask); got > c.said {
			t.Errorf("%s allocates %d MB, and %d are said", name, got>>20, c.said>>20)
		}
	}
}

// noisy is n rows of numbers that are quick to make.
func noisy(n, dim int) *evaluate.Embedded {
	e := &evaluate.Embedded{Dim: dim, Features: make([]float32, n*dim), Labels: make([]int, n)}
	word := uint32(1)
	for i := range e.Features {
		word = word*1664525 + 1013904223
		e.Features[i] = float32(int32(word)) / (1 << 35)
	}
	return e
}
