package cpu

import (
	"slices"
	"testing"
)

func TestPoolRunsEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 5} {
		p := newPool(workers)
		for _, parts := range []int{0, 1, 2, 3, 17, 1000} {
			for range 50 {
				seen := make([]int32, parts)
				p.run(parts, func(_ *worker, part int) { seen[part]++ })
				if slices.ContainsFunc(seen, func(n int32) bool { return n != 1 }) {
					t.Fatalf("%d workers, %d parts: parts ran %v times", workers, parts, seen)
				}
			}
		}
		p.close()
	}
}

func TestPoolWakesAfterSleep(t *testing.T) {
	p := newPool(3)
	defer p.close()
	for p.asleep[1].Load() == false || p.asleep[2].Load() == false {
		// helpers go to sleep by themselves when nothing comes
	}
	total := make([]int, 64)
	for range 100 {
		p.run(len(total), func(_ *worker, part int) { total[part]++ })
	}
	for part, n := range total {
		if n != 100 {
			t.Errorf("part %d ran %d times of 100", part, n)
		}
	}
}

func BenchmarkPoolPhase(b *testing.B) {
	p := newPool(2)
	defer p.close()
	b.ReportAllocs()
	for b.Loop() {
		p.run(2, func(*worker, int) {})
	}
}
