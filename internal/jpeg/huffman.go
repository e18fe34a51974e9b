package jpeg

// fastBits is how many bits one look-up takes: enough for nearly all symbols with their value.
const fastBits = 11

// huffman is a code, with tables for reading it.
type huffman struct {
	counts  [17]int // codes of each length
	symbols [256]uint8
	valid   bool // the lengths make a prefix code
	dcValid bool // and all symbols are sizes of DC differences
	isDC    bool
	ready   bool

	// fast says what the next fastBits bits hold: bits 0 to 7 are how many of them are a code and its
	// value, 8 to 15 by how much that moves k, 16 to 31 the value. Zero: it takes the slow way.
	fast [1 << fastBits]uint32
	// largest is the largest code of a length, left-aligned in 16 bits, plus one; offset leads from a
	// code to its symbol.
	largest [18]uint32
	offset  [17]int
}

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

// prepare fills the look-up table, for differences of DC or for AC coefficients of a sequential scan.
func (h *huffman) prepare(dc bool) error {
	if !h.valid || dc && !h.dcValid {
		return FormatError("a Huffman table that is no prefix code")
	}
	if h.ready && h.isDC == dc {
		return nil
	}
	h.ready, h.isDC = true, dc
	clear(h.fast[:])
	code, at := 0, 0
	for length := 1; length <= fastBits; length++ {
		for range h.counts[length] {
			h.enter(code, length, h.symbols[at], dc)
			code++
			at++
		}
		code <<= 1
	}
	return nil
}

// enter writes the entries that begin with a code.
func (h *huffman) enter(code, length int, symbol uint8, dc bool) {
	run, size := int(symbol>>4), int(symbol&15)
	if dc {
		run = 0
	}
	if length+size > fastBits {
		return
	}
	move := run + 1
	if !dc && symbol == 0 || !dc && size == 0 && run != 15 {
		move = endOfBlock
	}
	left := fastBits - length
	for rest := range 1 << left {
		value := extend(uint32(rest>>(left-size)), size)
		h.fast[code<<left|rest] = uint32(uint16(value))<<16 | uint32(move)<<8 | uint32(length+size)
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
