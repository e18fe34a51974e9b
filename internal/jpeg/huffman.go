package jpeg

// fastBits is how many bits one look-up takes: enough for nearly all symbols with their value.
const fastBits = 11

// huffman is a code, with tables for reading it.
type huffman struct {
	counts  [17]int // codes of each length
	symbols [256]uint8
	valid   bool // the lengths make a prefix code
	dcValid bool // and all symbols are sizes of DC differences

	// dc, ac and band say what the next fastBits bits hold, made when they are first needed: for
	// differences of DC, for AC in sequential scans, and in progressive ones.
	dc, ac, band *[1 << fastBits]step
	// largest is the largest code of a length, left-aligned in 16 bits, plus one; offset leads from
	// a code to its symbol.
	largest [18]uint32
	offset  [17]int
}

// step is an entry of a look-up table: one or two symbols with their values. Its bits are:
//   - 0 to 5: how many bits of the file they take
//   - 8 to 15: by how much the first symbol moves k, the place of the last coefficient
//   - 16 to 31: the first symbol's value
//   - 32 to 39: by how much the second symbol moves k
//   - 40 to 45: how many bits of the file the first symbol takes
//   - 48 to 63: the second symbol's value
//
// An entry of only one symbol has its value twice, and a second move of 0. Where the bits hold a code
// but not all of its value, bits 0 to 5 are 0, 40 to 45 are the length of the code, and 48 to 63 the
// size of the value. Where they do not even hold a code, the entry is 0.
type step uint64

func (s step) bits() uint    { return uint(s) & 63 }
func (s step) move1() uint   { return uint(s>>8) & 255 }
func (s step) value1() int16 { return int16(s >> 16) }
func (s step) move2() uint   { return uint(s>>32) & 255 }
func (s step) bits1() uint   { return uint(s>>40) & 63 }
func (s step) value2() int16 { return int16(s >> 48) }

// endOfBlock is how much k moves at the end of a block, past any position.
const endOfBlock = 128

func newHuffman(counts, symbols []byte) *huffman {
	h := new(huffman)
	for i, n := range counts {
		h.counts[i+1] = int(n)
	}
	copy(h.symbols[:], symbols)
	h.assign(len(symbols))
	return h
}

// assign gives out codes in order (T.81, annex C).
func (h *huffman) assign(n int) {
	code, at := 0, 0
	h.valid, h.dcValid = true, true
	for length := 1; length <= 16; length++ {
		h.offset[length] = at - code
		code += h.counts[length]
		at += h.counts[length]
		if code > 1<<length {
			h.valid = false
		}
		h.largest[length] = uint32(code) << (16 - length)
		code <<= 1
	}
	h.largest[17] = 1 << 16
	for _, s := range h.symbols[:n] {
		if s > 15 {
			h.dcValid = false
		}
	}
}

// meaning is what a symbol says: k moves by `move`, and `size` bits of value follow. They are a
// value as extend reads it, or are added to `base` where that is not 0. No move at all: the symbol
// is read slowly.
type meaning struct{ move, size, base int }

func dcMeaning(symbol uint8) meaning { return meaning{move: 1, size: int(symbol)} }

func acMeaning(symbol uint8) meaning {
	run, size := int(symbol>>4), int(symbol&15)
	if size == 0 && run != 15 {
		return meaning{move: endOfBlock}
	}
	return meaning{move: run + 1, size: size}
}

// bandMeaning: an end of the band says for how many blocks, this one and as many more as its value.
func bandMeaning(symbol uint8) meaning {
	run, size := int(symbol>>4), int(symbol&15)
	switch {
	case size > 0:
		return meaning{move: run + 1, size: size}
	case run == 15:
		return meaning{}
	}
	return meaning{move: endOfBlock, size: run, base: 1<<run - 1}
}

// prepareDC makes the table for differences of DC.
func (h *huffman) prepareDC() error {
	if !h.valid || !h.dcValid {
		return FormatError("a Huffman table that is no prefix code")
	}
	if h.dc == nil {
		h.dc = h.table(dcMeaning)
	}
	return nil
}

// prepareBand makes the table for AC coefficients of a progressive scan.
func (h *huffman) prepareBand() error {
	if !h.valid {
		return FormatError("a Huffman table that is no prefix code")
	}
	if h.band == nil {
		h.band = h.table(bandMeaning)
	}
	return nil
}

// prepareAC makes the table for AC coefficients of a sequential scan, of two symbols where they
// fit.
func (h *huffman) prepareAC() error {
	if !h.valid {
		return FormatError("a Huffman table that is no prefix code")
	}
	if h.ac != nil {
		return nil
	}
	h.ac = h.pairs()
	return nil
}

// pairs makes a table of two symbols where they fit.
func (h *huffman) pairs() *[1 << fastBits]step {
	single := h.table(acMeaning)
	table := new([1 << fastBits]step)
	for i, s := range single {
		table[i] = s
		if s.bits() == 0 || s.move1() == endOfBlock {
			continue
		}
		second := single[i<<s.bits()&(1<<fastBits-1)]
		if second.bits() == 0 || s.bits()+second.bits() > fastBits {
			continue
		}
		table[i] = s&^(63|255<<32|0xFFFF<<48) | step(s.bits()+second.bits()) |
			step(second.move1())<<32 | second&(0xFFFF<<16)<<32
	}
	return table
}

// table makes a table of single symbols.
func (h *huffman) table(of func(symbol uint8) meaning) *[1 << fastBits]step {
	table := new([1 << fastBits]step)
	code, at := 0, 0
	for length := 1; length <= fastBits; length++ {
		for range h.counts[length] {
			m := of(h.symbols[at])
			h.enter(table, code, length, m)
			code++
			at++
		}
		code <<= 1
	}
	return table
}

// enter writes the entries that begin with a code.
func (h *huffman) enter(table *[1 << fastBits]step, code, length int, m meaning) {
	left := fastBits - length
	if m.move == 0 || m.size > left {
		for rest := range 1 << left {
			if m.move > 0 && m.base == 0 {
				table[code<<left|rest] = step(m.move)<<8 | step(length)<<40 | step(m.size)<<48
			}
		}
		return
	}
	for rest := range 1 << left {
		bits := rest >> (left - m.size)
		v := int(extend(uint32(bits), m.size))
		if m.base > 0 {
			v = m.base + bits
		}
		value, taken := step(uint16(v)), step(length+m.size)
		table[code<<left|rest] = taken | step(m.move)<<8 | value<<16 | taken<<40 | value<<48
	}
}

// extend turns the bits of a value into the value (T.81, F.2.2.1).
func extend(bits uint32, size int) int32 {
	if size == 0 {
		return 0
	}
	if bits < 1<<(size-1) {
		return int32(bits) - 1<<size + 1
	}
	return int32(bits)
}

// symbol reads the code at the top of bits. A code that the table does not have takes 17 bits and
// stands for 0.
func (h *huffman) symbol(bits uint64) (symbol uint8, length int) {
	top := uint32(bits >> 48)
	length = 1
	for top >= h.largest[length] {
		length++
		if length > 16 {
			return 0, 17
		}
	}
	code := int(top >> (16 - length))
	return h.symbols[(code+h.offset[length])&255], length
}
