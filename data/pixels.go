package data

import (
	"image"
	"image/color"
)

// toRGB converts a decoded image to 8-bit RGB. Transparency is dropped, not composited; 16-bit samples keep
// their high byte. The layouts that the decoders give have loops of their own, anything else goes through
// the color package pixel by pixel.
func (d *desk) toRGB(dst *Image, src image.Image, format string) {
	b := src.Bounds()
	w, h := b.Dx(), b.Dy()
	dst.resize(w, h)
	// spread writes rows of samples that lie step bytes apart, of which the first three (or one, thrice) count.
	spread := func(pix []uint8, stride, step, r, g, b int) {
		out := dst.Pix
		for y := range h {
			row := pix[y*stride:][:w*step]
			for len(row) >= step && len(out) >= 3 {
				out[0], out[1], out[2] = row[r], row[g], row[b]
				row, out = row[step:], out[3:]
			}
		}
	}
	switch m := src.(type) {
	case *image.YCbCr:
		d.fromYCbCr(dst, m, format == "webp")
	case *image.NYCbCrA:
		d.fromYCbCr(dst, &m.YCbCr, format == "webp")
	case *image.Gray:
		spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, 0, 0, 0)
	case *image.Gray16:
		spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 2, 0, 0, 0)
	case *image.NRGBA:
		spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 0, 1, 2)
	case *image.NRGBA64:
		spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 0, 2, 4)
	case *image.RGBA:
		if m.Opaque() {
			spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 0, 1, 2)
		} else {
			throughModel(dst, src)
		}
	case *image.RGBA64:
		if m.Opaque() {
			spread(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 0, 2, 4)
		} else {
			throughModel(dst, src)
		}
	case *image.Paletted:
		fromPalette(dst, m)
	case *image.CMYK:
		fromCMYK(dst, m)
	default:
		throughModel(dst, src)
	}
}

// throughModel converts any image, taking the colours before they were multiplied with their alpha.
func throughModel(dst *Image, src image.Image) {
	b, out := src.Bounds(), dst.Pix
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA)
			out[0], out[1], out[2] = c.R, c.G, c.B
			out = out[3:]
		}
	}
}

// fromPalette looks the colours up. An index beyond the palette, which the decoders let through, is black.
func fromPalette(dst *Image, src *image.Paletted) {
	var table [256][3]uint8
	for i, c := range src.Palette {
		n, ok := c.(color.NRGBA)
		if !ok {
			n = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		table[i&0xff] = [3]uint8{n.R, n.G, n.B}
	}
	out := dst.Pix
	for y := range dst.Height {
		for _, i := range src.Pix[y*src.Stride:][:dst.Width] {
			copy(out[:3], table[i][:])
			out = out[3:]
		}
	}
}

// fromCMYK mixes ideal inks: a channel is (255-C)(255-K)/255, rounded.
func fromCMYK(dst *Image, src *image.CMYK) {
	out := dst.Pix
	for y := range dst.Height {
		row := src.Pix[y*src.Stride:][:4*dst.Width]
		for len(row) >= 4 {
			white := 255 - uint32(row[3])
			for c := range 3 {
				out[c] = uint8(((255-uint32(row[c]))*white + 127) / 255)
			}
			row, out = row[4:], out[3:]
		}
	}
}

// fromYCbCr converts Y'CbCr to RGB: as JFIF 1.02 does, in the full range of 8 bits, or in the video range of
// ITU-R BT.601 (luma 16 to 235), which WebP uses. Chroma that is stored at half the width or height is
// interpolated linearly, a sample weighing 3/4 where it is nearest, as libjpeg and libwebp do by default;
// that is what a network sees that was trained on images read by PIL.
func (d *desk) fromYCbCr(dst *Image, src *image.YCbCr, video bool) {
	w, h := dst.Width, dst.Height
	hstep, vstep := subsampling(src.SubsampleRatio)
	cw, ch := (w+hstep-1)/hstep, (h+vstep-1)/vstep
	if need := cw * hstep; len(d.cb) < need {
		d.cb, d.cr = make([]uint8, need), make([]uint8, need)
	}
	for y := range h {
		luma := src.Y[y*src.YStride:][:w]
		cb := chromaRow(d.cb, src.Cb, src.CStride, cw, ch, hstep, vstep, y)[:w]
		cr := chromaRow(d.cr, src.Cr, src.CStride, cw, ch, hstep, vstep, y)[:w]
		out := dst.Pix[3*y*w:][:3*w]
		if video {
			for x, l := range luma {
				// 1.164, 1.596, 0.391, 0.813 and 2.018 in 14 bits; the constants take off 16 and 128 and round.
				yy, u, v := 19077*int32(l), int32(cb[x]), int32(cr[x])
				out[3*x] = clamp((yy + 26149*v - 3643904) >> 14)
				out[3*x+1] = clamp((yy - 6419*u - 13320*v + 2229248) >> 14)
				out[3*x+2] = clamp((yy + 33050*u - 4527360) >> 14)
			}
			continue
		}
		cb, cr = cb[:len(luma)], cr[:len(luma)]
		for x, l := range luma {
			// 1.402, 0.344136, 0.714136 and 1.772 in 16 bits.
			yy, u, v := int32(l)<<16+1<<15, int32(cb[x])-128, int32(cr[x])-128
			pixel := out[:3:len(out)]
			pixel[0] = clamp((yy + 91881*v) >> 16)
			pixel[1] = clamp((yy - 22554*u - 46802*v) >> 16)
			pixel[2] = clamp((yy + 116130*u) >> 16)
			out = out[3:]
		}
	}
}

// clamp limits v to 0..255. Few values lie outside, so the branch costs less than max and min do.
func clamp(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31))
	}
	return uint8(v)
}

// subsampling returns how many pixels share a chroma sample across and down.
func subsampling(r image.YCbCrSubsampleRatio) (across, down int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// chromaRow returns pixel row y of a chroma plane of cw x ch samples at full width, in out or in place. The
// roundings alternate, up and down, so that they do not shift the colour; they are libjpeg's.
func chromaRow(out, plane []uint8, stride, cw, ch, hstep, vstep, y int) []uint8 {
	row := plane[y/vstep*stride:][:cw]
	near := row // the other row that y lies between
	if vstep == 2 {
		if other := y/2 - 1 + y%2*2; other >= 0 && other < ch {
			near = plane[other*stride:][:cw]
		}
	}
	out = out[:cw*hstep]
	switch {
	case hstep == 1 && vstep == 1:
		return row
	case hstep == 1:
		for i, c := range row {
			out[i] = uint8((3*uint32(c) + uint32(near[i]) + 1 + uint32(y&1)) >> 2)
		}
	case hstep == 2 && vstep == 1 && cw > 2: // libjpeg repeats samples in narrower images
		left, here := uint32(row[0]), uint32(row[0])
		for i, c := range row[1:] {
			right := uint32(c)
			out[2*i], out[2*i+1] = uint8((3*here+left+1)>>2), uint8((3*here+right+2)>>2)
			left, here = here, right
		}
		out[2*cw-2], out[2*cw-1] = uint8((3*here+left+1)>>2), uint8(here)
	case hstep == 2 && cw > 2: // the same of sums down two rows, which weigh 3 and 1
		here := 3*uint32(row[0]) + uint32(near[0])
		left := here
		for i, c := range row[1:] {
			right := 3*uint32(c) + uint32(near[i+1])
			out[2*i], out[2*i+1] = uint8((3*here+left+8)>>4), uint8((3*here+right+7)>>4)
			left, here = here, right
		}
		out[2*cw-2], out[2*cw-1] = uint8((3*here+left+8)>>4), uint8((4*here+7)>>4)
	default:
		for i := range out {
			out[i] = row[i/hstep]
		}
	}
	return out
}
