package rng

import (
	"math"
	"testing"
)

func TestStreamsDependOnEveryKeyWord(t *testing.T) {
	seen := map[uint64][]uint64{}
	for _, key := range [][]uint64{{}, {0}, {1}, {0, 0}, {0, 1}, {1, 0}, {1, 1}, {0, 0, 0}, {1 << 63}} {
		s := New(key...)
		v := s.Uint64()
		if other, ok := seen[v]; ok {
			t.Errorf("keys %v and %v start with the same value", key, other)
		}
		seen[v] = key
		again := New(key...)
		if again.Uint64() != v {
			t.Errorf("key %v gave two different streams", key)
		}
	}
}

func TestMoments(t *testing.T) {
	const n = 200000
	s := New(7)
	var u, u2, g, g2 float64
	for range n {
		x, y := s.Float64(), s.Normal()
		if x < 0 || x >= 1 {
			t.Fatalf("Float64 gave %v, outside [0, 1)", x)
		}
		u, u2, g, g2 = u+x, u2+x*x, g+y, g2+y*y
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"uniform mean", u / n, 0.5}, {"uniform second moment", u2 / n, 1.0 / 3}, {"normal mean", g / n, 0}, {"normal variance", g2 / n, 1}} {
		if math.Abs(c.got-c.want) > 0.01 {
			t.Errorf("%s is %.4f, want %.4f", c.name, c.got, c.want)
		}
	}
}

func TestPerm(t *testing.T) {
	counts := [4][4]int{}
	for i := range 24000 {
		s := New(uint64(i))
		p := make([]int, 4)
		s.Perm(p)
		for place, v := range p {
			counts[place][v]++
		}
	}
	for place := range counts {
		for v, c := range counts[place] {
			if c < 5600 || c > 6400 {
				t.Errorf("value %d stood in place %d %d times of 24000, want about 6000", v, place, c)
			}
		}
	}
}
