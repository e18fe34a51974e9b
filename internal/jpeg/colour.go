package jpeg

// The plain colour conversions and upsamplers. Those that kernels do too are their specification.

// yccRGB converts Y'CbCr to RGB as JFIF says, in 16-bit fixed point.
func yccRGB(dst, luma, cb, cr []byte, n int) {
	luma, cb, cr = luma[:n], cb[:n], cr[:n]
	for x, l := range luma {
		// 1.402, 0.34414, 0.71414 and 1.772, times 65536.
		y, u, v := int32(l)<<16+1<<15, int32(cb[x])-128, int32(cr[x])-128
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0] = clamp((y + 91881*v) >> 16)
		p[1] = clamp((y - 22554*u - 46802*v) >> 16)
		p[2] = clamp((y + 116130*u) >> 16)
	}
}

// clamp limits v to 0..255.
func clamp(v int32) uint8 {
	if uint32(v) > 255 {
		return uint8(^(v >> 31))
	}
	return uint8(v)
}

func fromGrey(dst, luma []byte) {
	for x, l := range luma {
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0], p[1], p[2] = l, l, l
	}
}

func interleave(dst, a, b, c []byte) {
	for x := range a {
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0], p[1], p[2] = a[x], b[x], c[x]
	}
}

// fromCMYK mixes inks that are stored as what they leave of the light, as Adobe stores them and
// Pillow reads all CMYK files.
func fromCMYK(dst, light, black []byte) {
	for x, k := range black {
		p, l := dst[3*x:3*x+3:3*x+3], light[3*x:3*x+3:3*x+3]
		for i := range 3 {
			t := int32(255-l[i])*int32(k) + 128
			p[i] = clamp(int32(k) - (t>>8+t)>>8)
		}
	}
}

// h2v1 doubles a row of n samples, which stand in src from 1 on, between their neighbours: a pixel
// takes 3/4 of the nearer sample and 1/4 of the other. The two roundings alternate, so that they do
// not shift the colour.
func h2v1(dst, src []byte, n int) {
	dst, src = dst[:2*n], src[:n+2]
	for x := range n {
		left, here, right := int32(src[x]), int32(src[x+1]), int32(src[x+2])
		dst[2*x], dst[2*x+1] = uint8((3*here+left+1)>>2), uint8((3*here+right+2)>>2)
	}
}

// h2v2 doubles a row that is first interpolated between the nearer row and the other one.
func h2v2(dst, near, far []byte, n int) {
	dst, near, far = dst[:2*n], near[:n+2], far[:n+2]
	left, here := int32(0), 3*int32(near[0])+int32(far[0])
	right := 3*int32(near[1]) + int32(far[1])
	for x := range n {
		left, here, right = here, right, 3*int32(near[x+2])+int32(far[x+2])
		dst[2*x], dst[2*x+1] = uint8((3*here+left+8)>>4), uint8((3*here+right+7)>>4)
	}
}

// h1v2 interpolates between two rows. Its rounding alternates with the parity of the row of pixels.
func h1v2(dst, near, far []byte, n, parity int) {
	dst, near, far = dst[:n], near[:n], far[:n]
	round := int32(1 + parity)
	for x := range dst {
		dst[x] = uint8((3*int32(near[x]) + int32(far[x]) + round) >> 2)
	}
}

func repeat(dst, src []byte, times int) {
	for _, v := range src {
		for i := range times {
			dst[i] = v
		}
		dst = dst[times:]
	}
}
