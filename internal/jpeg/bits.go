package jpeg

import (
	"bytes"
	"encoding/binary"
)

// blockBytes is more than any block takes: 64 codes of 16 bits with 15 bits of value, or so many
// corrections of one bit, and what is read ahead.
const blockBytes = 64*4 + 64

// bitReader reads the entropy-coded data between two markers. The stuffed zeros are taken out when
// a segment is loaded, and zeros are put behind it: so no read has to look whether it is the last,
// and one check after a block tells whether the data were enough.
type bitReader struct {
	// The first four words are known to assembly.
	acc  uint64 // loaded bits, from the top; below the n counted ones lie zeros or the bits that follow
	n    int    // how many bits of acc are counted
	next int    // the next byte of buf to load
	buf  []byte // the segment without stuffing, and blockBytes zeros behind it
	size int    // its length without the zeros

	data   []byte
	pos    int  // where the next segment starts in data: behind the marker that ended this one
	marker byte // the marker that ended the segment; 0 where the file ended first
	short  bool // the segment ended before its blocks did
	lost   bool // one did
}

// load reads the segment at r.pos, up to the next marker or the end of the file.
func (r *bitReader) load() {
	if need := len(r.data) - r.pos + blockBytes; cap(r.buf) < need {
		r.buf = make([]byte, need)
	}
	buf, src := r.buf[:cap(r.buf)], r.data[r.pos:]
	size := 0
	r.marker = 0
	for {
		n := bytes.IndexByte(src, 0xFF)
		if n < 0 {
			size += copy(buf[size:], src)
			src = nil
			break
		}
		size += copy(buf[size:], src[:n])
		src = src[n:]
		for len(src) > 0 && src[0] == 0xFF {
			src = src[1:]
		}
		if len(src) == 0 {
			break
		}
		code := src[0]
		src = src[1:]
		if code != 0 {
			r.marker = code
			break
		}
		buf[size] = 0xFF
		size++
	}
	r.pos = len(r.data) - len(src)
	clear(buf[size : size+blockBytes])
	r.size, r.next, r.acc, r.n = size, 0, 0, 0
}

// empty is a segment without data.
func (r *bitReader) empty() {
	if len(r.buf) < blockBytes {
		r.buf = make([]byte, blockBytes)
	}
	clear(r.buf[:blockBytes])
	r.size, r.next, r.acc, r.n = 0, 0, 0, 0
}

// fill loads as many whole bytes as fit.
func (r *bitReader) fill() {
	r.acc |= binary.BigEndian.Uint64(r.buf[r.next:]) >> r.n
	more := (63 - r.n) >> 3
	r.next += more
	r.n += more << 3
}

// take drops bits.
func (r *bitReader) take(n int) {
	r.acc <<= n
	r.n -= n
}

// value reads the bits of a value of a size; at least so many must be loaded.
func (r *bitReader) value(size int) int32 {
	v := extend(uint32(r.acc>>1>>(63-size)), size)
	r.take(size)
	return v
}

// restart goes to the next interval, whose marker should have the given number (0 to 7). Where
// another marker stands, it does what libjpeg does: a marker that is due soon means that this
// interval is lost, one that was due before is passed over, any other one is taken for the right
// one.
func (r *bitReader) restart(number byte) error {
	for {
		switch ahead := (r.marker - markerRST0 - number) & 7; {
		case r.marker == 0:
			return ErrTruncated
		case r.marker < markerSOF0, isRestart(r.marker) && ahead >= 6:
			r.marker, r.pos = findMarker(r.data, r.pos)
		case !isRestart(r.marker), ahead == 1, ahead == 2:
			r.empty()
			return nil
		default:
			r.load()
			r.short = false
			return nil
		}
	}
}

func isRestart(marker byte) bool { return marker >= markerRST0 && marker <= markerRST7 }

// check notes after a block whether more was read than the segment has. It then goes back to the
// zeros behind the segment, so that no number of such blocks leaves the buffer.
func (r *bitReader) check() {
	if r.next*8-r.n > r.size*8 {
		r.short, r.lost = true, true
		r.next, r.acc, r.n = r.size, 0, 0
	}
}

// truncated tells that the file, and not a marker, ended the data too early.
func (r *bitReader) truncated() bool { return r.short && r.marker == 0 }
