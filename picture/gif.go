package picture

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// gifFrame is one picture of a GIF (GIF89a specification). Its indices are still compressed.
type gifFrame struct {
	x, y, width, height int
	interlaced          bool
	own                 []byte // its colour table: r, g, b; nil: the file's
	transparent         int    // this index shows what is below; -1: none does
	disposal            byte   // what becomes of it before the next: see dispose
	codeBits            byte
	data                int // where its sub-blocks begin
}

// gifFile walks through a GIF.
type gifFile struct {
	b             []byte
	at            int
	width, height int    // the screen
	common        []byte // the colour table of frames that have none
	cut           bool   // it ends within a frame
}

const gifHead = 13 // bytes of signature and screen

// parseGIF reads what stands before the first block.
func parseGIF(b []byte) (*gifFile, error) {
	if len(b) < gifHead {
		return nil, errShort
	}
	f := &gifFile{b: b, at: gifHead}
	f.width, f.height = int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	var err error
	f.common, err = f.table(b[10])
	return f, err
}

// table reads the colour table that flags announce, nil if they announce none.
func (f *gifFile) table(flags byte) ([]byte, error) {
	if flags&0x80 == 0 {
		return nil, nil
	}
	n := 3 << (flags&7 + 1)
	if n > len(f.b)-f.at {
		return nil, errShort
	}
	t := f.b[f.at : f.at+n]
	f.at += n
	return t, nil
}

// skip passes over sub-blocks, up to and with the empty one.
func (f *gifFile) skip() error {
	for f.at < len(f.b) {
		n := int(f.b[f.at])
		f.at += 1 + n
		if n == 0 {
			return nil
		}
	}
	return errShort
}

// next returns the next frame, nil at the trailer or the end. Bytes that begin no block are passed
// over, as Pillow does.
func (f *gifFile) next() (*gifFrame, error) {
	frame := &gifFrame{transparent: -1}
	for f.at < len(f.b) {
		f.at++
		switch f.b[f.at-1] {
		case 0x3b:
			return nil, nil
		case 0x21:
			if err := f.extension(frame); err != nil {
				return nil, err
			}
		case 0x2c:
			return frame, f.descriptor(frame)
		}
	}
	if f.cut {
		return nil, errShort
	}
	return nil, nil // there is no trailer
}

// extension keeps what a graphic control says of the frame that follows.
func (f *gifFile) extension(frame *gifFrame) error {
	const control = 0xf9
	if b := f.b[f.at:]; len(b) >= 6 && b[0] == control && b[1] >= 4 {
		frame.disposal, frame.transparent = b[2]>>2&7, -1
		if b[2]&1 != 0 {
			frame.transparent = int(b[5])
		}
	}
	f.at++
	return f.skip()
}

// descriptor reads a frame's head and passes over its data.
func (f *gifFile) descriptor(frame *gifFrame) (err error) {
	if len(f.b)-f.at < 9 {
		return errShort
	}
	b := f.b[f.at:]
	frame.x, frame.y = int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	frame.width, frame.height = int(binary.LittleEndian.Uint16(b[4:])), int(binary.LittleEndian.Uint16(b[6:]))
	frame.interlaced = b[8]&0x40 != 0
	f.at += 9
	if frame.own, err = f.table(b[8]); err != nil {
		return err
	}
	if f.at >= len(f.b) {
		return errShort
	}
	frame.codeBits = f.b[f.at]
	f.at++
	frame.data = f.at
	if f.skip() != nil {
		f.cut = true // the frame may be whole for all that: its decoding tells
	}
	return nil
}

// colours returns the frame's table; its transparent index has opacity 0.
func (f *gifFile) colours(frame *gifFrame) *colourTable {
	p, t := grayRamp(), frame.own
	if t == nil {
		t = f.common
	}
	for i := range len(t) / 3 {
		copy(p[i][:3], t[3*i:3*i+3])
	}
	if frame.transparent >= 0 {
		p[frame.transparent][3] = 0
	}
	return &p
}

// gifFirst returns the first frame and the size of the picture: the screen, enlarged to hold the
// frame.
func gifFirst(content []byte) (f *gifFile, frame *gifFrame, err error) {
	f, err = parseGIF(content)
	if err != nil {
		return nil, nil, err
	}
	frame, err = f.next()
	if err != nil {
		return nil, nil, err
	}
	if frame == nil {
		return nil, nil, errors.New("it holds no frame")
	}
	f.enlarge(frame)
	return f, frame, nil
}

// enlarge makes room for a frame that lies beyond the screen.
func (f *gifFile) enlarge(frame *gifFrame) {
	f.width, f.height = max(f.width, frame.x+frame.width), max(f.height, frame.y+frame.height)
}

func gifSize(content []byte) (width, height int, err error) {
	f, _, err := gifFirst(content)
	if err != nil {
		return 0, 0, err
	}
	return f.width, f.height, nil
}

// decodeGIF decodes the first frame. Where it does not cover the screen one sees its transparent
// index, or index 0.
func (d *Decoder) decodeGIF(content []byte, dst *Image) (orientation int, err error) {
	f, frame, err := gifFirst(content)
	if err != nil {
		return 0, err
	}
	indices, err := d.gifIndices(f, frame)
	if err != nil {
		return 0, err
	}
	table := f.colours(frame).onto(d.options.Ground)
	if frame.width != f.width || frame.height != f.height {
		rest := table[max(frame.transparent, 0)]
		for i := range dst.Width * dst.Height {
			copy(dst.Pix[3*i:3*i+3], rest[:])
		}
	}
	for y := range frame.height {
		lookUp(dst.row(frame.y + y)[3*frame.x:], indices[y*frame.width:][:frame.width], table)
	}
	return 1, nil
}

// gifIndices unpacks a frame, row by row from the top.
func (d *Decoder) gifIndices(f *gifFile, frame *gifFrame) ([]byte, error) {
	n := frame.width * frame.height
	if !frame.interlaced {
		d.work = grown(d.work, n)
		return d.work, unpackLZW(d.work, f.b[frame.data:], frame.codeBits)
	}
	d.work = grown(d.work, 2*n)
	stored, indices := d.work[:n], d.work[n:]
	if err := unpackLZW(stored, f.b[frame.data:], frame.codeBits); err != nil {
		return nil, err
	}
	for _, pass := range [...]struct{ from, step int }{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		for y := pass.from; y < frame.height; y += pass.step {
			copy(indices[y*frame.width:], stored[:frame.width])
			stored = stored[frame.width:]
		}
	}
	return indices, nil
}

// lzwTable is the state of GIF's LZW (appendix F), which makes up a code for each string that comes
// again.
type lzwTable struct {
	prefix [4096]uint16 // of a code that was made up: the code before its last byte
	suffix [4096]byte   // and that byte
	first  [4096]byte   // of its string
	length [4096]uint16
}

// unpackLZW fills dst from sub-blocks. Codes of literals have codeBits bits.
func unpackLZW(dst, blocks []byte, codeBits byte) error {
	if codeBits < 1 || codeBits > 8 {
		return fmt.Errorf("codes of %d bits", codeBits)
	}
	const none = -1
	t := new(lzwTable)
	stop := 1<<codeBits + 1
	for i := range stop - 1 {
		t.suffix[i], t.first[i], t.length[i] = byte(i), byte(i), 1
	}
	in := codeReader{blocks: blocks}
	last, free, width := none, stop+1, uint(codeBits)+1
	for at := 0; at < len(dst); {
		code, ok := in.next(width)
		switch {
		case !ok || code == stop:
			return errShort
		case code == stop-1: // begin anew
			last, free, width = none, stop+1, uint(codeBits)+1
			continue
		case last == none && code > stop, code > free, code == free && free == len(t.suffix):
			return fmt.Errorf("code %d where %d are known", code, free)
		}
		if last != none && free < len(t.suffix) {
			first := t.first[last] // of a code that is just being made up
			if code < free {
				first = t.first[code]
			}
			t.prefix[free], t.suffix[free] = uint16(last), first
			t.first[free], t.length[free] = t.first[last], t.length[last]+1
			if free++; free == 1<<width && width < 12 {
				width++
			}
		}
		last = code
		n := int(t.length[code])
		for k := at + n - 1; k >= at; k-- { // from its end
			if k < len(dst) {
				dst[k] = t.suffix[code]
			}
			code = int(t.prefix[code])
		}
		at += n
	}
	return nil
}

// codeReader reads codes, lowest bits first, out of sub-blocks.
type codeReader struct {
	blocks []byte // what follows the current block
	block  []byte
	bits   uint32
	n      uint
}

// next returns a code of so many bits; ok is false at the end.
func (r *codeReader) next(width uint) (code int, ok bool) {
	for r.n < width {
		if len(r.block) == 0 {
			if len(r.blocks) == 0 || r.blocks[0] == 0 {
				return 0, false
			}
			n := min(int(r.blocks[0]), len(r.blocks)-1)
			r.block, r.blocks = r.blocks[1:1+n], r.blocks[1+n:]
			if n == 0 {
				return 0, false
			}
		}
		r.bits |= uint32(r.block[0]) << r.n
		r.block = r.block[1:]
		r.n += 8
	}
	code = int(r.bits & (1<<width - 1))
	r.bits >>= width
	r.n -= width
	return code, true
}
