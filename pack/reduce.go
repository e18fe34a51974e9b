package pack

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"

	"moco/data"
	"moco/picture"
)

// endings are what files of a format are called.
var endings = map[string]string{
	"jpeg": ".jpg", "png": ".png", "gif": ".gif", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "heic": ".heic", "heif": ".heif", "avif": ".avif",
}

// reducing is how pictures are read that are made smaller.
func (o *Options) reducing() data.Reading {
	r := o.Data.Whole()
	r.Side, r.Longest = o.Side, o.Longest
	return r
}

// make makes image i ready for a shard. A picture that need not be smaller keeps its file's bytes.
// Others are decoded, upright, and become JPEG if they are made smaller, else PNG, which loses
// nothing.
func (o *Options) make(i int) packed {
	p := packed{image: i}
	if p.err = p.describe(o.Data); p.err != nil {
		return p
	}
	stored, format, err := o.Data.Stored(i, nil)
	if err != nil {
		p.err = err
		return p
	}
	if format == "" {
		p.content, p.ending, p.err = o.drawn(i)
		return p
	}
	h, err := picture.ReadHeader(stored, picture.Options{})
	if err != nil {
		p.err = &data.BadImage{Name: o.Data.Name(i), Err: err}
		return p
	}
	if !o.smaller(h.Width, h.Height) {
		p.content, p.ending = stored, endings[format]
		return p
	}
	var img data.Image
	if p.err = o.Data.ReadOnce(i, o.reducing(), &img); p.err == nil {
		p.content, p.ending, p.err = o.asJPEG(&img)
	}
	return p
}

// drawn is a picture that is no file of its own, as a file.
func (o *Options) drawn(i int) (content []byte, ending string, err error) {
	var whole, small data.Image
	if err := o.Data.ReadOnce(i, o.Data.Whole(), &whole); err != nil {
		return nil, "", err
	}
	if o.smaller(whole.Width, whole.Height) {
		how := picture.Options{Side: o.Side, Longest: o.Longest}
		return o.asJPEG(new(picture.Resizer).Reduce(&small, &whole, how))
	}
	var b bytes.Buffer
	err = png.Encode(&b, rgba(&whole))
	return b.Bytes(), ".png", err
}

// smaller tells whether a picture of a size is made smaller.
func (o *Options) smaller(width, height int) bool {
	w, h := picture.Options{Side: o.Side, Longest: o.Longest}.Reduced(width, height)
	return w != width || h != height
}

func (o *Options) asJPEG(img *data.Image) (content []byte, ending string, err error) {
	var b bytes.Buffer
	err = jpeg.Encode(&b, rgba(img), &jpeg.Options{Quality: o.Quality})
	return b.Bytes(), ".jpg", err
}

// rgba copies a picture into the form that encoding is fast for.
func rgba(img *data.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, img.Width, img.Height))
	for i := range img.Width * img.Height {
		copy(out.Pix[4*i:], img.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out
}
