package picture

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// The codes of runs (ITU-T T.4 tables 2 and 3), shortest run first: 0 to 63, then 64, 128 and so on
// to 1728. whiteCodes are of runs of white.
const whiteCodes = "" +
	"00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 " +
	"101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 " +
	"0011000 00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 " +
	"00101000 00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 " +
	"01010011 01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 " +
	"00110010 00110011 00110100 11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 " +
	"01100111 011001100 011001101 011010010 011010011 011010100 011010101 011010110 011010111 011011000 " +
	"011011001 011011010 011011011 010011000 010011001 010011010 011000 010011011"

// blackCodes are of runs of black.
const blackCodes = "" +
	"0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 " +
	"000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 " +
	"00000101000 00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 " +
	"000001101000 000001101001 000001101010 000001101011 000011010010 000011010011 000011010100 " +
	"000011010101 000011010110 000011010111 000001101100 000001101101 000011011010 000011011011 " +
	"000001010100 000001010101 000001010110 000001010111 000001100100 000001100101 000001010010 " +
	"000001010011 000000100100 000000110111 000000111000 000000100111 000000101000 000001011000 " +
	"000001011001 000000101011 000000101100 000001011010 000001100110 000001100111 0000001111 " +
	"000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 " +
	"0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 " +
	"0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 " +
	"0000001010101 0000001011010 0000001011011 0000001100100 0000001100101"

// longCodes are of runs of 1792, 1856 and so on to 2560 in either colour.
const longCodes = "" +
	"00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 " +
	"000000010110 000000010111 000000011100 000000011101 000000011110 000000011111"

// faxCode is what the next bits mean.
type faxCode struct {
	run  int16 // pixels
	bits uint8 // of the code; 0: there is no such code
}

const faxBits = 13 // of the longest code

// faxTables returns the codes by the next faxBits bits, for white and for black.
var faxTables = sync.OnceValue(func() *[2][1 << faxBits]faxCode {
	var t [2][1 << faxBits]faxCode
	for colour, codes := range []string{whiteCodes, blackCodes} {
		for i, code := range strings.Fields(codes + " " + longCodes) {
			run := i
			if i >= 64 {
				run = (i - 63) * 64
			}
			first := 0
			for _, bit := range code {
				first = first<<1 | int(bit-'0')
			}
			rest := faxBits - len(code)
			for k := range 1 << rest {
				t[colour][first<<rest|k] = faxCode{int16(run), uint8(len(code))}
			}
		}
	}
	return &t
})

// How a fax is coded.
type faxMode int

const (
	faxRuns   faxMode = iota // rows of runs, each from a whole byte on
	faxGroup3                // rows of runs, or of differences to the row before, with marks between them
	faxGroup4                // rows of differences
)

// faxReader unpacks ITU-T T.4 and T.6.
type faxReader struct {
	b      []byte
	at     int // in bits
	width  int
	before []int // where the row before changes its colour: to black, to white and so on
	row    []int
}

// unpackFax fills dst with rows of width pixels, a bit each, that begin at whole bytes; a set bit
// is black. Rows after an early end are white.
func unpackFax(dst, packed []byte, width int, mode faxMode, twoDimensional bool) error {
	clear(dst)
	f := &faxReader{b: packed, width: width}
	stride := (width + 7) / 8
	for y := 0; y < len(dst)/stride; y++ {
		flat, ended := f.begin(mode, twoDimensional)
		if ended {
			if y == 0 {
				return errShort
			}
			return nil
		}
		f.before, f.row = f.row, f.before[:0]
		var err error
		if flat {
			err = f.readRuns()
		} else {
			err = f.readDifferences()
		}
		if err != nil {
			return err
		}
		f.paint(dst[y*stride:][:stride])
	}
	return nil
}

// peek returns the next faxBits bits, zeros beyond the end.
func (f *faxReader) peek() int {
	v := 0
	for i := range 3 {
		v <<= 8
		if k := f.at/8 + i; k < len(f.b) {
			v |= int(f.b[k])
		}
	}
	return v >> (24 - faxBits - f.at%8) & (1<<faxBits - 1)
}

// begin finds the start of a row; flat tells whether it is coded as runs.
func (f *faxReader) begin(mode faxMode, twoDimensional bool) (flat, ended bool) {
	if mode == faxRuns {
		f.at = (f.at + 7) &^ 7
		return true, f.at >= 8*len(f.b)
	}
	flat = mode == faxGroup3
	marks := 0
	for f.peek()>>2 == 0 { // eleven zeros or more, then a one: a mark
		for f.at < 8*len(f.b) && f.peek()>>(faxBits-1) == 0 {
			f.at++
		}
		if f.at >= 8*len(f.b) {
			return flat, true
		}
		f.at++
		marks++
		if twoDimensional {
			flat = f.peek()>>(faxBits-1) == 1
			f.at++
		}
	}
	return flat, f.at >= 8*len(f.b) || marks > 1 && mode == faxGroup4
}

// run reads one run of a colour, 0 for white: codes of 64 pixels and more, then one of fewer.
func (f *faxReader) run(colour int) (int, error) {
	table, n := &faxTables()[colour], 0
	for {
		c := table[f.peek()]
		if c.bits == 0 {
			if f.at+faxBits > 8*len(f.b) {
				return 0, errShort
			}
			return 0, fmt.Errorf("no run begins with the bits %013b", f.peek())
		}
		f.at += int(c.bits)
		n += int(c.run)
		if c.run < 64 || n > f.width {
			return n, nil
		}
	}
}

// change notes that the colour changes at x.
func (f *faxReader) change(x int) { f.row = append(f.row, min(max(x, 0), f.width)) }

func (f *faxReader) readRuns() error {
	for x, colour := 0, 0; x < f.width; colour ^= 1 {
		n, err := f.run(colour)
		if err != nil {
			return err
		}
		x += n
		f.change(x)
		if f.crowded() {
			return errCrowded
		}
	}
	return nil
}

var errCrowded = errors.New("a row of more runs than pixels")

// crowded tells whether a row has more changes than one that means something: a file of codes for
// no pixels would fill the memory.
func (f *faxReader) crowded() bool { return len(f.row) > 2*f.width+2 }

// readDifferences reads a row as T.6 codes it. In its words x is a0, the next changes of the row
// before are b1, b2.
func (f *faxReader) readDifferences() error {
	x, colour, i := -1, 0, 0
	for x < f.width {
		for i = max(i-2, 0)&^1 | colour; f.reference(i) <= x && f.reference(i) < f.width; i += 2 {
		}
		b1 := f.reference(i)
		offset, bits, kind := verticalCode(f.peek())
		f.at += bits
		switch kind {
		case 'v':
			if b1+offset < x {
				return errors.New("a run of less than no pixels")
			}
			x = b1 + offset
			f.change(x)
			colour ^= 1
		case 'p':
			x = f.reference(i + 1)
		case 'h':
			x = max(x, 0)
			for range 2 {
				n, err := f.run(colour)
				if err != nil {
					return err
				}
				x += n
				f.change(x)
				colour ^= 1
			}
		default:
			if f.at+faxBits > 8*len(f.b) {
				return errShort
			}
			return fmt.Errorf("no mode begins with the bits %013b", f.peek())
		}
		if f.crowded() {
			return errCrowded
		}
	}
	return nil
}

// reference returns change i of the row before; behind the last there is the row's end.
func (f *faxReader) reference(i int) int {
	if i < len(f.before) {
		return f.before[i]
	}
	return f.width
}

// verticalCode reads a mode (T.4 table 4): 'v', a change so many pixels from b1; 'p', none before
// b2; 'h', two runs.
func verticalCode(next int) (offset, bits int, kind byte) {
	top := func(n int) int { return next >> (faxBits - n) }
	switch {
	case top(1) == 1:
		return 0, 1, 'v'
	case top(3) == 3:
		return 1, 3, 'v'
	case top(3) == 2:
		return -1, 3, 'v'
	case top(3) == 1:
		return 0, 3, 'h'
	case top(4) == 1:
		return 0, 4, 'p'
	case top(6) == 3:
		return 2, 6, 'v'
	case top(6) == 2:
		return -2, 6, 'v'
	case top(7) == 3:
		return 3, 7, 'v'
	case top(7) == 2:
		return -3, 7, 'v'
	}
	return 0, 0, 0
}

// paint sets the bits of the row's black runs.
func (f *faxReader) paint(dst []byte) {
	for i := 0; i < len(f.row); i += 2 {
		to := f.width
		if i+1 < len(f.row) {
			to = f.row[i+1]
		}
		for x := f.row[i]; x < to; x++ {
			if x&7 == 0 && to-x >= 8 {
				dst[x/8] = 0xff
				x += 7
				continue
			}
			dst[x/8] |= 0x80 >> (x & 7)
		}
	}
}
