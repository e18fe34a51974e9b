package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// turnConstants are those of turn alone.
type turnConstants struct {
	one, six, perGrid, half, two, three, minusOne Mem // floats
	sign, byteMask, ones, whole, places           Mem

	// By the sixth of the circle: what is flipped in an odd one, and which byte of a number is red,
	// green and blue. The seventh is the first once more: hue 255 is a whole turn.
	odd, arrange Mem
}

func newTurnConstants() turnConstants {
	const value, between, lowest = 0, 1, 2
	order := func(r, g, b uint32) uint32 { return r | g<<8 | b<<16 }
	return turnConstants{
		one: floats("oneFloat", 1), six: floats("sixFloat", 6), perGrid: floats("perGrid", 1.0/(255*255)),
		half: floats("halfFloat", 0.5), two: floats("twoFloat", 2), three: floats("threeFloat", 3),
		minusOne: floats("minusOneFloat", -1),
		sign:     integers("sign", 1<<31), byteMask: integers("byteMask", 255), ones: integers("ones", 1),
		whole:  integers("whole", 255*255),
		places: integers("places", 0, 0x04040404, 0x08080808, 0x0c0c0c0c),
		odd:    integers("oddSixths", 0, 255, 0, 255, 0, 255, 0, 0),
		arrange: integers("arrangements",
			order(value, between, lowest), order(between, value, lowest), order(lowest, value, between),
			order(lowest, between, value), order(between, lowest, value), order(value, lowest, between),
			order(value, between, lowest), 0),
	}
}

// turn converts pixels to hue, saturation and value, and back, in float32. It has fewer roundings than
// the plain function, and other ones; that every colour and hue comes out the same is shown by trying
// all of them.
func turn(s *isa) {
	s.routine("turn", "pix *byte, n int, shift int", " is turn, for n pixels, a multiple of "+decimal(s.lanes)+".")
	k := &s.c.turn
	s.hold(s.c.channel[:]...)
	s.hold(s.c.most, s.c.firstThree, k.one, k.six, k.perGrid, k.half, k.two, k.three, k.minusOne, k.sign, k.byteMask,
		k.ones, k.whole, k.places, k.odd, k.arrange)
	pix, n := argument("pix"), argument("n")
	shift := s.vec()
	VPBROADCASTD(paramAddr("shift"), shift)
	loop(n, s.lanes, func() {
		pixels := s.load(pix)
		var rgb [3]reg.VecVirtual
		for c := range rgb {
			rgb[c] = s.vec()
			VPSHUFB(s.held(s.c.channel[c]), pixels, rgb[c])
		}
		hue, saturation, value := k.toHSV(s, rgb)
		VPADDD(shift, hue, hue)
		s.and(s.held(k.byteMask), hue, hue)
		s.store(k.toRGB(s, hue, saturation, value), pix)
		ADDQ(Imm(uint64(3*s.lanes)), pix)
	})
}

// toHSV makes hue, saturation and value. The hue of gray is any number.
func (k *turnConstants) toHSV(s *isa, rgb [3]reg.VecVirtual) (hue, saturation, value reg.VecVirtual) {
	r, g, b := rgb[0], rgb[1], rgb[2]
	largest, smallest := s.vec(), s.vec()
	VPMAXUD(r, g, largest)
	VPMAXUD(b, largest, largest)
	VPMINUD(r, g, smallest)
	VPMINUD(b, smallest, smallest)

	// The largest is the first of red, green and blue that is. Around the circle, before comes the
	// colour before it.
	isRed, isGreen := s.equal(r, largest), s.equal(g, largest)
	before := s.choose(isRed, b, s.choose(isGreen, r, g))
	turns := s.choose(isRed, s.operand(k.minusOne), s.choose(isGreen, s.operand(k.one), s.operand(k.three)))

	span, middle := s.vec(), s.vec()
	VPADDD(r, g, middle)
	VPADDD(b, middle, middle)
	VPSUBD(smallest, middle, middle) // largest + middle
	VPSUBD(smallest, largest, span)
	share := s.vec() // by how much of the span the middle one is below the largest
	VPADDD(largest, largest, share)
	VPSUBD(middle, share, share)
	VCVTDQ2PS(share, share)
	VCVTDQ2PS(span, span)
	VDIVPS(span, share, share)

	// Where the colour before is the smallest, the angle is 2 more, less the share.
	isLow := s.equal(before, smallest)
	VADDPS(s.where(isLow, s.held(k.two)), turns, turns)
	s.xor(s.where(isLow, s.held(k.sign)), share, share)
	angle, negative := s.vec(), s.vec()
	VADDPS(share, turns, angle)
	VPSRAD(Imm(31), angle, negative)
	s.and(s.held(k.one), negative, negative)
	VDIVPS(s.held(k.six), angle, angle)
	VADDPS(negative, angle, angle)
	VMULPS(s.held(s.c.most), angle, angle)
	VCVTTPS2DQ(angle, angle)

	divisor := s.vec()
	VPMAXUD(s.held(k.ones), largest, divisor) // black has no saturation
	VCVTDQ2PS(divisor, divisor)
	VDIVPS(divisor, span, span)
	VMULPS(s.held(s.c.most), span, span)
	VCVTTPS2DQ(span, span)
	return angle, span, largest
}

// toRGB makes pixels, in the first 12 bytes of each part. It overwrites value.
func (k *turnConstants) toRGB(s *isa, hue, saturation, value reg.VecVirtual) reg.VecVirtual {
	times, sixth, rest := s.vec(), s.vec(), s.vec() // 6 hue = 255 sixth + rest
	VPADDD(hue, hue, times)
	VPADDD(hue, times, times)
	VPADDD(times, times, times)
	VPSRLD(Imm(8), times, sixth)
	VPADDD(times, sixth, sixth)
	VPADDD(s.held(k.ones), sixth, sixth)
	VPSRLD(Imm(8), sixth, sixth)
	VPSLLD(Imm(8), sixth, rest)
	VPSUBD(sixth, rest, rest)
	VPSUBD(rest, times, rest)

	// rest in odd sixths, 255-rest in even ones.
	odd := s.vec()
	VPERMD(s.held(k.odd), sixth, odd)
	s.xor(s.held(k.byteMask), rest, rest) // 255-rest
	s.xor(odd, rest, rest)

	v := s.vec()
	VCVTDQ2PS(value, v)
	between, lowest := k.mixed(s, rest, saturation, v), k.mixed(s, s.held(k.byteMask), saturation, v)
	VPSLLD(Imm(8), between, between)
	VPSLLD(Imm(16), lowest, lowest)
	s.or(between, value, value)
	s.or(lowest, value, value)
	arrange := s.vec()
	VPERMD(s.held(k.arrange), sixth, arrange)
	VPADDB(s.held(k.places), arrange, arrange)
	VPSHUFB(arrange, value, value)
	VPSHUFB(s.held(s.c.firstThree), value, value)
	return value
}

// mixed is v(1 - saturation/255 m/255), rounded to the nearest. No half is ever near enough for
// roundings to matter: 255 times 255 is odd.
func (k *turnConstants) mixed(s *isa, m Op, saturation, v reg.VecVirtual) reg.VecVirtual {
	x := s.vec()
	VPMULLW(m, saturation, x)
	VPSUBD(x, s.operand(k.whole), x)
	VCVTDQ2PS(x, x)
	VMULPS(v, x, x) // exact, below 1<<24
	VMULPS(s.held(k.perGrid), x, x)
	VADDPS(s.held(k.half), x, x)
	VCVTTPS2DQ(x, x)
	return x
}
