package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// turnConstants are those of turn.
type turnConstants struct {
	one, six, perGrid, half, two, three, minusOne Mem // floats
	sign, byteMask, ones, whole, places           Mem
	odd, arrange, first                           Mem
}

// turn converts eight pixels at a time to hue, saturation and value, and back, in float32. It has
// fewer roundings than the plain function, and other ones; that every colour and hue comes out the
// same is shown by trying all of them.
func turn() {
	k := &turnConstants{
		one: floats("oneF", 1), six: floats("sixF", 6),
		perGrid: floats("perGrid", 1.0/(255*255)), half: floats("halfF", 0.5),
		two: floats("twoF", 2), sign: integers("sign", 1<<31), byteMask: integers("byteMask", 255),
		ones: integers("ones", 1), whole: integers("whole", 255*255), minusOne: floats("minusOne", -1), three: floats("threeF", 3),
		// By the sixth of the circle. The seventh is the first once more: hue 255 is a whole turn.
		odd:    integers("oddSixths", 0, 255, 0, 255, 0, 255, 0, 0),
		places: integers("places", 0x00000000, 0x04040404, 0x08080808, 0x0c0c0c0c),
	}
	const value, between, lowest = 0, 1, 2
	order := func(r, g, b uint32) uint32 { return r | g<<8 | b<<16 }
	// By the sixth, too: which byte of a number is red, green and blue.
	k.arrange = integers("arrangements",
		order(value, between, lowest), order(between, value, lowest), order(lowest, value, between),
		order(lowest, between, value), order(between, lowest, value), order(value, lowest, between),
		order(value, between, lowest), 0)
	k.first = shuffle("firstThree", 0, func(i int) int {
		if i < 12 {
			return i/3*4 + i%3
		}
		return -1
	})
	TEXT("turnAVX2", NOSPLIT, "func(pix *byte, n int, shift int)")
	Pragma("noescape")
	Doc("turnAVX2 is turn, for n pixels, a multiple of 8.")
	pix, n := argument("pix"), argument("n")
	shift := YMM()
	VPBROADCASTD(paramAddr("shift"), shift)
	loop(n, 8, func() {
		pixels := eight(pix)
		var rgb [3]reg.VecVirtual
		for c := range rgb {
			rgb[c] = YMM()
			VPSHUFB(constants.channel[c], pixels, rgb[c])
		}
		h, s, v := k.toHSV(rgb)
		VPADDD(shift, h, h)
		VPAND(k.byteMask, h, h)
		store(k.toRGB(h, s, v), pix)
		ADDQ(Imm(24), pix)
	})
}

// toHSV makes hue, saturation and value. The hue of gray is any number.
func (k *turnConstants) toHSV(rgb [3]reg.VecVirtual) (h, s, v reg.VecVirtual) {
	r, g, b := rgb[0], rgb[1], rgb[2]
	largest, smallest := YMM(), YMM()
	VPMAXUD(r, g, largest)
	VPMAXUD(b, largest, largest)
	VPMINUD(r, g, smallest)
	VPMINUD(b, smallest, smallest)

	// The largest is the first of red, green and blue that is. Around the circle, before comes the
	// colour before it.
	isRed, isGreen, before, turns := YMM(), YMM(), YMM(), YMM()
	VPCMPEQD(r, largest, isRed)
	VPCMPEQD(g, largest, isGreen)
	VPBLENDVB(isGreen, r, g, before)
	VPBLENDVB(isRed, b, before, before)
	VMOVUPS(k.three, turns)
	VBLENDVPS(isGreen, k.one, turns, turns)
	VBLENDVPS(isRed, k.minusOne, turns, turns)

	span, middle := YMM(), YMM()
	VPADDD(r, g, middle)
	VPADDD(b, middle, middle)
	VPSUBD(smallest, middle, middle) // largest + middle
	VPSUBD(smallest, largest, span)
	share := YMM() // by how much of the span the middle one is below the largest
	VPADDD(largest, largest, share)
	VPSUBD(middle, share, share)
	VCVTDQ2PS(share, share)
	VCVTDQ2PS(span, span)
	VDIVPS(span, share, share)

	// Where the colour before is the smallest, the angle is 2 more, less the share.
	isLow, two := YMM(), YMM()
	VPCMPEQD(before, smallest, isLow)
	VPAND(k.two, isLow, two)
	VADDPS(two, turns, turns)
	VPAND(k.sign, isLow, isLow)
	VPXOR(isLow, share, share)
	angle, negative := YMM(), YMM()
	VADDPS(share, turns, angle)
	VPSRAD(Imm(31), angle, negative)
	VPAND(k.one, negative, negative)
	VDIVPS(k.six, angle, angle)
	VADDPS(negative, angle, angle)
	VMULPS(constants.most, angle, angle)
	h = YMM()
	VCVTTPS2DQ(angle, h)

	s = YMM()
	divisor := YMM()
	VPMAXUD(k.ones, largest, divisor) // black has no saturation
	VCVTDQ2PS(divisor, divisor)
	VDIVPS(divisor, span, span)
	VMULPS(constants.most, span, span)
	VCVTTPS2DQ(span, s)
	return h, s, largest
}

// toRGB makes pixels, in the first 12 bytes of each half.
func (k *turnConstants) toRGB(h, s, v reg.VecVirtual) reg.VecVirtual {
	times, sixth, rest := YMM(), YMM(), YMM() // 6h = 255 sixth + rest
	VPADDD(h, h, times)
	VPADDD(h, times, times)
	VPADDD(times, times, times)
	VPSRLD(Imm(8), times, sixth)
	VPADDD(times, sixth, sixth)
	VPADDD(k.ones, sixth, sixth)
	VPSRLD(Imm(8), sixth, sixth)
	VPSLLD(Imm(8), sixth, rest)
	VPSUBD(sixth, rest, rest)
	VPSUBD(rest, times, rest)

	// rest in odd sixths, 255-rest in even ones.
	odd := YMM()
	VPERMD(k.odd, sixth, odd)
	VPXOR(k.byteMask, rest, rest) // 255-rest
	VPXOR(odd, rest, rest)

	value := YMM()
	VCVTDQ2PS(v, value)
	between, lowest := k.mixed(rest, s, value), k.mixed(nil, s, value)
	VPSLLD(Imm(8), between, between)
	VPSLLD(Imm(16), lowest, lowest)
	VPOR(between, v, v)
	VPOR(lowest, v, v)
	arrange := YMM()
	VPERMD(k.arrange, sixth, arrange)
	VPADDB(k.places, arrange, arrange)
	VPSHUFB(arrange, v, v)
	VPSHUFB(k.first, v, v)
	return v
}

// mixed is v(1 - s/255 m/255), rounded to the nearest. No half is ever near enough for roundings to
// matter: 255 times 255 is odd. m is 255 where none is given.
func (k *turnConstants) mixed(m Op, s, v reg.VecVirtual) reg.VecVirtual {
	x, whole := YMM(), YMM()
	if m == nil {
		m = k.byteMask
	}
	VPMULLW(m, s, x)
	VMOVDQU(k.whole, whole)
	VPSUBD(x, whole, x)
	VCVTDQ2PS(x, x)
	VMULPS(v, x, x) // exact, below 1<<24
	VMULPS(k.perGrid, x, x)
	VADDPS(k.half, x, x)
	VCVTTPS2DQ(x, x)
	return x
}
