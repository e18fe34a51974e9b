package picture

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// The tags that are looked at (TIFF 6.0; BigTIFF has the same).
const (
	tagSubfile      = 254
	tagWidth        = 256
	tagHeight       = 257
	tagBits         = 258
	tagCompression  = 259
	tagPhotometric  = 262
	tagFillOrder    = 266
	tagStripOffsets = 273
	tagSamples      = 277
	tagRowsPerStrip = 278
	tagStripBytes   = 279
	tagPlanar       = 284
	tagFaxOptions   = 292
	tagPredictor    = 317
	tagColourMap    = 320
	tagTileWidth    = 322
	tagTileHeight   = 323
	tagTileOffsets  = 324
	tagTileBytes    = 325
	tagSubIFDs      = 330
	tagInkSet       = 332
	tagExtra        = 338
	tagSampleFormat = 339
	tagJPEGTables   = 347
	tagDNGVersion   = 50706
)

// The photometric interpretations that are read.
const (
	whiteIsZero = 0
	blackIsZero = 1
	tiffRGB     = 2
	tiffPalette = 3
	separated   = 5 // inks: CMYK
	tiffYCbCr   = 6
)

// What the first sample behind the colours is.
const (
	extraNothing       = iota // there is none, or nobody knows
	extraMultiplied           // opacity, which the colours are multiplied with
	extraNotMultiplied        // opacity
)

// tiffFile is the first picture of a TIFF, still compressed.
type tiffFile struct {
	*directory
	width, height int
	bits          int // a sample
	samples       int // a pixel
	colours       int // samples that are no extras
	extra         int
	photometric   int64
	compression   int64
	float         bool
	highest       float32 // of the float samples, once they are read
	predictor     int64
	planar        bool // each sample has pieces of its own
	reversed      bool // the lowest bit of a byte comes first
	pieces        pieceGrid
}

// maxSamples is the most samples a pixel may have.
const maxSamples = 8

// pieceGrid is how a picture is cut: into strips, which are as wide as the picture, or into tiles.
type pieceGrid struct {
	width, height  int
	offsets, bytes []int64
}

// parseTIFF reads the first directory.
func parseTIFF(content []byte) (*tiffFile, error) {
	dir, err := readDirectory(content)
	if err != nil {
		return nil, err
	}
	f := &tiffFile{directory: dir}
	f.compression, f.photometric = dir.int(tagCompression, 1), dir.int(tagPhotometric, whiteIsZero)
	w, h := dir.int(tagWidth, 0), dir.int(tagHeight, 0)
	if w <= 0 || h <= 0 || w > math.MaxInt32 || h > math.MaxInt32 {
		return nil, fmt.Errorf("the directory gives a size of %dx%d", w, h)
	}
	f.width, f.height = int(w), int(h)
	if dir.has(tagDNGVersion) || dir.has(tagSubIFDs) && dir.int(tagSubfile, 0)&1 != 0 {
		return nil, &UnsupportedError{Format: "raw"} // the first picture is a small preview
	}
	if err := f.readSamples(); err != nil {
		return nil, err
	}
	f.planar, f.reversed = dir.int(tagPlanar, 1) == 2 && f.samples > 1, dir.int(tagFillOrder, 1) == 2
	f.predictor = dir.int(tagPredictor, 1)
	return f, f.readPieces()
}

func tiffSize(content []byte) (width, height int, err error) {
	f, err := parseTIFF(content)
	if err != nil {
		return 0, 0, err
	}
	return f.width, f.height, nil
}

func unsupportedTIFF(format string, args ...any) error {
	return &UnsupportedError{Format: "tiff", Kind: fmt.Sprintf(format, args...)}
}

// photometricKinds name what is not read.
var photometricKinds = map[int64]string{
	4: "a transparency mask", 8: "CIELab colours", 9: "ICCLab colours", 10: "ITULab colours", 32844: "LogLuv colours",
	32845: "LogLuv colours",
}

// readSamples finds out what a pixel is made of.
func (f *tiffFile) readSamples() error {
	switch f.photometric {
	case whiteIsZero, blackIsZero, tiffPalette:
		f.colours = 1
	case tiffRGB, tiffYCbCr:
		f.colours = 3
	case separated:
		f.colours = 4
		if ink := f.int(tagInkSet, 1); ink != 1 {
			return unsupportedTIFF("inks other than CMYK")
		}
	case 32803, 34892:
		return &UnsupportedError{Format: "raw"}
	default:
		if kind, ok := photometricKinds[f.photometric]; ok {
			return unsupportedTIFF("%s", kind)
		}
		return unsupportedTIFF("photometric interpretation %d", f.photometric)
	}
	bits := f.ints(tagBits)
	if len(bits) == 0 {
		bits = []int64{1}
	}
	f.samples = int(min(f.int(tagSamples, int64(len(bits))), 1<<16))
	bits = bits[:min(len(bits), max(f.samples, 1))]
	f.bits = int(min(bits[0], 1<<16))
	if slices.ContainsFunc(bits, func(b int64) bool { return b != bits[0] }) {
		return unsupportedTIFF("samples of different lengths")
	}
	if f.samples < f.colours || f.samples > maxSamples {
		return fmt.Errorf("%d samples a pixel for photometric interpretation %d", f.samples, f.photometric)
	}
	f.readExtra()
	return f.checkSamples()
}

// readExtra finds the opacity. Without a word about an extra sample it is taken for one, as by
// Pillow.
func (f *tiffFile) readExtra() {
	if f.samples == f.colours || f.photometric == separated {
		return
	}
	const corelDraw = 999
	switch v := f.int(tagExtra, -1); v {
	case 1:
		f.extra = extraMultiplied
	case 2, corelDraw, -1:
		f.extra = extraNotMultiplied
	}
}

// checkSamples refuses lengths and kinds of numbers that are not read.
func (f *tiffFile) checkSamples() error {
	format := f.int(tagSampleFormat, 1)
	gray := f.photometric == whiteIsZero || f.photometric == blackIsZero
	switch {
	case format == 3:
		if f.float = f.bits == 32 && f.samples == 1 && gray; !f.float {
			return unsupportedTIFF("%d float samples of %d bits", f.samples, f.bits)
		}
		return nil
	case format == 2:
		return unsupportedTIFF("signed samples")
	case format != 1 && format != 4:
		return unsupportedTIFF("sample format %d", format)
	}
	switch f.bits {
	case 1, 2, 4, 8, 16:
	case 12:
		if f.compression == 7 { // a JPEG's own
			return unsupportedTIFF("a JPEG of 12 bits a sample")
		}
	default:
		return unsupportedTIFF("%d bits a sample", f.bits)
	}
	if f.photometric == tiffPalette && f.bits > 8 {
		return unsupportedTIFF("a palette of %d bits", f.bits)
	}
	return nil
}

// readPieces finds strips or tiles. Their lengths may be missing: a piece then ends where the file
// does.
func (f *tiffFile) readPieces() error {
	g := &f.pieces
	if f.has(tagTileOffsets) || f.has(tagTileWidth) {
		g.width, g.height = int(f.int(tagTileWidth, 0)), int(f.int(tagTileHeight, 0))
		g.offsets, g.bytes = f.ints(tagTileOffsets), f.ints(tagTileBytes)
		if len(g.offsets) == 0 { // some writers use the strips' tags
			g.offsets, g.bytes = f.ints(tagStripOffsets), f.ints(tagStripBytes)
		}
	} else {
		rows := f.int(tagRowsPerStrip, int64(f.height))
		g.width, g.height = f.width, int(min(max(rows, 0), int64(f.height)))
		if g.height == 0 {
			g.height = f.height
		}
		g.offsets, g.bytes = f.ints(tagStripOffsets), f.ints(tagStripBytes)
	}
	const margin = 1024 // tiles may reach beyond the picture
	if g.width <= 0 || g.height <= 0 || g.width > f.width+margin || g.height > f.height+margin {
		return fmt.Errorf("strips or tiles of %dx%d", g.width, g.height)
	}
	if len(g.offsets) == 0 {
		return errors.New("no strips and no tiles")
	}
	return nil
}

// grid returns how many pieces lie side by side and below each other.
func (f *tiffFile) grid() (across, down int) {
	return (f.width + f.pieces.width - 1) / f.pieces.width, (f.height + f.pieces.height - 1) / f.pieces.height
}

// piece returns the compressed bytes of piece i.
func (f *tiffFile) piece(i int) ([]byte, error) {
	if i >= len(f.pieces.offsets) {
		return nil, errShort
	}
	from, size := f.pieces.offsets[i], int64(len(f.all))
	if from < 0 || from >= size {
		return nil, errShort
	}
	n := size - from
	if i < len(f.pieces.bytes) && f.pieces.bytes[i] > 0 {
		n = min(n, f.pieces.bytes[i])
	}
	return f.all[from : from+n], nil
}

func (d *Decoder) decodeTIFF(content []byte, dst *Image) (orientation int, err error) {
	f, err := parseTIFF(content)
	if err != nil {
		return 0, err
	}
	orientation = orientationIn(f.directory)
	if f.compression == tiffJPEG {
		return orientation, d.tiffFromJPEG(f, dst)
	}
	if f.photometric == tiffYCbCr {
		return orientation, d.tiffFromYCC(f, dst)
	}
	write, err := f.rows(d.options.Ground)
	if err != nil {
		return 0, err
	}
	samples, planes := f.samples, 1
	if f.planar {
		samples, planes = 1, f.samples
	}
	across, down := f.grid()
	stride := (f.pieces.width*samples*f.bits + 7) / 8
	line := (f.pieces.width*f.samples*f.bits + 7) / 8
	each := stride * f.pieces.height
	d.work = grown(d.work, planes*each+line)
	joined := d.work[planes*each:]
	for i := range across * down {
		left, top := i%across*f.pieces.width, i/across*f.pieces.height
		rows, columns := min(f.pieces.height, f.height-top), min(f.pieces.width, f.width-left)
		for p := range planes {
			packed, err := f.piece(i + p*across*down)
			if err != nil {
				return 0, err
			}
			if err := d.tiffPiece(f, d.work[p*each:][:rows*stride], packed, stride, samples); err != nil {
				return 0, err
			}
		}
		for y := range rows {
			row := d.work[y*stride:][:stride]
			if planes > 1 {
				row = f.join(joined, d.work[:planes*each], y*stride, each)
			}
			write(dst.row(top + y)[3*left:][:3*columns], row)
		}
	}
	return orientation, f.checkFloats()
}

// join lays the samples of a row side by side that come from planes of their own. Samples take
// whole bytes here.
func (f *tiffFile) join(dst, planes []byte, at, each int) []byte {
	size := f.bits / 8
	for p := range f.samples {
		src := planes[p*each+at:][:f.pieces.width*size]
		out := dst[p*size:]
		for len(src) >= size && len(out) >= size {
			copy(out[:size], src[:size])
			src, out = src[size:], out[min(f.samples*size, len(out)):]
		}
	}
	return dst
}
