package picture

import (
	"encoding/binary"
	"fmt"
)

// bmpFile is a BMP (Windows: BITMAPCOREHEADER to BITMAPV5HEADER; OS/2) taken apart.
type bmpFile struct {
	width, height int
	down          bool // rows from the top; most files begin at the bottom
	bits          int  // a pixel
	compression   uint32
	masks         [4]uint32 // of red, green, blue, alpha in a pixel of 16 or 32 bits
	table         []byte    // b, g, r, and a byte more in each entry of entryBytes
	entryBytes    int
	data          []byte // the pixels
	at            int    // where they begin in the file
}

// The compressions that are read. RLE8 and RLE4 are runs of indices.
const (
	bmpPlain      = 0
	bmpRLE8       = 1
	bmpRLE4       = 2
	bmpMasks      = 3
	bmpAlphaMasks = 6
)

// parseBMP reads the headers. A header that is shorter than it could be has zeros for the rest.
func parseBMP(b []byte) (*bmpFile, error) {
	const fileHead, coreHead = 14, 12
	if len(b) < fileHead+coreHead {
		return nil, errShort
	}
	size := int(binary.LittleEndian.Uint32(b[fileHead:]))
	if size > len(b)-fileHead {
		return nil, errShort
	}
	f := &bmpFile{entryBytes: 4}
	var head [124]byte
	copy(head[:], b[fileHead:fileHead+size])
	colours := 0
	if size == coreHead {
		f.width, f.height = int(binary.LittleEndian.Uint16(head[4:])), int(binary.LittleEndian.Uint16(head[6:]))
		f.bits = int(binary.LittleEndian.Uint16(head[10:]))
		f.entryBytes = 3
	} else {
		width, height := int32(binary.LittleEndian.Uint32(head[4:])), int32(binary.LittleEndian.Uint32(head[8:]))
		f.down = height < 0
		f.width, f.height = int(width), max(int(height), -int(height))
		f.bits = int(binary.LittleEndian.Uint16(head[14:]))
		f.compression = binary.LittleEndian.Uint32(head[16:])
		colours = int(min(binary.LittleEndian.Uint32(head[32:]), 1<<16))
	}
	at := fileHead + size
	masks, err := f.readMasks(head[:], size, b[at:])
	if err != nil {
		return nil, err
	}
	at += masks
	if colours == 0 && f.bits <= 8 {
		colours = 1 << f.bits
	}
	offset := int(binary.LittleEndian.Uint32(b[10:]))
	if f.bits <= 8 {
		f.table = b[at:min(len(b), at+colours*f.entryBytes)]
		if offset == at { // some writers forget the table
			offset = 0
		}
		at += len(f.table)
	}
	if offset == 0 {
		offset = at
	}
	f.at, f.data = offset, b[min(offset, len(b)):]
	return f, f.check()
}

// readMasks finds the masks: in the header, in the bytes behind it, of which it returns how many
// they take, or by custom.
func (f *bmpFile) readMasks(head []byte, size int, after []byte) (behind int, err error) {
	switch f.bits {
	case 16:
		f.masks = [4]uint32{0x7c00, 0x3e0, 0x1f}
	case 32:
		f.masks = [4]uint32{0xff0000, 0xff00, 0xff}
	}
	if f.compression != bmpMasks && f.compression != bmpAlphaMasks {
		return 0, nil
	}
	const short = 40 // the header that has no room for masks
	from, n := head[short:], 3
	if size > short+12 || f.compression == bmpAlphaMasks {
		n = 4
	}
	if size <= short {
		if len(after) < 4*n {
			return 0, errShort
		}
		from, behind = after, 4*n
	}
	var masks [4]uint32
	for i := range n {
		masks[i] = binary.LittleEndian.Uint32(from[4*i:])
	}
	switch {
	case f.bits != 32: // as Pillow does: no opacity in 16 bits
		copy(f.masks[:3], masks[:3])
	case masks == [4]uint32{}:
		f.masks[3] = 0xff000000
	default:
		f.masks = masks
	}
	return behind, nil
}

// check refuses what is not read.
func (f *bmpFile) check() error {
	known := false
	switch f.compression {
	case bmpPlain:
		known = f.bits <= 8 && f.bits > 0 && 8%f.bits == 0 || f.bits == 16 || f.bits == 24 || f.bits == 32
	case bmpRLE8:
		known = f.bits == 8
	case bmpRLE4:
		known = f.bits == 4
	case bmpMasks, bmpAlphaMasks:
		known = f.bits == 16 || f.bits == 24 || f.bits == 32
	case 4:
		return &UnsupportedError{Format: "bmp", Kind: "a JPEG inside"}
	case 5:
		return &UnsupportedError{Format: "bmp", Kind: "a PNG inside"}
	}
	if !known {
		kind := fmt.Sprintf("compression %d of %d bits a pixel", f.compression, f.bits)
		return &UnsupportedError{Format: "bmp", Kind: kind}
	}
	return nil
}

func bmpSize(content []byte) (width, height int, err error) {
	f, err := parseBMP(content)
	if err != nil {
		return 0, 0, err
	}
	return f.width, f.height, nil
}

// colours is the table of indices.
func (f *bmpFile) colours() *[256][3]uint8 {
	p := grayRamp()
	for i := range min(len(f.table)/f.entryBytes, 256) {
		e := f.table[i*f.entryBytes:]
		p[i] = [4]uint8{e[2], e[1], e[0], 255}
	}
	return p.onto(White)
}

func (d *Decoder) decodeBMP(content []byte, dst *Image) (orientation int, err error) {
	f, err := parseBMP(content)
	if err != nil {
		return 0, err
	}
	if f.compression == bmpRLE8 || f.compression == bmpRLE4 {
		d.work = grown(d.work, f.width*f.height)
		if err := f.unpackRuns(d.work); err != nil {
			return 0, err
		}
		f.eachRow(dst, d.work, f.width, indexRow(f.colours(), 8))
		return 1, nil
	}
	stride := (f.width*f.bits + 31) / 32 * 4
	last := (f.width*f.bits + 7) / 8 // the last row may lack its padding
	if len(f.data) < (f.height-1)*stride+last {
		return 0, errShort
	}
	f.eachRow(dst, f.data, stride, f.rows(d.options.Ground))
	return 1, nil
}

// eachRow writes all rows, from the bottom or the top.
func (f *bmpFile) eachRow(dst *Image, data []byte, stride int, write func(dst, src []byte)) {
	for y := range f.height {
		at := y
		if !f.down {
			at = f.height - 1 - y
		}
		write(dst.row(at), data[y*stride:min((y+1)*stride, len(data))])
	}
}

// rows returns what writes a row as RGB onto a ground.
func (f *bmpFile) rows(g Ground) func(dst, src []byte) {
	switch f.bits {
	case 24:
		return func(dst, src []byte) {
			for ; len(dst) >= 3; dst, src = dst[3:], src[3:] {
				dst[0], dst[1], dst[2] = src[2], src[1], src[0]
			}
		}
	case 16, 32:
		return f.maskedRow(g)
	}
	return indexRow(f.colours(), uint8(f.bits))
}

// channel is where a mask's bits are.
type channel struct {
	mask, shift, top uint32
}

func channelOf(mask uint32) channel {
	c := channel{mask: mask}
	for mask != 0 && mask&1 == 0 {
		mask >>= 1
		c.shift++
	}
	c.top = mask
	return c
}

// value scales a pixel's bits to 8, rounding down as Pillow does.
func (c channel) value(pixel uint32) uint8 {
	if c.top == 0 {
		return 0
	}
	return uint8(uint64((pixel&c.mask)>>c.shift) * 255 / uint64(c.top))
}

func (f *bmpFile) maskedRow(g Ground) func(dst, src []byte) {
	var c [4]channel
	for i, m := range f.masks {
		c[i] = channelOf(m)
	}
	bytes := f.bits / 8
	alpha := c[3].mask != 0 && f.anyOpacity(c[3])
	return func(dst, src []byte) {
		for ; len(dst) >= 3; dst, src = dst[3:], src[bytes:] {
			pixel := uint32(src[0]) | uint32(src[1])<<8
			if bytes == 4 {
				pixel |= uint32(src[2])<<16 | uint32(src[3])<<24
			}
			a := uint8(255)
			if alpha {
				a = c[3].value(pixel)
			}
			g.lay(dst, c[0].value(pixel), c[1].value(pixel), c[2].value(pixel), a)
		}
	}
}

// anyOpacity tells whether the alpha of any pixel is not zero: many writers leave it at zero and
// mean opaque.
func (f *bmpFile) anyOpacity(c channel) bool {
	bytes := f.bits / 8
	for b := f.data; len(b) >= bytes; b = b[bytes:] {
		pixel := uint32(b[0]) | uint32(b[1])<<8
		if bytes == 4 {
			pixel |= uint32(b[2])<<16 | uint32(b[3])<<24
		}
		if pixel&c.mask != 0 {
			return true
		}
	}
	return false
}

// unpackRuns fills dst with the indices of RLE8 or RLE4, row after row as stored. What runs leave
// out is index 0, and so is all after an early end mark.
func (f *bmpFile) unpackRuns(dst []byte) error {
	clear(dst)
	b, x, y := f.data, 0, 0
	put := func(v byte) { // what lies beyond the row is dropped
		if x < f.width && y < f.height {
			dst[y*f.width+x] = v
		}
		x++
	}
	indices := func(v byte, k int) byte {
		if f.compression == bmpRLE8 {
			return v
		}
		return v >> (4 - 4*(k&1)) & 15
	}
	for y < f.height {
		if len(b) < 2 {
			if y == f.height-1 && x >= f.width {
				return nil
			}
			return errShort
		}
		count, v := int(b[0]), b[1]
		b = b[2:]
		switch {
		case count > 0:
			for k := range count {
				put(indices(v, k))
			}
		case v == 0:
			x, y = 0, y+1
		case v == 1:
			return nil
		case v == 2:
			if len(b) < 2 {
				return errShort
			}
			x, y = x+int(b[0]), y+int(b[1])
			b = b[2:]
		default:
			n := int(v)
			if f.compression == bmpRLE4 {
				n = (n + 1) / 2
			}
			if len(b) < n {
				return errShort
			}
			for k := range int(v) {
				at := k
				if f.compression == bmpRLE4 {
					at /= 2
				}
				put(indices(b[at], k))
			}
			b = b[min(len(b), n+n&1):]
		}
	}
	return nil
}
