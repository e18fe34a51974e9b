package picture

import (
	"image"
	"image/color"
)

// fromImage writes a library's image to dst, which has its size. The layouts that decoders give
// have loops of their own, anything else goes through the color package pixel by pixel.
func (d *Decoder) fromImage(dst *Image, src image.Image, g Ground) {
	b := src.Bounds()
	rows := func(pix []uint8, stride, step int, lay func(dst, src []uint8)) {
		for y := range dst.Height {
			lay(dst.row(y), pix[y*stride:][:dst.Width*step])
		}
	}
	switch m := src.(type) {
	case *image.YCbCr:
		d.fromYCbCr(dst, m)
	case *image.Gray:
		rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, grayRow)
	case *image.NRGBA:
		rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, g.layRGBA)
	case *image.RGBA:
		rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, g.layMultiplied)
	case *image.Paletted:
		table := coloursOf(m.Palette).onto(g)
		rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, func(dst, src []uint8) { lookUp(dst, src, table) })
	case *image.CMYK:
		rows(m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, inkRow)
	default:
		throughModel(dst, src, g)
	}
}

// layMultiplied lays a row of r, g, b, a whose colours are multiplied with a.
func (g Ground) layMultiplied(dst, src []uint8) {
	for ; len(src) >= 4 && len(dst) >= 3; dst, src = dst[3:], src[4:] {
		if src[3] == 255 {
			dst[0], dst[1], dst[2] = src[0], src[1], src[2]
			continue
		}
		c := color.NRGBAModel.Convert(color.RGBA{src[0], src[1], src[2], src[3]}).(color.NRGBA)
		g.lay(dst, c.R, c.G, c.B, c.A)
	}
}

// coloursOf is a library's palette as a table. An index beyond it, which decoders let through, is
// black.
func coloursOf(p color.Palette) *colourTable {
	var t colourTable
	for i := range t {
		t[i][3] = 255
	}
	for i, c := range p[:min(len(p), 256)] {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		t[i] = [4]uint8{n.R, n.G, n.B, n.A}
	}
	return &t
}

// throughModel converts any image, taking the colours before they were multiplied with their alpha.
func throughModel(dst *Image, src image.Image, g Ground) {
	b, out := src.Bounds(), dst.Pix
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA)
			g.lay(out, c.R, c.G, c.B, c.A)
			out = out[3:]
		}
	}
}

// grayRow writes each value three times.
func grayRow(dst, src []uint8) {
	for _, v := range src {
		if len(dst) < 3 {
			return
		}
		dst[0], dst[1], dst[2] = v, v, v
		dst = dst[3:]
	}
}

// inkRow mixes ideal inks, c, m, y, k: a channel is (255-C)(255-K)/255, rounded.
func inkRow(dst, src []uint8) {
	for len(src) >= 4 && len(dst) >= 3 {
		white := 255 - uint32(src[3])
		for c := range 3 {
			dst[c] = uint8(((255-uint32(src[c]))*white + 127) / 255)
		}
		dst, src = dst[3:], src[4:]
	}
}

// fromYCbCr converts Y'CbCr to RGB as JFIF 1.02 does, in the full range of 8 bits. Chroma that is
// stored at half the width or height is interpolated linearly, a sample weighing 3/4 where it is
// nearest, as libjpeg does by default; that is what a network sees that was trained on images read
// by PIL.
func (d *Decoder) fromYCbCr(dst *Image, src *image.YCbCr) {
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
		jfifRow(dst.row(y), luma, cb, cr)
	}
}

// jfifRow converts a row of full-range Y'CbCr.
func jfifRow(out, luma, cb, cr []uint8) {
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

// chromaRow returns pixel row y of a chroma plane of cw x ch samples at full width, in out or in
// place. The roundings alternate, up and down, so that they do not shift the colour; they are
// libjpeg's.
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
