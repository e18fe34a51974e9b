// Command generate writes the assembly of package colour. Run it through `go generate` in the
// package's folder. The plain functions in portable.go say what each routine does.
package main

import (
	"encoding/binary"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	constants = newShared()
	blend()
	sumLuma()
	saturate()
	gray()
	turn()
	Generate()
}

// integers makes a constant of 32 bytes: the 32-bit numbers, repeated.
func integers(name string, values ...uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(values[i%len(values)]))
	}
	return m
}

// floats makes a constant of 32 bytes: the floats, repeated.
func floats(name string, values ...float32) Mem {
	var bits []uint32
	for _, v := range values {
		bits = append(bits, math.Float32bits(v))
	}
	return integers(name, bits...)
}

// shuffle makes a constant for VPSHUFB. The bytes of the lower half come from f(i), those of the
// upper half, in which everything lies `further` bytes on, from f(i)+further. Below 0 is a zero.
func shuffle(name string, further int, f func(i int) int) Mem {
	var b []byte
	for lane := range 2 {
		for i := range 16 {
			from := f(i)
			if from >= 0 {
				from += lane * further
			} else {
				from = 0x80
			}
			b = append(b, byte(from))
		}
	}
	m := GLOBL(name, RODATA|NOPTR)
	for i := 0; i < len(b); i += 8 {
		DATA(i, U64(binary.LittleEndian.Uint64(b[i:])))
	}
	return m
}

// argument loads a parameter of the routine.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// everywhere is a float parameter in all places of a register.
func everywhere(name string) reg.VecVirtual {
	v := YMM()
	VBROADCASTSS(paramAddr(name), v)
	return v
}

func paramAddr(name string) Op {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// loop repeats what body writes until n, less `by` each time, is no more than 0.
func loop(n reg.GPVirtual, by uint64, body func()) {
	Label("next")
	body()
	SUBQ(U32(by), n)
	JG(LabelRef("next"))
	VZEROUPPER()
	RET()
}

// blend has 32 values at a time.
func blend() {
	TEXT("blendAVX2", NOSPLIT, "func(pix *byte, n int, factor float32, level float32)")
	Pragma("noescape")
	Doc("blendAVX2 is blend, for n values, a multiple of 32.")
	pix, n := argument("pix"), argument("n")
	factor, level, limit := everywhere("factor"), everywhere("level"), YMM()
	VMOVUPS(constants.most, limit)
	loop(n, 32, func() {
		var v [4]reg.VecVirtual
		for i := range v {
			v[i] = YMM()
			VPMOVZXBD(Mem{Base: pix, Disp: 8 * i}, v[i])
			VCVTDQ2PS(v[i], v[i])
			VSUBPS(level, v[i], v[i])
			VMULPS(factor, v[i], v[i])
			VADDPS(level, v[i], v[i])
			VMINPS(limit, v[i], v[i])
			VCVTTPS2DQ(v[i], v[i])
		}
		VPACKSSDW(v[1], v[0], v[0]) // 0-3 8-11 | 4-7 12-15
		VPACKSSDW(v[3], v[2], v[2])
		VPACKUSWB(v[2], v[0], v[0])
		order := YMM()
		VMOVDQU(constants.inOrder, order)
		VPERMD(v[0], order, v[0])
		VMOVDQU(v[0], Mem{Base: pix})
		ADDQ(Imm(32), pix)
	})
}

// Eight pixels, 24 bytes, are loaded as bytes 0 to 15 and 8 to 23, so that nothing behind them is
// read: the upper half's four pixels lie 4 bytes on.
const upperPixels = 4

// shared are the constants of several routines.
type shared struct {
	// inOrder is what VPERMD needs behind two packs of four registers.
	inOrder Mem
	// most is the largest value, as a float.
	most Mem
	// channel are the shuffles that make 32-bit numbers of red, green or blue of loaded pixels.
	channel [3]Mem
	// Pairs of 16-bit numbers of loaded pixels, and what they are multiplied with for the luma.
	// Green's factor has 16 bits, and is split in two equal ones.
	redGreen, greenBlue, redGreenFactors, greenBlueFactors, half Mem
	// together is what VPERMD needs to bring the first 12 bytes of each half together.
	together Mem
}

var constants shared

func newShared() shared {
	s := shared{
		inOrder:          integers("inOrder", 0, 4, 1, 5, 2, 6, 3, 7),
		most:             floats("most", 255),
		redGreenFactors:  integers("redGreenFactors", 19595|19235<<16),
		greenBlueFactors: integers("greenBlueFactors", 19235|7471<<16),
		half:             integers("half", 0x8000),
		together:         integers("together", 0, 1, 2, 4, 5, 6, 3, 7),
	}
	for c := range s.channel {
		s.channel[c] = shuffle("channel"+string("RGB"[c]), upperPixels, func(i int) int {
			if i%4 == 0 {
				return i/4*3 + c
			}
			return -1
		})
	}
	pair := func(name string, first int) Mem {
		return shuffle(name, upperPixels, func(i int) int {
			if i%2 == 0 {
				return i/4*3 + first + i%4/2
			}
			return -1
		})
	}
	s.redGreen, s.greenBlue = pair("redGreen", 0), pair("greenBlue", 1)
	return s
}

// eight loads eight pixels.
func eight(pix reg.GPVirtual) reg.VecVirtual {
	v := YMM()
	VMOVDQU(Mem{Base: pix}, v.AsX())
	VINSERTI128(Imm(1), Mem{Base: pix, Disp: 8}, v, v)
	return v
}

// luma is that of eight pixels.
func luma(pixels reg.VecVirtual) reg.VecVirtual {
	a, b := YMM(), YMM()
	VPSHUFB(constants.redGreen, pixels, a)
	VPSHUFB(constants.greenBlue, pixels, b)
	VPMADDWD(constants.redGreenFactors, a, a)
	VPMADDWD(constants.greenBlueFactors, b, b)
	VPADDD(b, a, a)
	VPADDD(constants.half, a, a)
	VPSRLD(Imm(16), a, a)
	return a
}

// store writes eight pixels, which are in the first 12 bytes of each half.
func store(v reg.VecVirtual, pix reg.GPVirtual) {
	order, upper := YMM(), XMM()
	VMOVDQU(constants.together, order)
	VPERMD(v, order, v)
	VMOVDQU(v.AsX(), Mem{Base: pix})
	VEXTRACTI128(Imm(1), v, upper)
	VMOVQ(upper, Mem{Base: pix, Disp: 16})
}

func sumLuma() {
	TEXT("sumLumaAVX2", NOSPLIT, "func(pix *byte, n int) int")
	Pragma("noescape")
	Doc("sumLumaAVX2 is sumLuma, for n pixels, a multiple of 8 up to 1<<24.")
	pix, n := argument("pix"), argument("n")
	sum := YMM()
	VPXOR(sum, sum, sum)
	Label("next")
	VPADDD(luma(eight(pix)), sum, sum)
	ADDQ(Imm(24), pix)
	SUBQ(Imm(8), n)
	JG(LabelRef("next"))
	part := XMM()
	VEXTRACTI128(Imm(1), sum, part)
	VPADDD(part, sum.AsX(), part)
	for _, order := range []uint64{0x4e, 0xb1} {
		other := XMM()
		VPSHUFD(Imm(order), part, other)
		VPADDD(other, part, part)
	}
	total := GP64()
	VMOVD(part, total.As32())
	Store(total, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func saturate() {
	rgb := shuffle("fromPacked", 0, func(i int) int { // r0-r3 g0-g3 b0-b3
		if i < 12 {
			return i%3*4 + i/3
		}
		return -1
	})
	TEXT("saturateAVX2", NOSPLIT, "func(pix *byte, n int, factor float32)")
	Pragma("noescape")
	Doc("saturateAVX2 is saturate, for n pixels, a multiple of 8.")
	pix, n := argument("pix"), argument("n")
	factor, limit := everywhere("factor"), YMM()
	VMOVUPS(constants.most, limit)
	loop(n, 8, func() {
		pixels := eight(pix)
		l := luma(pixels)
		base := YMM()
		VCVTDQ2PS(l, base)
		var v [3]reg.VecVirtual
		for c := range v {
			v[c] = YMM()
			VPSHUFB(constants.channel[c], pixels, v[c])
			VPSUBD(l, v[c], v[c])
			VCVTDQ2PS(v[c], v[c])
			VMULPS(factor, v[c], v[c])
			VADDPS(base, v[c], v[c])
			VMINPS(limit, v[c], v[c])
			VCVTTPS2DQ(v[c], v[c])
		}
		VPACKSSDW(v[1], v[0], v[0])
		VPACKSSDW(v[2], v[2], v[2])
		VPACKUSWB(v[2], v[0], v[0])
		VPSHUFB(rgb, v[0], v[0])
		store(v[0], pix)
		ADDQ(Imm(24), pix)
	})
}

func gray() {
	thrice := shuffle("thrice", 0, func(i int) int {
		if i < 12 {
			return i / 3 * 4
		}
		return -1
	})
	TEXT("grayAVX2", NOSPLIT, "func(pix *byte, n int)")
	Pragma("noescape")
	Doc("grayAVX2 is gray, for n pixels, a multiple of 8.")
	pix, n := argument("pix"), argument("n")
	loop(n, 8, func() {
		l := luma(eight(pix))
		VPSHUFB(thrice, l, l)
		store(l, pix)
		ADDQ(Imm(24), pix)
	})
}
