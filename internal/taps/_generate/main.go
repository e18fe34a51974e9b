// Command generate writes the assembly of package taps. Run it through `go generate` in the package's
// folder. The plain functions in portable.go say what each routine does.
package main

import (
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// precision is taps.Precision.
const precision = 32 - 8 - 2

// isa is an instruction set as the routines see it.
type isa struct {
	name  string
	bytes int // in a register
	vec   func() reg.VecVirtual
}

var (
	avx2   = isa{"AVX2", 32, YMM}
	avx512 = isa{"AVX512", 64, ZMM}
)

func main() {
	ConstraintExpr("amd64")
	shared := newShuffles()
	for _, s := range []isa{avx2, avx512} {
		s.rows()
		s.pixels(shared)
		for _, n := range []int{3, 5, 0} {
			s.box(n)
		}
	}
	Generate()
}

// routine opens a function.
func (s isa) routine(name, arguments string) {
	TEXT(name+s.name, NOSPLIT, "func("+arguments+")")
	Pragma("noescape")
}

// zero clears a register.
func (s isa) zero(v reg.VecVirtual) {
	if s.bytes == 64 {
		VPXORD(v, v, v)
		return
	}
	VPXOR(v, v, v)
}

// copied returns another register with the same content.
func (s isa) copied(v reg.VecVirtual) reg.VecVirtual {
	to := s.vec()
	if s.bytes == 64 {
		VMOVDQA32(v, to)
	} else {
		VMOVDQA(v, to)
	}
	return to
}

// held keeps 16 bytes of a constant in each quarter of a register.
func (s isa) held(m Mem) reg.VecVirtual {
	v := s.vec()
	if s.bytes == 64 {
		VBROADCASTI32X4(m, v)
	} else {
		VBROADCASTI128(m, v)
	}
	return v
}

// argument loads a parameter of the routine.
func argument(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// rows makes two registers of sums at once: half as many values as one has bytes.
func (s isa) rows() {
	s.routine("rows", "dst *byte, from, to int, rows *[]byte, weights *uint32, n int, shift uint")
	values := s.bytes / 2
	Doc("rows" + s.name + " is rows, for the places between two that are a multiple of " + strconv.Itoa(values) + " apart.")
	dst, at, to := argument("dst"), argument("from"), argument("to")
	first, weights, n, shift := argument("rows"), argument("weights"), argument("n"), argument("shift")
	by, half := XMM(), s.halfOf(shift)
	VMOVQ(shift, by)

	Label("block")
	sums, loaded := [2]reg.VecVirtual{s.copied(half), s.copied(half)}, [2]reg.VecVirtual{s.vec(), s.vec()}
	row, weight, left, place, factor := GP64(), GP64(), GP64(), GP64(), s.vec()
	MOVQ(first, row)
	MOVQ(weights, weight)
	MOVQ(n, left)
	Label("row")
	MOVQ(Mem{Base: row}, place)
	VPBROADCASTD(Mem{Base: weight}, factor)
	for i, v := range loaded {
		VPMOVZXBD(Mem{Base: place, Index: at, Scale: 1, Disp: values / 2 * i}, v)
		VPMULLD(factor, v, v)
		VPADDD(v, sums[i], sums[i])
	}
	ADDQ(Imm(slice), row)
	ADDQ(Imm(4), weight)
	DECQ(left)
	JNZ(LabelRef("row"))
	for i, sum := range sums {
		VPSRLD(by, sum, sum)
		if s.bytes == 64 {
			VPMOVDB(sum, Mem{Base: dst, Index: at, Scale: 1, Disp: values / 2 * i})
		}
	}
	if s.bytes == 32 {
		VPACKUSDW(sums[1], sums[0], sums[0])
		VPERMQ(Imm(0xd8), sums[0], sums[0])
		storeWords(sums[0], dst, at)
	}
	nextBlock(at, to, values)
}

// storeWords writes 16 values as bytes.
func storeWords(words reg.VecVirtual, dst, at reg.GPVirtual) {
	upper := XMM()
	VEXTRACTI128(Imm(1), words, upper)
	VPACKUSWB(upper, words.AsX(), upper)
	VMOVDQU(upper, Mem{Base: dst, Index: at, Scale: 1})
}

// nextBlock repeats, or ends the routine.
func nextBlock(at, to reg.GPVirtual, values int) {
	ADDQ(Imm(uint64(values)), at)
	CMPQ(at, to)
	JLT(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// taps is how many pixels of a window are weighted at once: 12 of the 16 bytes that are loaded.
const taps = 4

// low is the number of bits in the lower part of a factor, which fits 16 bits with its sign.
const low = 15

// shuffles are constants for VPSHUFB.
type shuffles struct {
	pairs [taps / 2]Mem // two pixels as 16-bit numbers: red, red, green, green, blue, blue
	bytes Mem           // the lowest bytes of four 32-bit numbers
}

func newShuffles() shuffles {
	pair := func(name string, first int) Mem {
		return shuffle(name, func(i int) int {
			if i < 12 && i%2 == 0 {
				return 3*(first+i%4/2) + i/4
			}
			return -1
		})
	}
	return shuffles{
		pairs: [taps / 2]Mem{pair("firstPair", 0), pair("secondPair", 2)},
		bytes: shuffle("lowBytes", func(i int) int {
			if i < 4 {
				return 4 * i
			}
			return -1
		}),
	}
}

// pixels makes as many rows at once as a register has parts of 16 bytes.
func (s isa) pixels(shared shuffles) {
	rows := s.bytes / 16
	s.routine("pixels", "dst, src *[4]*byte, stream *int32, n, ahead int")
	Doc("pixels"+s.name+" is pixels for n windows of "+strconv.Itoa(rows)+" rows, whose addresses it is given. It writes a byte",
		"behind each pixel. What it needs next lies ahead.")
	addresses := func(name string) []reg.GPVirtual {
		list, all := argument(name), make([]reg.GPVirtual, rows)
		for i := range all {
			all[i] = GP64()
			MOVQ(Mem{Base: list, Disp: 8 * i}, all[i])
		}
		return all
	}
	dst, src := addresses("dst"), addresses("src")
	stream, n, ahead := argument("stream"), argument("n"), argument("ahead")
	half, bytes := s.everywhere(1<<(precision-1)), s.held(shared.bytes)
	var pairs [taps / 2]reg.VecVirtual
	for i, m := range shared.pairs {
		pairs[i] = s.held(m)
	}

	Label("pixel")
	place, left, sums := GP64(), GP64(), [2]reg.VecVirtual{s.copied(half), s.vec()}
	s.zero(sums[1])
	MOVLQSX(Mem{Base: stream}, place)
	MOVLQSX(Mem{Base: stream, Disp: 4}, left)
	ADDQ(Imm(8), stream)
	next := GP64()
	LEAQ(Mem{Base: place, Index: ahead, Scale: 1}, next)
	for _, row := range src {
		PREFETCHT0(Mem{Base: row, Index: next, Scale: 1})
	}
	Label("taps")
	values := s.vec()
	VMOVDQU(Mem{Base: src[0], Index: place, Scale: 1}, values.AsX())
	for i, row := range src[1:] {
		s.insert(i+1, Mem{Base: row, Index: place, Scale: 1}, values)
	}
	for i, order := range pairs {
		two := s.vec()
		VPSHUFB(order, values, two)
		for part, sum := range sums {
			f := s.vec()
			VPBROADCASTD(Mem{Base: stream, Disp: 8*i + 4*part}, f)
			VPMADDWD(f, two, f)
			VPADDD(f, sum, sum)
		}
	}
	ADDQ(Imm(3*taps), place)
	ADDQ(Imm(8*taps/2), stream)
	DECQ(left)
	JNZ(LabelRef("taps"))
	VPSLLD(Imm(low), sums[1], sums[1])
	VPADDD(sums[1], sums[0], sums[0])
	VPSRLD(Imm(precision), sums[0], sums[0])
	VPSHUFB(bytes, sums[0], sums[0])
	for i, row := range dst {
		VMOVD(s.part(i, sums[0]), Mem{Base: row})
		ADDQ(Imm(3), row)
	}
	DECQ(n)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}

// insert loads 16 bytes to a part of a register.
func (s isa) insert(i int, m Mem, v reg.VecVirtual) {
	if s.bytes == 64 {
		VINSERTI32X4(Imm(uint64(i)), m, v, v)
		return
	}
	VINSERTI128(Imm(uint64(i)), m, v, v)
}

// part is 16 bytes of a register.
func (s isa) part(i int, v reg.VecVirtual) Op {
	if i == 0 {
		return v.AsX()
	}
	x := XMM()
	if s.bytes == 64 {
		VEXTRACTI32X4(Imm(uint64(i)), v, x)
	} else {
		VEXTRACTI128(Imm(uint64(i)), v, x)
	}
	return x
}

// boxLow is the number of bits in the lower part of a box's weight.
const boxLow = 12

// box is a sum of rows of which all but the first and the last count the same: they are added before
// they are multiplied. The addresses of so many rows stay in registers; 0 is any number of them.
func (s isa) box(rows int) {
	name := "box"
	if rows > 0 {
		name += strconv.Itoa(rows)
	}
	s.routine(name, "dst *byte, from, to int, rows *[]byte, n int, lower, upper uint, shift uint")
	values := s.bytes / 2
	doc := name + s.name + " is box, for the places between two that are a multiple of " + strconv.Itoa(values) + " apart."
	if rows > 0 {
		doc = name + s.name + " is box" + s.name + " for n of " + strconv.Itoa(rows) + "."
	}
	Doc(doc, "Lower and upper are parts of the weights, of the middle and of the edge, in 16 bits each.")
	dst, at, to := argument("dst"), argument("from"), argument("to")
	first, n, shift := argument("rows"), argument("n"), argument("shift")
	by, half := XMM(), s.halfOf(shift)
	VMOVQ(shift, by)
	factors := [2]reg.VecVirtual{s.vec(), s.vec()}
	for i, part := range []string{"lower", "upper"} {
		VMOVQ(argument(part), factors[i].AsX())
		VPBROADCASTD(factors[i].AsX(), factors[i])
	}
	var read func() (edge, middle reg.VecVirtual)
	if rows > 0 {
		read = s.fixedRows(first, at, rows)
	} else {
		read = s.anyRows(first, at, n)
	}

	Label("block")
	edge, middle := read()
	sums := [2]reg.VecVirtual{s.vec(), s.vec()}
	VPUNPCKLWD(edge, middle, sums[0])
	VPUNPCKHWD(edge, middle, sums[1])
	for _, sum := range sums {
		upper := s.vec()
		VPMADDWD(factors[1], sum, upper)
		VPMADDWD(factors[0], sum, sum)
		VPSLLD(Imm(boxLow), upper, upper)
		VPADDD(upper, sum, sum)
		VPADDD(half, sum, sum)
		VPSRLD(by, sum, sum)
	}
	VPACKUSDW(sums[1], sums[0], sums[0])
	if s.bytes == 64 {
		VPMOVWB(sums[0], Mem{Base: dst, Index: at, Scale: 1})
	} else {
		storeWords(sums[0], dst, at)
	}
	nextBlock(at, to, values)
}

// wide loads values of a row as 16-bit numbers.
func (s isa) wide(row, at reg.GPVirtual) reg.VecVirtual {
	v := s.vec()
	VPMOVZXBW(Mem{Base: row, Index: at, Scale: 1}, v)
	return v
}

// fixedRows loads the rows' addresses; what it returns writes the sums.
func (s isa) fixedRows(first, at reg.GPVirtual, n int) func() (edge, middle reg.VecVirtual) {
	var rows []reg.GPVirtual
	for i := range n {
		row := GP64()
		MOVQ(Mem{Base: first, Disp: slice * i}, row)
		rows = append(rows, row)
	}
	return func() (edge, middle reg.VecVirtual) {
		edge, middle = s.wide(rows[0], at), s.wide(rows[1], at)
		VPADDW(s.wide(rows[n-1], at), edge, edge)
		for _, row := range rows[2 : n-1] {
			VPADDW(s.wide(row, at), middle, middle)
		}
		return edge, middle
	}
}

// anyRows is fixedRows for a number that is known when it runs.
func (s isa) anyRows(first, at, n reg.GPVirtual) func() (edge, middle reg.VecVirtual) {
	last := GP64()
	LEAQ(Mem{Base: n, Index: n, Scale: 2}, last)
	LEAQ(Mem{Base: first, Index: last, Scale: 8, Disp: -slice}, last)
	return func() (edge, middle reg.VecVirtual) {
		row, place := GP64(), GP64()
		MOVQ(Mem{Base: first}, place)
		edge = s.wide(place, at)
		MOVQ(Mem{Base: last}, place)
		VPADDW(s.wide(place, at), edge, edge)
		middle = s.vec()
		s.zero(middle)
		LEAQ(Mem{Base: first, Disp: slice}, row)
		Label("row")
		MOVQ(Mem{Base: row}, place)
		VPADDW(s.wide(place, at), middle, middle)
		ADDQ(Imm(slice), row)
		CMPQ(row, last)
		JLT(LabelRef("row"))
		return edge, middle
	}
}

// slice is the length of a slice's header.
const slice = 24

// everywhere is a number in all places of a register.
func (s isa) everywhere(value uint32) reg.VecVirtual {
	number, v := GP32(), s.vec()
	MOVL(U32(value), number)
	VMOVD(number, v.AsX())
	VPBROADCASTD(v.AsX(), v)
	return v
}

// halfOf is 1<<(shift-1) in all places of a register.
func (s isa) halfOf(shift reg.GPVirtual) reg.VecVirtual {
	one, v := GP64(), s.vec()
	MOVQ(U32(1), one)
	MOVQ(shift, reg.RCX)
	DECQ(reg.RCX)
	SHLQ(reg.CL, one)
	VMOVD(one.As32(), v.AsX())
	VPBROADCASTD(v.AsX(), v)
	return v
}

// shuffle makes a constant for VPSHUFB. Below 0 is a zero.
func shuffle(name string, f func(i int) int) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 16 {
		DATA(i, U8(max(f(i), -1)&0xff))
	}
	return m
}
