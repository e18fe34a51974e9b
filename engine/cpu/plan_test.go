package cpu

import "testing"

func TestArrangeKeepsLiveBuffersApart(t *testing.T) {
	var roots []*buffer
	seed := uint32(1)
	draw := func(n int) int { seed = seed*1664525 + 1013904223; return int(seed>>8) % n }
	live := make([]int, 210)
	for range 300 {
		b := &buffer{element: float32s, count: 1 + draw(5000), first: draw(200)}
		b.last = b.first + draw(10)
		roots = append(roots, b)
		for i := b.first; i <= b.last; i++ {
			live[i] += b.bytes()
		}
	}
	size := arrange(roots)
	for i, a := range roots {
		if a.offset%64 != 0 || a.offset+a.bytes() > size {
			t.Fatalf("buffer of %d bytes at %d in an arena of %d", a.bytes(), a.offset, size)
		}
		for _, b := range roots[:i] {
			if a.first <= b.last && b.first <= a.last && a.offset < b.offset+b.bytes() && b.offset < a.offset+a.bytes() {
				t.Fatalf("buffers alive in %d-%d and %d-%d overlap", a.first, a.last, b.first, b.last)
			}
		}
	}
	peak := 0
	for _, n := range live {
		peak = max(peak, n)
	}
	if size > peak*5/4 {
		t.Errorf("arena of %d bytes for a peak of %d: more than a quarter wasted", size, peak)
	}
}

func TestPackingIsInvertible(t *testing.T) {
	for _, p := range []packing{
		{out: 5, in: 3, taps: 9, block: 16, inPad: 4, outPad: 16},
		{out: 96, in: 17, taps: 1, block: 32, inPad: 32, outPad: 96},
		{out: 128, in: 64, taps: 49, block: 64, inPad: 64, outPad: 128},
	} {
		plain := make([]float32, p.out*p.in*p.taps)
		for i := range plain {
			plain[i] = float32(i + 1)
		}
		packed, back := make([]float32, p.floats()), make([]float32, len(plain))
		p.pack(packed, plain)
		p.unpack(back, packed)
		zeros := 0
		for _, v := range packed {
			if v == 0 {
				zeros++
			}
		}
		if zeros != len(packed)-len(plain) {
			t.Errorf("%+v: %d zeros of padding, want %d", p, zeros, len(packed)-len(plain))
		}
		for i := range plain {
			if back[i] != plain[i] {
				t.Fatalf("%+v: weight %d came back as %v", p, i, back[i])
			}
		}
	}
}
