// Package augment makes views: random crops of an image, flipped, recoloured and blurred, as the
// MoCo papers draw them. Every operation gives the 8-bit values that torchvision gives on PIL
// images, rounding included, and works without allocating.
package augment

import (
	"fmt"
	"image"
	"maps"
	"math"
	"slices"
	"strings"

	"moco/data"
	"moco/internal/colour"
	"moco/internal/rng"
	"moco/picture"
)

// Policy says how a view is drawn. The order of the operations is the one in which the fields
// stand, but for GrayFirst.
type Policy struct {
	Name string
	Size int // pixels a side

	Plain              bool    // no randomness: the middle of the image, for evaluation
	Bicubic            bool    // the plain view is resized by the bicubic filter, not the bilinear one
	MinScale, MaxScale float64 // share of the image's area that a crop covers
	MinLabelled        float64 // MinScale of CropAndFlip
	MinRatio, MaxRatio float64 // width by height of a crop

	GrayFirst bool // grayscale before jitter, as v1 has it

	Jitter                                float64 // probability
	Brightness, Contrast, Saturation, Hue float64 // strengths: factors from 1-x to 1+x; hue turns by -x to x of the circle
	Gray                                  float64 // probability
	Blur                                  float64 // probability
	MinSigma, MaxSigma                    float64 // of the blur, in pixels
	Solarise                              float64 // probability
	Flip                                  float64 // probability

	Mean, Std [3]float32 // of each channel of the data, on a scale from 0 to 1

	// Second has what is different in the second view of an image; nil: nothing is.
	Second *Second
}

// Second is the probabilities of second views, where they are others than those of the first.
type Second struct{ Blur, Solarise float64 }

var (
	imagenetMean, imagenetStd = [3]float32{0.485, 0.456, 0.406}, [3]float32{0.229, 0.224, 0.225}
	cifarMean, cifarStd       = [3]float32{0.4914, 0.4822, 0.4465}, [3]float32{0.2023, 0.1994, 0.2010}
)

// Normalisation is what is taken from each channel of an image, on a scale from 0 to 1, and what
// the rest is divided by.
type Normalisation struct{ Mean, Std [3]float32 }

// normalisations are those that encoders are trained with: torchvision's for ImageNet, that of
// CIFAR-10, and -1 to 1 (timm's and Google's vision transformers).
var normalisations = map[string]Normalisation{
	"imagenet": {Mean: imagenetMean, Std: imagenetStd},
	"cifar":    {Mean: cifarMean, Std: cifarStd},
	"half":     {Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}},
}

// Normalisations are the names of normalisations, sorted.
func Normalisations() []string { return slices.Sorted(maps.Keys(normalisations)) }

// NormalisedBy returns the normalisation with the given name.
func NormalisedBy(name string) (Normalisation, error) {
	n, ok := normalisations[name]
	if !ok {
		return n, fmt.Errorf("views.normalise: %q is not known; there are %s", name, strings.Join(Normalisations(), ", "))
	}
	return n, nil
}

// policies are those of the authors' main_moco.py (v1, v2, and v3 with crops from 8% as for
// transformers; it has two kinds of views, as BYOL has) and of their CIFAR-10 demonstration, and one
// for the built-in set, whose pictures colour alone would tell apart. "flip" changes
// next to nothing: it is for positives that bring their own variation, as frames do.
var policies = []Policy{
	{
		Name: "v1", MinScale: 0.2, MinLabelled: 0.08, MaxScale: 1, MinRatio: 3.0 / 4, MaxRatio: 4.0 / 3,
		GrayFirst: true, Gray: 0.2, Jitter: 1, Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.4,
		Flip: 0.5, Mean: imagenetMean, Std: imagenetStd,
	},
	{
		Name: "v2", MinScale: 0.2, MinLabelled: 0.08, MaxScale: 1, MinRatio: 3.0 / 4, MaxRatio: 4.0 / 3,
		Jitter: 0.8, Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.1, Gray: 0.2,
		Blur: 0.5, MinSigma: 0.1, MaxSigma: 2, Flip: 0.5, Mean: imagenetMean, Std: imagenetStd,
	},
	{
		Name: "v3", MinScale: 0.08, MinLabelled: 0.08, MaxScale: 1, MinRatio: 3.0 / 4, MaxRatio: 4.0 / 3,
		Jitter: 0.8, Brightness: 0.4, Contrast: 0.4, Saturation: 0.2, Hue: 0.1, Gray: 0.2,
		Blur: 1, MinSigma: 0.1, MaxSigma: 2, Flip: 0.5, Mean: imagenetMean, Std: imagenetStd,
		Second: &Second{Blur: 0.1, Solarise: 0.2},
	},
	{
		Name: "cifar", MinScale: 0.08, MinLabelled: 0.08, MaxScale: 1, MinRatio: 3.0 / 4, MaxRatio: 4.0 / 3,
		Jitter: 0.8, Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.1, Gray: 0.2,
		Flip: 0.5, Mean: cifarMean, Std: cifarStd,
	},
	{
		Name: "shapes", MinScale: 0.4, MinLabelled: 0.4, MaxScale: 1, MinRatio: 3.0 / 4, MaxRatio: 4.0 / 3,
		Jitter: 1, Brightness: 0.6, Contrast: 0.6, Saturation: 0.6, Hue: 0.5, Gray: 0.8,
		Flip: 0.5, Mean: cifarMean, Std: cifarStd,
	},
	{
		Name: "flip", MinScale: 1, MinLabelled: 1, MaxScale: 1, MinRatio: 1, MaxRatio: 1,
		Flip: 0.5, Mean: cifarMean, Std: cifarStd,
	},
}

// Named returns the policy with the given name for views of size x size pixels.
func Named(name string, size int) (Policy, error) {
	var names []string
	for _, p := range policies {
		if p.Name == name {
			p.Size = size
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Policy{}, fmt.Errorf("views.policy: %q is not known; there are %s", name, strings.Join(names, ", "))
}

// ForEvaluation is the same policy without randomness: the shorter side is resized to 8/7 of Size
// (256 for 224) and the middle is cut out; an image of Size x Size stays as it is.
func (p Policy) ForEvaluation() Policy {
	p.Plain = true
	return p
}

// CropAndFlip is the same policy without changes of colour and blur: the kind of views that
// classifiers are trained on. With v1 and v2 crops go down to 8% of the image then, as in the
// authors' main_lincls.py, where their main_moco.py has 20%.
func (p Policy) CropAndFlip() Policy {
	p.Jitter, p.Gray, p.Blur, p.Solarise, p.Second = 0, 0, 0, 0, nil
	p.MinScale = p.MinLabelled
	return p
}

// ForSecond is the policy of the second view of each image.
func (p Policy) ForSecond() Policy {
	if p.Second != nil {
		p.Blur, p.Solarise, p.Second = p.Second.Blur, p.Second.Solarise, nil
	}
	return p
}

// Scratch is the memory that drawing a view needs. It serves one goroutine; its zero value is
// ready.
type Scratch struct {
	pixels []uint8
	resize picture.Resizer
	blur   blurrer
	normal colour.Normal
	of     [2][3]float32 // mean and deviation that normal is set for
}

// View draws a view of img into dst, Size*Size*3 floats, row by row, channels last: (value/255 -
// Mean) / Std.
func (p *Policy) View(dst []float32, img *data.Image, r *rng.Source, s *Scratch) {
	s.pixels = slices.Grow(s.pixels[:0], 3*p.Size*p.Size)[:3*p.Size*p.Size]
	flip := p.draw(s.pixels, img, r, s)
	if of := [2][3]float32{p.Mean, p.Std}; s.of != of {
		s.of = of
		s.normal.Set(p.Mean, p.Std)
	}
	if !flip {
		s.normal.Floats(dst, s.pixels)
		return
	}
	for row, end := 0, 3*p.Size; row < len(s.pixels); row, end = end, end+3*p.Size {
		s.normal.Mirrored(dst[row:end], s.pixels[row:end])
	}
}

// Bytes draws a view as 8-bit RGB into dst, Size*Size*3 bytes: what View normalises.
func (p *Policy) Bytes(dst []uint8, img *data.Image, r *rng.Source, s *Scratch) {
	if p.draw(dst, img, r, s) {
		mirror(dst, p.Size)
	}
}

func mirror(pix []uint8, width int) {
	for row := 0; row < len(pix); row += 3 * width {
		for i, j := row, row+3*(width-1); i < j; i, j = i+3, j-3 {
			for c := range 3 {
				pix[i+c], pix[j+c] = pix[j+c], pix[i+c]
			}
		}
	}
}

// draw makes everything but the flip, which it returns: the caller's last pass over the pixels does
// it for nothing.
func (p *Policy) draw(dst []uint8, img *data.Image, r *rng.Source, s *Scratch) (flip bool) {
	if p.Plain {
		p.middle(dst, img, s)
		return false
	}
	top, left, height, width := p.crop(img.Height, img.Width, r)
	p.resize(dst, img, image.Rect(left, top, left+width, top+height), s)
	if p.GrayFirst && r.Float64() < p.Gray {
		colour.Gray(dst)
	}
	if r.Float64() < p.Jitter {
		p.jitter(dst, r)
	}
	if !p.GrayFirst && r.Float64() < p.Gray {
		colour.Gray(dst)
	}
	if r.Float64() < p.Blur {
		s.blur.run(dst, p.Size, r.Uniform(p.MinSigma, p.MaxSigma))
	}
	// A policy that never solarises draws nothing for it, so that views stay what they were before
	// there was this operation.
	if p.Solarise > 0 && r.Float64() < p.Solarise {
		colour.Solarise(dst)
	}
	return r.Float64() < p.Flip
}

// crop is RandomResizedCrop.get_params.
func (p *Policy) crop(h, w int, r *rng.Source) (top, left, height, width int) {
	area := float64(h * w)
	for range 10 {
		target := area * r.Uniform(p.MinScale, p.MaxScale)
		ratio := math.Exp(r.Uniform(math.Log(p.MinRatio), math.Log(p.MaxRatio)))
		width, height = int(math.RoundToEven(math.Sqrt(target*ratio))), int(math.RoundToEven(math.Sqrt(target/ratio)))
		if width > 0 && width <= w && height > 0 && height <= h {
			return r.IntN(h - height + 1), r.IntN(w - width + 1), height, width
		}
	}
	height, width = h, w // the middle, as near to the allowed ratios as it goes
	switch ratio := float64(w) / float64(h); {
	case ratio < p.MinRatio:
		height = min(h, max(1, int(math.RoundToEven(float64(w)/p.MinRatio))))
	case ratio > p.MaxRatio:
		width = min(w, max(1, int(math.RoundToEven(float64(h)*p.MaxRatio))))
	}
	return (h - height) / 2, (w - width) / 2, height, width
}

// middle is the view for evaluation.
func (p *Policy) middle(dst []uint8, img *data.Image, s *Scratch) {
	if img.Width == p.Size && img.Height == p.Size {
		copy(dst, img.Pix)
		return
	}
	// Resizing the middle square of 7/8 of the shorter side is resizing the whole and cutting.
	side := max(1, int(math.Round(float64(min(img.Width, img.Height))*7/8)))
	if min(img.Width, img.Height) < p.Size {
		side = min(img.Width, img.Height)
	}
	left, top := (img.Width-side)/2, (img.Height-side)/2
	part := image.Rect(left, top, left+side, top+side)
	if p.Bicubic {
		s.resize.Bicubic(&data.Image{Width: p.Size, Height: p.Size, Pix: dst}, img, part)
		return
	}
	p.resize(dst, img, part, s)
}

// resize makes a view's pixels of a part of img.
func (p *Policy) resize(dst []uint8, img *data.Image, part image.Rectangle, s *Scratch) {
	s.resize.Resize(&data.Image{Width: p.Size, Height: p.Size, Pix: dst}, img, part)
}

// jitter is ColorJitter: four operations in a random order.
func (p *Policy) jitter(pix []uint8, r *rng.Source) {
	var order [4]int
	r.Perm(order[:])
	factor := func(x float64) float32 { return float32(r.Uniform(max(0, 1-x), 1+x)) }
	for _, op := range order {
		switch op {
		case 0:
			colour.Brighten(pix, factor(p.Brightness))
		case 1:
			colour.Contrast(pix, factor(p.Contrast))
		case 2:
			colour.Saturate(pix, factor(p.Saturation))
		case 3:
			hue(pix, r.Uniform(-p.Hue, p.Hue))
		}
	}
}

// hue turns the colours by a part of the circle, in PIL's 8-bit steps: towards zero, then modulo 256.
func hue(pix []uint8, turn float64) { colour.Turn(pix, uint8(int(turn*255))) }
