package jpeg

import (
	"encoding/binary"
	"math/bits"
)

// refinement is where the decoding of a refining AC scan stands. All fields have 8 bytes, and
// _generate/refine.go knows their order.
//
// Sets of coefficients are words in which bit 63-k stands for the coefficient in place k of zigzag
// order: the first in a file is the highest bit, as among the bits that are read.
type refinement struct {
	acc, n, next uint64 // as in bitReader
	limit        uint64 // the length of the segment, in bits
	table        *[1 << fastBits]step
	band         uint64 // the set of its coefficients
	from, to     uint64
	one          uint64 // the bit that the scan adds, in its place
	x            uint64 // the block
	run          uint64 // from it on, so many blocks have nothing new
	k            uint64 // where to go on in it; 0: it is not begun
	old          uint64 // the set of its coefficients that were known before this scan
}

func setFrom(k uint64) uint64   { return ^uint64(0) >> k }
func setBefore(k uint64) uint64 { return ^setFrom(k) }

// wholeBlock is a k behind all bands.
const wholeBlock = 64

// refine adds a bit to the known coefficients of a band, and sets those whose first bit this is.
// Each of these comes after a number of unknown ones; the bits of the known ones in between follow
// it.
func (p *progressive) refine(blocks []block, known []uint64) {
	r, s := p.r, p.s
	f := refinement{
		acc: r.acc, n: uint64(r.n), next: uint64(r.next), limit: uint64(r.size) * 8,
		table: p.table.band, band: setFrom(uint64(s.from)) & setBefore(uint64(s.to)+1),
		from: uint64(s.from), to: uint64(s.to), one: 1 << s.low, run: uint64(p.run),
	}
	for p.k.refine(&f, r.buf, blocks, known) {
		f.symbol(p.table, r.buf, &blocks[f.x], &known[f.x])
		if f.k > f.to && f.end() || f.x == uint64(len(blocks)) {
			break
		}
	}
	r.acc, r.n, r.next, p.run = f.acc, int(f.n), int(f.next), int(f.run)
	r.check()
}

// refineBlocks decodes blocks until all are done or the data are at their end. It returns true in
// front of a symbol that the table does not have, or that is damaged.
func refineBlocks(f *refinement, buf []byte, blocks []block, known []uint64) (slow bool) {
	for f.x < uint64(len(blocks)) {
		b := &blocks[f.x]
		if f.k == 0 {
			f.k, f.old = f.from, known[f.x]
			if f.run > 0 {
				f.run--
				f.rest(buf, b)
			}
		}
		for f.k <= f.to {
			f.fill(buf)
			e := f.table[f.acc>>(64-fastBits)]
			pass, value := e.move1()-1, e.value1()
			if e.bits() == 0 {
				return true
			}
			if e.move1() == endOfBlock {
				f.take(e.bits1())
				f.run = uint64(uint16(value))
				f.rest(buf, b)
				break
			}
			if value != 1 && value != -1 || f.target(int(pass)) > f.to {
				return true
			}
			f.take(e.bits1())
			f.set(buf, b, &known[f.x], int(pass), value)
		}
		if f.end() {
			return false
		}
	}
	return false
}

// end goes to the next block. It tells whether the data ended within this one.
func (f *refinement) end() bool {
	f.x++
	f.k = 0
	return f.next*8-f.n > f.limit
}

// symbol reads one symbol without the table.
func (f *refinement) symbol(h *huffman, buf []byte, b *block, known *uint64) {
	f.fill(buf)
	symbol, length := h.symbol(f.acc)
	f.take(uint(length))
	run := uint(symbol >> 4)
	switch {
	case symbol&15 != 0: // anything but 1 is damaged, and counts as 1
		value := int16(f.acc>>63)*2 - 1
		f.take(1)
		f.set(buf, b, known, int(run), value)
	case run == 15:
		f.set(buf, b, known, int(run), 0)
	default:
		f.run = 1<<run - 1 + f.acc>>1>>(63-run)
		f.take(run)
		f.rest(buf, b)
	}
}

// target is the place behind `pass` unknown coefficients, or behind the band if there are not so
// many.
func (f *refinement) target(pass int) uint64 {
	unknown := ^f.old & f.band & setFrom(f.k)
	for ; pass > 0 && unknown != 0; pass-- {
		unknown &^= 1 << 63 >> bits.LeadingZeros64(unknown)
	}
	return min(uint64(bits.LeadingZeros64(unknown)), f.to+1)
}

// set passes unknown coefficients and gives the next one a value, if it is not 0.
func (f *refinement) set(buf []byte, b *block, known *uint64, pass int, value int16) {
	to := f.target(pass)
	f.correct(buf, b, f.old&f.band&setFrom(f.k)&setBefore(to))
	if value != 0 {
		b[zigzag[to]] = value * int16(f.one)
		*known |= 1 << 63 >> min(to, 63)
	}
	f.k = to + 1
}

// rest corrects what is known of the rest of a block.
func (f *refinement) rest(buf []byte, b *block) {
	f.correct(buf, b, f.old&f.band&setFrom(f.k))
	f.k = wholeBlock
}

// correct reads a bit for each coefficient of a set.
func (f *refinement) correct(buf []byte, b *block, set uint64) {
	for set != 0 {
		f.fill(buf)
		for n := 0; set != 0 && n < 48; n++ {
			k := bits.LeadingZeros64(set)
			set &^= 1 << 63 >> k
			v := &b[zigzag[k]]
			if f.acc>>63 != 0 && *v&int16(f.one) == 0 { // unless it has that bit already
				sign := *v >> 15
				*v += int16(f.one) * (1 + 2*sign)
			}
			f.take(1)
		}
	}
}

func (f *refinement) fill(buf []byte) {
	f.acc |= binary.BigEndian.Uint64(buf[f.next:]) >> (f.n & 63)
	f.next += (63 - f.n) >> 3
	f.n |= 56
}

func (f *refinement) take(n uint) {
	f.acc <<= n & 63
	f.n -= uint64(n)
}
