package pack

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"
	"math"

	"golang.org/x/image/draw"

	"moco/data"
	"moco/picture"
)

// endings are what files of a format are called.
var endings = map[string]string{
	"jpeg": ".jpg", "png": ".png", "gif": ".gif", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "heic": ".heic", "heif": ".heif", "avif": ".avif",
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
	if format != "" {
		h, err := picture.ReadHeader(stored, picture.Options{})
		if err != nil {
			p.err = &data.BadImage{Name: o.Data.Name(i), Err: err}
			return p
		}
		if w, ht := o.reduced(h.Width, h.Height); w == h.Width && ht == h.Height {
			p.content, p.ending = stored, endings[format]
			return p
		}
	}
	var img data.Image
	if p.err = o.Data.Read(i, &img); p.err != nil {
		return p
	}
	p.content, p.ending, p.err = o.encode(&img)
	return p
}

// encode makes a picture smaller and writes it as a file.
func (o *Options) encode(img *data.Image) (content []byte, ending string, err error) {
	var b bytes.Buffer
	w, h := o.reduced(img.Width, img.Height)
	if w == img.Width && h == img.Height {
		err := png.Encode(&b, rgba(img))
		return b.Bytes(), ".png", err
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	whole := rgba(img)
	draw.CatmullRom.Scale(small, small.Rect, whole, whole.Rect, draw.Src, nil)
	err = jpeg.Encode(&b, small, &jpeg.Options{Quality: o.Quality})
	return b.Bytes(), ".jpg", err
}

// reduced is the size that a picture gets; never a larger one.
func (o *Options) reduced(width, height int) (w, h int) {
	side := min(width, height)
	if o.Longest {
		side = max(width, height)
	}
	if o.Side == 0 || side <= o.Side {
		return width, height
	}
	scale := float64(o.Side) / float64(side)
	return max(1, int(math.Round(float64(width)*scale))), max(1, int(math.Round(float64(height)*scale)))
}

// rgba copies a picture into the form that resizing and encoding are fast for.
func rgba(img *data.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, img.Width, img.Height))
	for i := range img.Width * img.Height {
		copy(out.Pix[4*i:], img.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out
}
