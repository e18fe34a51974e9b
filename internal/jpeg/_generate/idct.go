package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The constants of the transforms, times 8192, as in idct.go.
const (
	f0211, f0298, f0390, f0509, f0541, f0601 = 1730, 2446, 3196, 4176, 4433, 4926
	f0720, f0765, f0850, f0899, f1061, f1175 = 5906, 6270, 6967, 7373, 8697, 9633
	f1272, f1451, f1501, f1847, f1961, f2053 = 10426, 11893, 12299, 15137, 16069, 16819
	f2172, f2562, f3072, f3624               = 17799, 20995, 25172, 29692
)

// A register holds two rows of 8 values, one in each half; [a|b] is a in the low half and b in the
// high one. VPMADDWD makes sums of two products, so rows are interleaved in the pairs that are
// summed: the low unpacking gives columns 0 to 3, the high one 4 to 7.
type transform struct {
	even, odd, rotateA, rotateB, sign, round Mem
	shift                                    uint64
}

// pairs interleaves two registers: columns 0 to 3 and 4 to 7.
func pairs(a, b reg.VecVirtual) [2]reg.VecVirtual {
	out := [2]reg.VecVirtual{YMM(), YMM()}
	VPUNPCKLWD(b, a, out[0])
	VPUNPCKHWD(b, a, out[1])
	return out
}

// apply transforms [0|4], [2|6], [7|5], [3|1] to [0|1], [3|2], [4|5], [7|6].
func (t *transform) apply(in [4]reg.VecVirtual) [4]reg.VecVirtual {
	in04, in26, in75, in31 := in[0], in[1], in[2], in[3]
	p26 := pairs(in26, swapped(in26)) // (2,6) | (6,2)
	sum := swapped(in04)
	signed, zero := YMM(), YMM()
	VPSIGNW(t.sign, in04, signed)
	VPADDW(signed, sum, sum) // [0+4 | 0-4]
	VPXOR(zero, zero, zero)
	wide := pairs(zero, sum) // in the upper half of 32 bits
	z := YMM()
	VPADDW(in75, in31, z)
	pz := pairs(z, swapped(z))         // (7+3, 5+1) | (5+1, 7+3)
	podd := pairs(in75, swapped(in31)) // (7,1) | (5,3)

	var outer, inner, odd32, odd01 [2]reg.VecVirtual
	for i := range 2 {
		VPMADDWD(t.even, p26[i], p26[i])
		VPSRAD(Imm(3), wide[i], wide[i]) // times 8192
		outer[i], inner[i] = YMM(), YMM()
		VPADDD(p26[i], wide[i], outer[i]) // [10|11]
		VPSUBD(p26[i], wide[i], inner[i]) // [13|12]
		VPMADDWD(t.odd, pz[i], pz[i])
		odd01[i], odd32[i] = YMM(), YMM()
		VPMADDWD(t.rotateA, podd[i], odd01[i])
		VPMADDWD(t.rotateB, podd[i], odd32[i])
		VPADDD(pz[i], odd01[i], odd01[i])
		VPADDD(swapped(pz[i]), odd32[i], odd32[i])
		round := YMM()
		VMOVDQU(t.round, round)
		VPADDD(round, outer[i], outer[i])
		VPADDD(round, inner[i], inner[i])
	}
	combine := func(op func(...Op), a, b [2]reg.VecVirtual) reg.VecVirtual {
		var half [2]reg.VecVirtual
		for i := range 2 {
			half[i] = YMM()
			op(b[i], a[i], half[i])
			VPSRAD(Imm(t.shift), half[i], half[i])
		}
		out := YMM()
		VPACKSSDW(half[1], half[0], out)
		return out
	}
	add := func(o ...Op) { VPADDD(o[0], o[1], o[2]) }
	sub := func(o ...Op) { VPSUBD(o[0], o[1], o[2]) }
	return [4]reg.VecVirtual{
		combine(add, outer, odd32), combine(add, inner, odd01), combine(sub, inner, odd01), combine(sub, outer, odd32),
	}
}

// spread is a shuffle that fills the halves of a register with one value each.
func spread(name string, low, high int) Mem {
	var a, b []int
	for range 8 {
		a, b = append(a, 2*low, 2*low+1), append(b, 2*high, 2*high+1)
	}
	return bytes32(name, a, b)
}

func idct8() {
	t := &transform{
		even:    lanes("even8", f0541+f0765, f0541, f0541-f1847, f0541),
		odd:     lanes("odd8", f1175-f1961, f1175, f1175-f0390, f1175),
		rotateA: lanes("rotateA8", f0298-f0899, -f0899, f2053-f2562, -f2562),
		rotateB: lanes("rotateB8", -f0899, f1501-f0899, -f2562, f3072-f2562),
		sign:    lanes("sign8", 1, 1, -1, -1),
		round:   doubles("round11", 1<<10),
		shift:   11,
	}
	second := *t
	second.round, second.shift = doubles("round18", 1<<17), 18
	spreads := [4]Mem{
		spread("spread04", 0, 4), spread("spread26", 2, 6), spread("spread75", 7, 5), spread("spread31", 3, 1),
	}
	pairUp := []int{0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15}
	interleave := bytes32("interleave8", pairUp, pairUp)
	centre := words("centre", 0x8080)

	TEXT("idct8AVX2", NOSPLIT, "func(dst *byte, stride int, b *int16, quant *int16)")
	Pragma("noescape")
	Doc("idct8AVX2 is idct8.")
	dst, stride, b, quant := argument("dst"), argument("stride"), argument("b"), argument("quant")
	in := [4]reg.VecVirtual{YMM(), YMM(), YMM(), YMM()}

	// Rows 1 to 7 of 0 are common, and libjpeg treats them apart.
	any, first := YMM(), YMM()
	VMOVDQU(Mem{Base: b, Disp: 32}, any)
	VPOR(Mem{Base: b, Disp: 64}, any, any)
	VPOR(Mem{Base: b, Disp: 96}, any, any)
	VMOVDQU(Mem{Base: b, Disp: 16}, first.AsX())
	VPOR(first, any, any)
	VPTEST(any, any)
	JNZ(LabelRef("columns"))
	row := YMM()
	VMOVDQU(Mem{Base: b}, row.AsX())
	VPMULLW(Mem{Base: quant}, row.AsX(), row.AsX())
	VPSLLW(Imm(2), row.AsX(), row.AsX())
	VINSERTI128(Imm(1), row.AsX(), row, row)
	for i := range in {
		VPSHUFB(spreads[i], row, in[i])
	}
	JMP(LabelRef("rows"))

	Label("columns")
	r01, r23, r45, r67 := rows(b, quant, 0), rows(b, quant, 2), rows(b, quant, 4), rows(b, quant, 6)
	i04, i26, i75, i31 := YMM(), YMM(), YMM(), YMM()
	VPERM2I128(Imm(0x20), r45, r01, i04)
	VPERM2I128(Imm(0x20), r67, r23, i26)
	VPERM2I128(Imm(0x31), r45, r67, i75)
	VPERM2I128(Imm(0x31), r01, r23, i31)
	turned(in, t.apply([4]reg.VecVirtual{i04, i26, i75, i31}))

	Label("rows")
	out := second.apply(in)
	left, right := YMM(), YMM()
	VPACKSSWB(out[1], out[0], left)  // 0 3 | 1 2
	VPACKSSWB(out[3], out[2], right) // 4 7 | 5 6
	VPADDB(centre, left, left)
	VPADDB(centre, right, right)
	store8(dst, stride, interleave, left, right)
	finish()
}

// turned makes rows of columns: [0|1], [3|2], [4|5], [7|6] become [0|4], [2|6], [7|5], [3|1]. The
// values of a column come in the order 0 3 4 7 1 2 5 6, which store8 knows.
func turned(to, from [4]reg.VecVirtual) {
	top, bottom := pairs(from[0], from[1]), pairs(from[2], from[3])
	var u [4]reg.VecVirtual // columns 0 1, 2 3, 4 5, 6 7
	for i := range 2 {
		u[2*i], u[2*i+1] = YMM(), YMM()
		VPUNPCKLDQ(bottom[i], top[i], u[2*i])
		VPUNPCKHDQ(bottom[i], top[i], u[2*i+1])
	}
	join := func(high bool, a, b, out reg.VecVirtual, order uint64) {
		v := YMM()
		if high {
			VPUNPCKHQDQ(b, a, v)
		} else {
			VPUNPCKLQDQ(b, a, v)
		}
		VPERMQ(Imm(order), v, out)
	}
	const inOrder, exchanged = 0b11_01_10_00, 0b10_00_11_01
	join(false, u[0], u[2], to[0], inOrder)
	join(false, u[1], u[3], to[1], inOrder)
	join(true, u[2], u[3], to[2], exchanged)
	join(true, u[0], u[1], to[3], exchanged)
}

// store8 writes the columns 0 3 | 1 2 and 4 7 | 5 6 as rows of bytes.
func store8(dst, stride reg.GPVirtual, interleave Mem, left, right reg.VecVirtual) {
	var pair [4]reg.VecVirtual // columns 0 1, 2 3, 4 5, 6 7
	for i, v := range []reg.VecVirtual{left, right} {
		VPERMQ(Imm(0b01_11_10_00), v, v) // 0 1 | 2 3
		VPSHUFB(interleave, v, v)
		pair[2*i], pair[2*i+1] = v, YMM()
		VEXTRACTI128(Imm(1), v, pair[2*i+1].AsX())
	}
	var half [4]reg.VecVirtual // columns 0 to 3 of the first and last four rows, then 4 to 7
	for i := range 2 {
		half[2*i], half[2*i+1] = XMM(), XMM()
		VPUNPCKLWD(pair[2*i+1].AsX(), pair[2*i].AsX(), half[2*i])
		VPUNPCKHWD(pair[2*i+1].AsX(), pair[2*i].AsX(), half[2*i+1])
	}
	three := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, three)
	lower := GP64()
	LEAQ(Mem{Base: dst, Index: stride, Scale: 4}, lower)
	at := func(row int) Mem {
		base := dst
		if row >= 4 {
			base = lower
		}
		switch row % 4 {
		case 0:
			return Mem{Base: base}
		case 1:
			return Mem{Base: base, Index: stride, Scale: 1}
		case 2:
			return Mem{Base: base, Index: stride, Scale: 2}
		}
		return Mem{Base: base, Index: three, Scale: 1}
	}
	order := [8]int{0, 3, 4, 7, 1, 2, 5, 6}
	for i := range 2 {
		for k := range 2 {
			v := XMM()
			if k == 0 {
				VPUNPCKLDQ(half[2+i], half[i], v)
			} else {
				VPUNPCKHDQ(half[2+i], half[i], v)
			}
			VMOVQ(v, at(order[4*i+2*k]))
			VMOVHPS(v, at(order[4*i+2*k+1]))
		}
	}
}

// halves widens pairs of rows: columns 0 to 3 in the low half of a register, 4 to 7 in the high
// one.
func halves(a, b reg.VecVirtual) reg.VecVirtual {
	out, high := YMM(), YMM()
	VPUNPCKHWD(b.AsX(), a.AsX(), high.AsX())
	VPUNPCKLWD(b.AsX(), a.AsX(), out.AsX())
	VINSERTI128(Imm(1), high.AsX(), out, out)
	return out
}

// row8 loads a row and multiplies it by its factors.
func row8(b, quant reg.GPVirtual, r int) reg.VecVirtual {
	v := YMM()
	VMOVDQU(Mem{Base: b, Disp: 16 * r}, v.AsX())
	VPMULLW(Mem{Base: quant, Disp: 16 * r}, v.AsX(), v.AsX())
	return v
}

// product sums the products of pairs with constants.
func product(v reg.VecVirtual, c Mem) reg.VecVirtual {
	out := YMM()
	VPMADDWD(c, v, out)
	return out
}

func idct4() {
	odd0a, odd0b := words("odd0a4", f1061, -f2172), words("odd0b4", f1451, -f0211)
	odd2a, odd2b := words("odd2a4", f2562, f0899), words("odd2b4", -f0601, -f0509)
	even := words("even4", f1847, -f0765)
	rows0, rows2 := lanes("rows0", f1061, -f2172, f1451, -f0211), lanes("rows2", f2562, f0899, -f0601, -f0509)
	rowsE, rowsD := lanes("rowsE", 1<<14, f1847, 0, -f0765), lanes("rowsD", 1<<14, -f1847, 0, f0765)
	// Of a half with columns 0 to 3 of two rows: columns 1 and 3 of both, then 0 and 2 of both.
	sorted := []int{2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12, 13}
	sort := bytes32("sort4", sorted, sorted)
	across := []int{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15}
	turn := bytes32("turn4", across, across)
	round12, round19 := doubles("round12", 1<<11), doubles("round19", 1<<18)
	centre := words("centre4", 0x8080)

	TEXT("idct4AVX2", NOSPLIT, "func(dst *byte, stride int, b *int16, quant *int16)")
	Pragma("noescape")
	Doc("idct4AVX2 is idct4.")
	dst, stride, b, quant := argument("dst"), argument("stride"), argument("b"), argument("quant")
	k01, k23 := YMM(), YMM() // rows 0 1 and 2 3 of the first result, columns 0 to 3 | 4 to 7
	any, r0 := XMM(), row8(b, quant, 0)
	VMOVDQU(Mem{Base: b, Disp: 16}, any)
	for _, r := range []int{2, 3, 5, 6, 7} {
		VPOR(Mem{Base: b, Disp: 16 * r}, any, any)
	}
	VPTEST(any, any)
	JNZ(LabelRef("columns"))
	VPSLLW(Imm(2), r0.AsX(), r0.AsX())
	VPERMQ(Imm(0b01_01_00_00), r0, k01)
	VMOVDQA(k01, k23)
	JMP(LabelRef("rows"))

	Label("columns")
	p13, p57 := halves(row8(b, quant, 1), row8(b, quant, 3)), halves(row8(b, quant, 5), row8(b, quant, 7))
	o0, o2 := product(p13, odd0a), product(p13, odd2a)
	VPADDD(product(p57, odd0b), o0, o0)
	VPADDD(product(p57, odd2b), o2, o2)
	t2 := product(halves(row8(b, quant, 2), row8(b, quant, 6)), even)
	e, d := YMM(), YMM()
	VPMOVSXWD(r0.AsX(), e)
	VPSLLD(Imm(14), e, e)
	VPADDD(round12, e, e)
	VPSUBD(t2, e, d)
	VPADDD(t2, e, e)
	out := four(e, d, o0, o2, 12)
	VPACKSSDW(out[1], out[0], k01)
	VPACKSSDW(out[3], out[2], k23)

	Label("rows")
	VPSHUFB(sort, k01, k01)
	VPSHUFB(sort, k23, k23)
	odds, evens := YMM(), YMM()
	VPUNPCKLQDQ(k23, k01, odds)  // (1,3) | (5,7) of four rows
	VPUNPCKHQDQ(k23, k01, evens) // (0,2) | (4,6)
	fold := func(v reg.VecVirtual) reg.VecVirtual {
		high := YMM()
		VEXTRACTI128(Imm(1), v, high.AsX())
		VPADDD(high.AsX(), v.AsX(), v.AsX())
		return v
	}
	o0, o2 = fold(product(odds, rows0)), fold(product(odds, rows2))
	e, d = fold(product(evens, rowsE)), fold(product(evens, rowsD))
	VPADDD(round19, e, e)
	VPADDD(round19, d, d)
	out = four(e, d, o0, o2, 19)
	VPACKSSDW(out[1].AsX(), out[0].AsX(), out[0].AsX())
	VPACKSSDW(out[3].AsX(), out[2].AsX(), out[2].AsX())
	VPACKSSWB(out[2].AsX(), out[0].AsX(), out[0].AsX())
	v := out[0].AsX()
	VPADDB(centre, v, v)
	VPSHUFB(turn, v, v)
	VMOVD(v, Mem{Base: dst})
	VPEXTRD(Imm(1), v, Mem{Base: dst, Index: stride, Scale: 1})
	LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, dst)
	VPEXTRD(Imm(2), v, Mem{Base: dst})
	VPEXTRD(Imm(3), v, Mem{Base: dst, Index: stride, Scale: 1})
	finish()
}

// four makes the four results of sums and differences.
func four(e, d, odd0, odd2 reg.VecVirtual, shift uint64) [4]reg.VecVirtual {
	out := [4]reg.VecVirtual{YMM(), YMM(), YMM(), YMM()}
	VPADDD(odd2, e, out[0])
	VPADDD(odd0, d, out[1])
	VPSUBD(odd0, d, out[2])
	VPSUBD(odd2, e, out[3])
	for _, v := range out {
		VPSRAD(Imm(shift), v, v)
	}
	return out
}

func idct2() {
	oddA, oddB := words("oddA2", f3624, -f1272), words("oddB2", f0850, -f0720)
	var low []int
	for _, pair := range [][2]int{{f3624, -f1272}, {f0850, -f0720}} {
		for range 2 {
			low = append(low, 0, pair[0], 0, pair[1])
		}
	}
	rowsC := words("rows2x", low...)
	round13, round20 := doubles("round13", 1<<12), doubles("round20", 1<<19)
	centre := words("centre2", 0x8080)
	across := []int{0, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	turn := bytes32("turn2", across, across)

	TEXT("idct2AVX2", NOSPLIT, "func(dst *byte, stride int, b *int16, quant *int16)")
	Pragma("noescape")
	Doc("idct2AVX2 is idct2.")
	dst, stride, b, quant := argument("dst"), argument("stride"), argument("b"), argument("quant")
	odd := product(halves(row8(b, quant, 1), row8(b, quant, 3)), oddA)
	VPADDD(product(halves(row8(b, quant, 5), row8(b, quant, 7)), oddB), odd, odd)
	sum, difference := YMM(), YMM()
	VPMOVSXWD(row8(b, quant, 0).AsX(), sum)
	VPSLLD(Imm(15), sum, sum)
	VPADDD(round13, sum, sum)
	VPSUBD(odd, sum, difference)
	VPADDD(odd, sum, sum)
	VPSRAD(Imm(13), sum, sum)
	VPSRAD(Imm(13), difference, difference)
	even, both, other := YMM(), YMM(), YMM()
	VPUNPCKLDQ(difference.AsX(), sum.AsX(), even.AsX()) // column 0 of both rows, with all its bits
	VPSLLD(Imm(15), even.AsX(), even.AsX())
	VPADDD(round20, even, even)
	VPACKSSDW(difference, sum, both)
	VPMADDWD(rowsC, both, both)
	VEXTRACTI128(Imm(1), both, other.AsX())
	x := both.AsX()
	VPADDD(other.AsX(), x, x)
	VPHADDD(x, x, x) // the odd part of both rows
	VPADDD(x, even.AsX(), sum.AsX())
	VPSUBD(x, even.AsX(), difference.AsX())
	VPUNPCKLQDQ(difference.AsX(), sum.AsX(), x)
	VPSRAD(Imm(20), x, x)
	VPACKSSDW(x, x, x)
	VPACKSSWB(x, x, x)
	VPADDB(centre, x, x)
	VPSHUFB(turn, x, x)
	VPEXTRW(Imm(0), x, Mem{Base: dst})
	VPEXTRW(Imm(1), x, Mem{Base: dst, Index: stride, Scale: 1})
	finish()
}
