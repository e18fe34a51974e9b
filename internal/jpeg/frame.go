package jpeg

import "encoding/binary"

// frame is what a frame header says, and what follows from it.
type frame struct {
	seen          bool
	progressive   bool
	arithmetic    bool
	width, height int
	maxH, maxV    int
	comps         []component

	mcusWide, mcusHigh int // MCUs of a scan of all components
	scale              int // 1, 2, 4, 8
	outWidth           int // width and height of the reduced picture
	outHeight          int
	scans              int // how many have begun
	lastGood           int // the last row of MCUs for which the latest scan had data
}

// component is one plane of a picture.
type component struct {
	id         byte
	h, v       int    // sampling factors
	quantFrom  byte   // the destination of its quantization table
	quantTable *block // the table that was there when its first scan began; nil before

	blocksWide, blocksHigh int // blocks that hold any of the picture
	size                   int // samples that one block becomes across and down: 8, 4, 2 or 1
	width, height          int // of the reduced plane, in samples

	coefs  []block // of pictures of several scans: stride blocks a row, rows for whole MCUs
	stride int     // in blocks
	// Progressive Huffman-coded pictures hold DC apart, which keeps the scans of DC in the cache,
	// and the sets of the AC coefficients that are not 0.
	dc       []int16
	known    []uint64
	accuracy [64]int8
	earlier  [64]int8 // accuracy before the latest scan of this component
}

// block is 64 coefficients, or the factors of them, in natural order.
type block [64]int16

const (
	smallPicture   = 1 << 20 // pixels that are allocated without asking whether the file can hold them
	pixelsPerByte  = 512     // a progressive file spends at least a bit on the DC of a block
	arithmeticGain = 16      // times that many pixels where bits are arithmetic
)

// readFrame reads a SOF segment.
func (d *decoder) readFrame(marker byte, b []byte) error {
	f := &d.frame
	if f.seen {
		return FormatError("a second frame header")
	}
	switch marker {
	case 0xC0, 0xC1, 0xC2, 0xC9, 0xCA:
	case 0xC3, 0xCB:
		return UnsupportedError("lossless coding")
	case 0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF:
		return UnsupportedError("hierarchical coding")
	default:
		return FormatError("an unknown kind of frame")
	}
	f.progressive, f.arithmetic = marker == 0xC2 || marker == 0xCA, marker >= 0xC9
	if len(b) < 6 {
		return FormatError("a short frame header")
	}
	n := int(b[5])
	if b[0] == 12 || b[0] == 16 {
		return UnsupportedError("a precision of more than 8 bits")
	}
	if b[0] != 8 {
		return FormatError("a precision that JPEG does not have")
	}
	f.height, f.width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	if f.height == 0 {
		return UnsupportedError("a height that follows the picture (DNL)")
	}
	if f.width == 0 || len(b) != 6+3*n {
		return FormatError("a broken frame header")
	}
	if n != 1 && n != 3 && n != 4 {
		return UnsupportedError("a picture of other than 1, 3 or 4 components")
	}
	f.comps = make([]component, n)
	for i := range f.comps {
		c, s := &f.comps[i], b[6+3*i:]
		c.id, c.h, c.v, c.quantFrom = s[0], int(s[1]>>4), int(s[1]&15), s[2]
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 {
			return FormatError("a sampling factor that is not 1 to 4")
		}
		if n == 1 {
			c.h, c.v = 1, 1 // a plane alone has no MCUs of several blocks, whatever it says
		}
		f.maxH, f.maxV = max(f.maxH, c.h), max(f.maxV, c.v)
	}
	f.seen = true
	return nil
}

// layout computes sizes for a scale, once the first scan is there.
func (f *frame) layout(scale int) error {
	least := 8 / scale
	f.scale = scale
	f.outWidth, f.outHeight = up(f.width, scale), up(f.height, scale)
	f.mcusWide, f.mcusHigh = up(f.width, 8*f.maxH), up(f.height, 8*f.maxV)
	for i := range f.comps {
		c := &f.comps[i]
		c.blocksWide, c.blocksHigh = up(f.width*c.h, 8*f.maxH), up(f.height*c.v, 8*f.maxV)
		// A component of fewer samples takes a larger transform, as far as that saves upsampling.
		c.size = least
		for c.size < 8 && f.maxH*least%(2*c.h*c.size) == 0 && f.maxV*least%(2*c.v*c.size) == 0 {
			c.size *= 2
		}
		if f.maxH*least%(c.h*c.size) != 0 || f.maxV*least%(c.v*c.size) != 0 {
			return UnsupportedError("a ratio of sampling factors that is no whole number")
		}
		c.width, c.height = up(f.width*c.h*c.size, 8*f.maxH), up(f.height*c.v*c.size, 8*f.maxV)
		c.stride = f.mcusWide * c.h
		for k := range c.accuracy {
			c.accuracy[k], c.earlier[k] = -1, -1
		}
	}
	return nil
}

// up divides and rounds up.
func up(a, b int) int { return (a + b - 1) / b }

// affordable refuses a picture that is too large, or that the file has too few bytes for: no memory
// is taken on the word of a header. Small pictures pass, so that one cut short is called that.
func (d *decoder) affordable() error {
	f := &d.frame
	pixels := f.width * f.height
	if pixels > d.opt.MaxPixels {
		return &SizeError{f.width, f.height, "more than is allowed"}
	}
	room := pixelsPerByte * len(d.data)
	if f.arithmetic {
		room *= arithmeticGain
	}
	if pixels > smallPicture && pixels > room {
		return &SizeError{f.width, f.height, "more than the bytes of its file can hold"}
	}
	return nil
}
