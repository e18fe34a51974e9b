package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// loop opens a loop over blocks of 32 samples; the returned function closes it.
func loop(n reg.GPVirtual) func() {
	Label("next")
	return func() {
		SUBQ(Imm(32), n)
		JG(LabelRef("next"))
	}
}

// weighted sums 3 times the one and once the other register's bytes: samples 0 to 7 of each half,
// then 8 to 15.
func weighted(near, far reg.VecVirtual, weights reg.VecVirtual) [2]reg.VecVirtual {
	out := [2]reg.VecVirtual{YMM(), YMM()}
	VPUNPCKLBW(far, near, out[0])
	VPUNPCKHBW(far, near, out[1])
	for _, v := range out {
		VPMADDUBSW(weights, v, v)
	}
	return out
}

// held keeps a constant in a register.
func held(m Mem) reg.VecVirtual {
	v := YMM()
	VMOVDQU(m, v)
	return v
}

// byteAt loads 32 bytes.
func byteAt(p reg.GPVirtual, disp int) reg.VecVirtual {
	v := YMM()
	VMOVDQU(Mem{Base: p, Disp: disp}, v)
	return v
}

// mix stores pixels of even and odd columns, which are 16-bit numbers, as 64 bytes.
func mix(dst reg.GPVirtual, even, odd [2]reg.VecVirtual) {
	for i := range 2 {
		VPSLLW(Imm(8), odd[i], odd[i])
		VPOR(odd[i], even[i], even[i])
	}
	first, second := YMM(), YMM()
	VPERM2I128(Imm(0x20), even[1], even[0], first)
	VPERM2I128(Imm(0x31), even[1], even[0], second)
	VMOVDQU(first, Mem{Base: dst})
	VMOVDQU(second, Mem{Base: dst, Disp: 32})
}

// rounded adds a constant and divides.
func rounded(v [2]reg.VecVirtual, round reg.VecVirtual, shift uint64) {
	for _, x := range v {
		VPADDW(round, x, x)
		VPSRLW(Imm(shift), x, x)
	}
}

var threeToOne = 0x0103

func h2v1() {
	w, one, two := words("threeToOne", threeToOne), words("one", 1), words("two", 2)
	TEXT("h2v1AVX2", NOSPLIT, "func(dst *byte, src *byte, n int)")
	Pragma("noescape")
	Doc("h2v1AVX2 is h2v1, for n rounded up to 32.")
	dst, src, n := argument("dst"), argument("src"), argument("n")
	weights, r1, r2 := held(w), held(one), held(two)
	next := loop(n)
	here := byteAt(src, 1)
	even, odd := weighted(here, byteAt(src, 0), weights), weighted(here, byteAt(src, 2), weights)
	rounded(even, r1, 2)
	rounded(odd, r2, 2)
	mix(dst, even, odd)
	ADDQ(Imm(32), src)
	ADDQ(Imm(64), dst)
	next()
	finish()
}

func h2v2() {
	w, eight, seven := words("threeToOne2", threeToOne), words("eight", 8), words("seven", 7)
	TEXT("h2v2AVX2", NOSPLIT, "func(dst *byte, near *byte, far *byte, n int)")
	Pragma("noescape")
	Doc("h2v2AVX2 is h2v2, for n rounded up to 32.")
	dst, near, far, n := argument("dst"), argument("near"), argument("far"), argument("n")
	weights, r8, r7 := held(w), held(eight), held(seven)
	next := loop(n)
	column := func(disp int) [2]reg.VecVirtual { return weighted(byteAt(near, disp), byteAt(far, disp), weights) }
	left, here, right := column(0), column(1), column(2)
	for i := range 2 {
		triple := YMM()
		VPADDW(here[i], here[i], triple)
		VPADDW(here[i], triple, triple)
		VPADDW(triple, left[i], left[i])
		VPADDW(triple, right[i], right[i])
	}
	rounded(left, r8, 4)
	rounded(right, r7, 4)
	mix(dst, left, right)
	ADDQ(Imm(32), near)
	ADDQ(Imm(32), far)
	ADDQ(Imm(64), dst)
	next()
	finish()
}

func h1v2() {
	w := words("threeToOne1", threeToOne)
	TEXT("h1v2AVX2", NOSPLIT, "func(dst *byte, near *byte, far *byte, n int, round int)")
	Pragma("noescape")
	Doc("h1v2AVX2 is h1v2, for n rounded up to 32.")
	dst, near, far, n, round := argument("dst"), argument("near"), argument("far"), argument("n"), argument("round")
	weights, r := held(w), YMM()
	VMOVQ(round, r.AsX())
	VPBROADCASTW(r.AsX(), r)
	next := loop(n)
	v := weighted(byteAt(near, 0), byteAt(far, 0), weights)
	rounded(v, r, 2)
	VPACKUSWB(v[1], v[0], v[0])
	VMOVDQU(v[0], Mem{Base: dst})
	for _, p := range []reg.GPVirtual{near, far, dst} {
		ADDQ(Imm(32), p)
	}
	next()
	finish()
}

// yccConstants are the constants of colours in 16 bits, less the whole part that brings them into
// range: 1.402-1, 1.772-2 and 0.71414-1.
type yccConstants struct{ half, one, round, red, blue, green Mem }

// rest is a product with a constant, rounded: twice the product's upper half, plus 1, halved.
func (k *yccConstants) rest(x reg.VecVirtual, factor Mem) reg.VecVirtual {
	t := YMM()
	VPADDW(x, x, t)
	VPMULHW(factor, t, t)
	VPADDW(k.one, t, t)
	VPSRAW(Imm(1), t, t)
	return t
}

// convert makes red, green and blue.
func (k *yccConstants) convert(y, u, v reg.VecVirtual) (r, g, b reg.VecVirtual) {
	VPSUBW(k.half, u, u)
	VPSUBW(k.half, v, v)
	r, g, b = k.rest(v, k.red), YMM(), k.rest(u, k.blue)
	VPADDW(v, r, r)
	VPADDW(y, r, r)
	VPADDW(u, b, b)
	VPADDW(u, b, b)
	VPADDW(y, b, b)
	p := pairs(u, v)
	for _, x := range p {
		VPMADDWD(k.green, x, x)
		VPADDD(k.round, x, x)
		VPSRAD(Imm(16), x, x)
	}
	VPACKSSDW(p[1], p[0], g)
	VPSUBW(v, g, g)
	VPADDW(y, g, g)
	return r, g, b
}

// interleaving are the byte shuffles that spread 16 values of a colour over 48 bytes.
func interleaving() [3][3]Mem {
	var masks [3][3]Mem // [part of 16 bytes][colour]
	for part := range 3 {
		for colour := range 3 {
			var m []int
			for i := range 16 {
				at := 16*part + i
				if at%3 == colour {
					m = append(m, at/3)
				} else {
					m = append(m, 0x80)
				}
			}
			masks[part][colour] = bytes32("mask"+string(rune('0'+part))+string("RGB"[colour]), m, m)
		}
	}
	return masks
}

// storePixels writes 32 pixels.
func storePixels(dst reg.GPVirtual, masks [3][3]Mem, colours ...reg.VecVirtual) {
	var parts [3]reg.VecVirtual // 16 bytes of the first 16 pixels | of the last 16
	for part := range parts {
		for c := range 3 {
			t := YMM()
			VPSHUFB(masks[part][c], colours[c], t)
			if c == 0 {
				parts[part] = t
			} else {
				VPOR(t, parts[part], parts[part])
			}
		}
	}
	out := YMM()
	VPERM2I128(Imm(0x20), parts[1], parts[0], out)
	VMOVDQU(out, Mem{Base: dst})
	VPBLENDD(Imm(0xF0), parts[0], parts[2], out)
	VMOVDQU(out, Mem{Base: dst, Disp: 32})
	VPERM2I128(Imm(0x31), parts[2], parts[1], out)
	VMOVDQU(out, Mem{Base: dst, Disp: 64})
}

func ycc() {
	k := &yccConstants{
		half: words("chromaZero", 128), one: words("oneYCC", 1), round: doubles("roundGreen", 1<<15),
		red: words("red", 26345), blue: words("blue", 116130-2*65536), green: words("green", -22554, 65536-46802),
	}
	masks := interleaving()
	TEXT("yccAVX2", NOSPLIT, "func(dst *byte, luma *byte, cb *byte, cr *byte, n int)")
	Pragma("noescape")
	Doc("yccAVX2 is yccRGB, for n that is a multiple of 32.")
	dst, luma, cb, cr, n := argument("dst"), argument("luma"), argument("cb"), argument("cr"), argument("n")
	zero := YMM()
	VPXOR(zero, zero, zero)
	next := loop(n)
	wide := func(p reg.GPVirtual) [2]reg.VecVirtual {
		v, out := byteAt(p, 0), [2]reg.VecVirtual{YMM(), YMM()}
		VPUNPCKLBW(zero, v, out[0])
		VPUNPCKHBW(zero, v, out[1])
		return out
	}
	y, u, v := wide(luma), wide(cb), wide(cr)
	var colours [3][2]reg.VecVirtual
	for i := range 2 {
		colours[0][i], colours[1][i], colours[2][i] = k.convert(y[i], u[i], v[i])
	}
	for c := range colours {
		VPACKUSWB(colours[c][1], colours[c][0], colours[c][0])
	}
	storePixels(dst, masks, colours[0][0], colours[1][0], colours[2][0])
	for _, p := range []reg.GPVirtual{luma, cb, cr} {
		ADDQ(Imm(32), p)
	}
	ADDQ(Imm(96), dst)
	next()
	finish()
}
