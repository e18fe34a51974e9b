package half

import (
	"math"
	"testing"
)

// value is the definition of a half.
func value(h uint16) float64 {
	exponent, fraction, sign := int(h>>10&31), float64(h&1023), 1.0
	if h>>15 == 1 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction != 0 {
			return math.NaN()
		}
		return sign * math.Inf(1)
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}

// TestAll: all halves have their value and come back from it. Between two neighbours, a value goes
// to the nearer one, and the middle to the even one.
func TestAll(t *testing.T) {
	t.Parallel()
	for i := range 1 << 16 {
		h := uint16(i)
		v, want := From(h), value(h)
		if math.IsNaN(want) {
			if v == v || From(To(v)) == From(To(v)) {
				t.Fatalf("%#x is %v and comes back as %#x, want NaN", h, v, To(v))
			}
			continue
		}
		if float64(v) != want || math.Signbit(float64(v)) != math.Signbit(want) || To(v) != h {
			t.Fatalf("%#x is %v and comes back as %#x, want %v", h, v, To(v), want)
		}
		if h&0x7fff >= 0x7bff { // no finite neighbour above it
			continue
		}
		next := h + 1 // larger in magnitude
		middle := float32((want + value(next)) / 2)
		even := h + h&1
		away := float32(math.Copysign(math.Inf(1), want))
		for _, c := range []struct {
			v    float32
			want uint16
		}{{middle, even}, {math.Nextafter32(middle, 0), h}, {math.Nextafter32(middle, away), next}} {
			if got := To(c.v); got != c.want {
				t.Fatalf("%v between %#x and %#x becomes %#x, want %#x", c.v, h, next, got, c.want)
			}
		}
	}
	for v, want := range map[float32]uint16{65519: 0x7bff, 65520: 0x7c00, -1e30: 0xfc00, math.MaxFloat32: 0x7c00,
		float32(math.Inf(-1)): 0xfc00, 1e-30: 0, -1e-30: 0x8000} {
		if got := To(v); got != want {
			t.Errorf("%v becomes %#x, want %#x", v, got, want)
		}
	}
}
