// Package half converts between float32 and IEEE 754's binary16: a sign, 5 bits of exponent, 10 of
// fraction. NumPy and PyTorch call it float16. bfloat16 is another format.
package half

import "math"

// From is the value of a half.
func From(h uint16) float32 {
	// The bits of exponent and fraction stand for a number that is 2^112 times too small. The
	// product is exact, and makes normal numbers of denormal ones.
	v := math.Float32bits(math.Float32frombits(uint32(h&0x7fff)<<13) * 0x1p112)
	if h&0x7c00 == 0x7c00 { // infinite, or NaN
		v = 0x7f800000 | uint32(h&0x3ff)<<13
	}
	return math.Float32frombits(v | uint32(h&0x8000)<<16)
}

// To is the half nearest to a value. Ties go to the even one. Values from 65520 on become infinite.
func To(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000: // NaN stays NaN
		return sign | 0x7e00
	case bits >= 0x47800000: // 65536
		return sign | 0x7c00
	case bits < 0x38800000: // below 2^-14: a multiple of 2^-24
		// In the sum, the last bit of the fraction is worth 2^-24, so the addition rounds.
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+0.5)-0x3f000000)
	}
	// Round to 10 bits of fraction. A carry goes into the exponent, as it should.
	bits += 0xfff + bits>>13&1
	return sign | uint16((bits-0x38000000)>>13)
}
