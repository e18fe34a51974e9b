package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zlib"
)

// pngFile is a PNG (W3C PNG specification) taken apart. Its picture data are still compressed.
type pngFile struct {
	width, height int
	depth, kind   uint8 // bits a sample; colour type
	interlaced    bool
	palette       []byte   // PLTE: r, g, b
	transparent   []byte   // tRNS
	data          [][]byte // the bodies of IDAT
	exif          []byte
	text          []byte // EXIF data from a text chunk
	xmp           []byte
}

// The colour types.
const (
	pngGray      = 0
	pngColour    = 2
	pngPalette   = 3
	pngGrayAlpha = 4
	pngAlpha     = 6
)

const pngHead = 8 // bytes of the signature

// pngSize reads the size from IHDR.
func pngSize(content []byte) (width, height int, err error) {
	if len(content) < pngHead+8+13 {
		return 0, 0, errShort
	}
	b := content[pngHead:]
	if string(b[4:8]) == "CgBI" {
		return 0, 0, &UnsupportedError{Format: "png", Kind: "Apple's changes for iPhones (CgBI)"}
	}
	if string(b[4:8]) != "IHDR" {
		return 0, 0, errors.New("the first chunk is not IHDR")
	}
	w, h := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	if w > 1<<31-1 || h > 1<<31-1 {
		return 0, 0, fmt.Errorf("the header gives a size of %dx%d", w, h)
	}
	return int(w), int(h), nil
}

// parsePNG walks the chunks to IEND, the end, or the first that makes no sense. Like libpng it
// passes over chunks that are not needed and whose checksum is wrong; that of the data is not
// looked at.
func (d *Decoder) parsePNG(b []byte) (*pngFile, error) {
	f := &pngFile{}
	for at := pngHead; at+8 <= len(b); {
		length := binary.BigEndian.Uint32(b[at:])
		kind := string(b[at+4 : at+8])
		left := len(b) - at - 8
		if int64(length)+4 > int64(left) { // the file is cut short within this chunk
			if kind == "IDAT" {
				f.data = append(f.data, b[at+8:][:min(left, int(min(length, 1<<31-1)))])
			}
			break
		}
		body := b[at+8:][:length]
		sum := binary.BigEndian.Uint32(b[at+8+int(length):])
		whole := kind == "IDAT" || crc32.ChecksumIEEE(b[at+4:][:4+length]) == sum
		at += 12 + int(length)
		if kind == "IEND" {
			break
		}
		if !whole && kind[0]&0x20 == 0 { // a capital: the picture cannot be read without it
			return nil, fmt.Errorf("the checksum of its %q is wrong", kind)
		}
		if whole {
			if err := d.pngChunk(f, kind, body); err != nil {
				return nil, err
			}
		}
	}
	return f, f.check()
}

// pngChunk keeps what a chunk says.
func (d *Decoder) pngChunk(f *pngFile, kind string, body []byte) error {
	switch kind {
	case "IHDR":
		if len(body) < 13 {
			return errors.New("IHDR is too short")
		}
		f.width, f.height = int(binary.BigEndian.Uint32(body)), int(binary.BigEndian.Uint32(body[4:]))
		f.depth, f.kind, f.interlaced = body[8], body[9], body[12] != 0
		if body[11] != 0 {
			return fmt.Errorf("filter method %d", body[11])
		}
	case "PLTE":
		f.palette = body
	case "tRNS":
		f.transparent = body
	case "IDAT":
		f.data = append(f.data, body)
	case "eXIf":
		f.exif = body
	case "tEXt", "zTXt", "iTXt":
		d.pngText(f, kind, body)
	}
	return nil
}

// pngText looks for EXIF and XMP in a text chunk: keyword, a zero, what the kind of chunk has, the
// text.
func (d *Decoder) pngText(f *pngFile, kind string, body []byte) {
	keyword, text, ok := bytes.Cut(body, []byte{0})
	raw, xmp := string(keyword) == "Raw profile type exif", string(keyword) == "XML:com.adobe.xmp"
	if !ok || !raw && !xmp {
		return
	}
	packed := kind == "zTXt"
	switch kind {
	case "zTXt":
		text = text[min(1, len(text)):]
	case "iTXt":
		if len(text) < 2 {
			return
		}
		packed = text[0] == 1
		_, text, _ = bytes.Cut(text[2:], []byte{0}) // language
		_, text, _ = bytes.Cut(text, []byte{0})     // translated keyword
	}
	if packed {
		const longest = 1 << 20
		text, _ = d.inflate.most(text, longest)
	}
	if raw {
		f.text = rawProfile(string(text))
	} else {
		f.xmp = text
	}
}

// check refuses what the specification does not know.
func (f *pngFile) check() error {
	deep := f.depth == 8 || f.depth == 16
	shallow := f.depth == 1 || f.depth == 2 || f.depth == 4
	switch {
	case f.depth == 0:
		return errShort
	case f.kind == pngGray && (shallow || deep):
	case f.kind == pngPalette && (shallow || f.depth == 8):
	case (f.kind == pngColour || f.kind == pngGrayAlpha || f.kind == pngAlpha) && deep:
	default:
		return fmt.Errorf("colour type %d with %d bits", f.kind, f.depth)
	}
	if len(f.data) == 0 {
		return errShort
	}
	return nil
}

// orientation looks into EXIF, then into the EXIF of a text chunk, then into XMP.
func (f *pngFile) orientation() int {
	exif := f.exif
	if exif == nil {
		exif = f.text
	}
	if o, ok := exifOrientation(exif); ok {
		return o
	}
	return xmpOrientation(f.xmp)
}

// pixelBits is how many bits a pixel takes.
func (f *pngFile) pixelBits() int {
	return int(f.depth) * [...]int{pngGray: 1, pngColour: 3, pngPalette: 1, pngGrayAlpha: 2, pngAlpha: 4}[f.kind]
}

// adam7 are the passes of an interlaced picture: where each begins and its steps.
var adam7 = [...]struct{ x, y, dx, dy int }{
	{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
}

func (d *Decoder) decodePNG(content []byte, dst *Image) (orientation int, err error) {
	f, err := d.parsePNG(content)
	if err != nil {
		return 0, err
	}
	if ceil(f.width, d.factor) != dst.Width || ceil(f.height, d.factor) != dst.Height || f.interlaced && d.factor > 1 {
		return 0, errors.New("a second IHDR says otherwise")
	}
	packed := d.joined(f.data)
	const most = 1032 // times as many bytes as there are, is the most that deflate gives
	if f.height*((f.width*f.pixelBits()+7)/8) > most*(len(packed)+64) {
		return 0, errShort
	}
	data, err := d.inflate.open(bytes.NewReader(packed))
	if err != nil {
		return 0, err
	}
	rows := f.rows(d.options.Ground)
	switch {
	case f.interlaced:
		err = d.pngPasses(f, data, dst)
	case d.factor > 1:
		large := newReducer(d.factor, f.width)
		err = d.pngRows(f, data, f.width, f.height, func(y int, row []byte) {
			rows(large.row, row)
			large.add(dst, y, y == f.height-1)
		})
	default:
		err = d.pngRows(f, data, f.width, f.height, func(y int, row []byte) { rows(dst.row(y), row) })
	}
	if err == nil && wrongSum(data) {
		err = errors.New("the checksum of the pixels is wrong")
	}
	return f.orientation(), err
}

// joined returns slices as one: inflating is fastest from a bytes.Reader.
func (d *Decoder) joined(pieces [][]byte) []byte {
	if len(pieces) == 1 {
		return pieces[0]
	}
	d.packed = d.packed[:0]
	for _, p := range pieces {
		d.packed = append(d.packed, p...)
	}
	return d.packed
}

// wrongSum reads what follows the last row: nothing but the checksum, if the file is as it should
// be.
func wrongSum(data io.Reader) bool {
	var more [1]byte
	_, err := data.Read(more[:])
	return errors.Is(err, zlib.ErrChecksum)
}

// pngPasses decodes an interlaced picture.
func (d *Decoder) pngPasses(f *pngFile, data io.Reader, dst *Image) error {
	rows := f.rows(d.options.Ground)
	pass := make([]uint8, 3*f.width)
	for _, p := range adam7 {
		w, h := (f.width-p.x+p.dx-1)/p.dx, (f.height-p.y+p.dy-1)/p.dy
		if w <= 0 || h <= 0 {
			continue
		}
		err := d.pngRows(f, data, w, h, func(y int, row []byte) {
			rows(pass[:3*w], row)
			out := dst.row(p.y + y*p.dy)
			for x := range w {
				copy(out[3*(p.x+x*p.dx):][:3], pass[3*x:3*x+3])
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pngRows unpacks h rows of w pixels and undoes their filters (section 9).
func (d *Decoder) pngRows(f *pngFile, data io.Reader, w, h int, see func(y int, row []byte)) error {
	step := max(1, f.pixelBits()/8)
	length := (w*f.pixelBits() + 7) / 8
	d.work = grown(d.work, 2*(1+length))
	row, above := d.work[:1+length], d.work[1+length:]
	clear(above)
	for y := range h {
		if _, err := io.ReadFull(data, row); err != nil {
			return err
		}
		if err := unfilter(row[0], row[1:], above[1:], step); err != nil {
			return err
		}
		see(y, row[1:])
		row, above = above, row
	}
	return nil
}
