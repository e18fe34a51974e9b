package picture

import "fmt"

// Options tune decoding; the zero value is fine.
type Options struct {
	// MaxPixels refuses larger pictures by their header, before memory is taken. PNGs that are read
	// row by row, and are at most ten times as large, are averaged down instead, by the smallest
	// whole number that makes them fit. 0 means DefaultMaxPixels.
	MaxPixels int
	// Ground is what transparent pixels are laid on.
	Ground Ground
	// Side is the shorter side, in pixels, that larger pictures are reduced to, see [Reduced]. Others
	// keep their bits. 0 reduces none. A JPEG is decoded at the smallest of the scales 1/2, 1/4 and
	// 1/8 that leaves as much, which is faster, and reduced from there.
	Side int
	// Longest makes Side the longer side.
	Longest bool
}

func (o Options) maxPixels() int {
	if o.MaxPixels == 0 {
		return DefaultMaxPixels
	}
	return o.MaxPixels
}

// Header is what a picture's first bytes say.
type Header struct {
	Format        string
	Width, Height int // as stored, before the picture is turned upright
}

// reader is one format.
type reader struct {
	// size gives the stored size in pixels, without decoding.
	size func(content []byte) (width, height int, err error)
	// decode writes the stored pixels to dst, which has the size above, reduced by the decoder's
	// factor, unless the reader resizes it; it returns the orientation, 1 to 8.
	decode func(d *Decoder, content []byte, dst *Image) (orientation int, err error)
	// scales tells that decode gives dst its size and memory, and may halve the picture up to three
	// times where less is needed still.
	scales bool
}

// readerOf returns the reader of a format, by its name in Sniff.
func readerOf(format string) (r reader, ok bool) {
	switch format {
	case "jpeg":
		return reader{size: jpegSize, decode: (*Decoder).decodeJPEG, scales: true}, true
	case "png":
		return reader{size: pngSize, decode: (*Decoder).decodePNG}, true
	case "gif":
		return reader{size: gifSize, decode: (*Decoder).decodeGIF}, true
	case "webp":
		return reader{size: webpSize, decode: (*Decoder).decodeWebP}, true
	case "tiff":
		return reader{size: tiffSize, decode: (*Decoder).decodeTIFF}, true
	case "bmp":
		return reader{size: bmpSize, decode: (*Decoder).decodeBMP}, true
	case "heic", "heif", "avif":
		return boxedReader(format)
	}
	return reader{}, false
}

// Decoder decodes pictures one after another, reusing its memory. The zero value is ready. It is
// not safe for concurrent use.
type Decoder struct {
	options Options
	needed  int    // the shorter side below which a picture is not to be decoded smaller
	factor  int    // by which the picture is reduced
	stored  Image  // the picture before it is turned upright
	whole   Image  // the picture before it is reduced
	cb, cr  []byte // one row of chroma at full width
	work    []byte // a reader's own
	packed  []byte // compressed bytes that lay apart
	inflate inflater
	resize  Resizer
}

// Check returns nil if content, of which a file's first [SniffBytes] bytes do, begins like a
// picture that is read, else what it is instead.
func Check(content []byte) error {
	format, ok := Sniff(content)
	switch {
	case ok:
		return nil
	case format == "":
		return notPicture(content)
	}
	return &UnsupportedError{Format: format}
}

// ReadHeader returns format and size of an encoded picture, or why it is not acceptable.
func ReadHeader(content []byte, o Options) (h Header, err error) {
	defer recovered(&err)
	h.Format = sniff(content)
	if err := Check(content); err != nil {
		return h, err
	}
	r, _ := readerOf(h.Format)
	if h.Width, h.Height, err = r.size(content); err != nil {
		return h, damaged(h.Format, err)
	}
	if h.Width <= 0 || h.Height <= 0 {
		return h, &DamagedError{h.Format, fmt.Errorf("the header gives a size of %dx%d", h.Width, h.Height)}
	}
	limit := o.maxPixels()
	if h.Width > limit/h.Height && reduction(h, content, limit) == 0 {
		return h, &TooLargeError{Format: h.Format, Width: h.Width, Height: h.Height, MaxPixels: limit}
	}
	return h, nil
}

// Decode turns an encoded picture into upright RGB in dst, reusing dst.Pix where it is large
// enough. After an error dst is undefined.
func (d *Decoder) Decode(content []byte, o Options, dst *Image) (err error) {
	defer recovered(&err)
	h, err := ReadHeader(content, o)
	if err != nil {
		return err
	}
	d.options, d.factor = o, 1
	if limit := o.maxPixels(); h.Width > limit/h.Height {
		d.factor = reduction(h, content, limit)
	}
	whole := dst
	if w, height := o.Reduced(h.Width, h.Height); w != h.Width || height != h.Height {
		whole = &d.whole // the memory of large pictures stays here
	}
	d.needed = o.needed(h.Width, h.Height)
	width, height, err := d.upright(content, h, whole)
	if err != nil {
		return damaged(h.Format, err)
	}
	newWidth, newHeight := o.Reduced(width, height)
	if whole == dst {
		if newWidth == width && newHeight == height {
			return nil
		}
		d.whole, *dst = *dst, d.whole // the header gave another size
	}
	dst.Resize(newWidth, newHeight)
	d.resize.Resize(dst, &d.whole, d.whole.Bounds())
	return nil
}

// upright decodes a picture, turns it upright and returns its size: that of dst, but for a JPEG that
// is decoded at a smaller scale.
func (d *Decoder) upright(content []byte, h Header, dst *Image) (width, height int, err error) {
	d.stored.Resize(0, 0)
	r, _ := readerOf(h.Format)
	if !r.scales {
		dst.Resize(ceil(h.Width, d.factor), ceil(h.Height, d.factor))
	}
	orientation, err := r.decode(d, content, dst)
	if err != nil {
		return 0, 0, err
	}
	width, height = dst.Width, dst.Height
	if r.scales {
		width, height = h.Width, h.Height
	}
	if orientation != 1 {
		d.stored, *dst = *dst, d.stored
		turn(dst, &d.stored, orientation)
	}
	if orientation > 4 { // on its side
		width, height = height, width
	}
	return width, height, nil
}
