package jpeg

// space is what the components of a picture mean.
type space int

const (
	grey space = iota
	ycc
	rgb
	cmyk
	ycck
)

// colours finds the colour space, in libjpeg's order: JFIF, Adobe's marker, the components' names.
func (d *decoder) colours() space {
	comps := d.frame.comps
	switch {
	case len(comps) == 1:
		return grey
	case len(comps) == 4 && d.adobe && d.transform != 0:
		return ycck
	case len(comps) == 4:
		return cmyk
	case d.jfif:
		return ycc
	case d.adobe:
		if d.transform == 0 {
			return rgb
		}
		return ycc
	case comps[0].id == 'R' && comps[1].id == 'G' && comps[2].id == 'B':
		return rgb
	}
	return ycc
}

// renderer turns coefficients into pixels: planes of samples first, a row of MCUs at a time, then
// rows of pixels.
type renderer struct {
	img     *Image
	f       *frame
	space   space
	k       *kernels
	planes  []plane
	wait    int // pixel rows at the end of a row of MCUs that need samples of the next one
	emitted int // rows of the picture that are there
}

// plane holds the samples of two rows of MCUs, in turns: a row of samples of the earlier one is
// still there when the next one is interpolated.
type plane struct {
	c            *component
	samples      []byte
	top          []byte // the samples of this row of MCUs
	stride, rows int
	across, down int    // pixels that share a sample
	smooth       bool   // they are interpolated, not repeated
	wide         []byte // a row as wide as the picture
	quant        *block
	row          []byte // the samples of a row of pixels
}

// slack is how far kernels may read and write behind a row, and margin what lies before one.
const (
	slack  = 64
	margin = 32
)

func newRenderer(f *frame, colours space, k *kernels, pix []byte) *renderer {
	r := &renderer{f: f, space: colours, k: k, planes: make([]plane, len(f.comps))}
	need := 3 * f.outWidth * f.outHeight
	if cap(pix) < need {
		pix = make([]byte, need)
	}
	r.img = &Image{Width: f.outWidth, Height: f.outHeight, Scale: f.scale, Pix: pix[:need]}
	least := 8 / f.scale
	for i := range f.comps {
		c, p := &f.comps[i], &r.planes[i]
		p.c, p.quant = c, c.quantTable
		p.across, p.down = f.maxH*least/(c.h*c.size), f.maxV*least/(c.v*c.size)
		p.stride = margin + c.stride*c.size + slack
		p.rows = 2 * c.v * c.size
		p.samples = make([]byte, p.stride*p.rows)
		if p.across != 1 || p.down != 1 {
			p.wide = make([]byte, c.stride*c.size*p.across+slack)
		}
		// Narrow planes are repeated across, and so are all at 1/8: libjpeg does it so.
		p.smooth = least > 1 && p.down <= 2 && (p.across == 1 || p.across == 2 && c.width > 2)
		if p.smooth && p.down == 2 {
			r.wait = 1
		}
	}
	return r
}

// begin goes to row y of MCUs.
func (r *renderer) begin(y int) {
	for i := range r.planes {
		p := &r.planes[i]
		p.top = p.samples[margin+y%2*p.rows/2*p.stride:]
	}
}

// slot is where a block of an MCU goes.
type slot struct {
	component int // of the scan
	plane     *plane
	at, step  int // its place in plane.top in the first MCU of a row, and how much further it is in the next
}

// slots are the places of the blocks of a scan's MCU, in their order.
func (r *renderer) slots(s *scan) []slot {
	var slots []slot
	for i, c := range s.comps {
		p := &r.planes[s.index[i]]
		for y := range c.v {
			for x := range c.h {
				slots = append(slots, slot{component: i, plane: p, at: p.place(x, y), step: c.h * c.size})
			}
		}
	}
	return slots
}

// place is where a block begins in p.top, given its place in blocks.
func (p *plane) place(x, y int) int { return (y*p.stride + x) * p.c.size }

// put transforms a block to the samples at a place in p.top. No coefficient behind the place `last`
// in zigzag order may be other than 0.
func (r *renderer) put(p *plane, at int, b *block, last int) {
	size := p.c.size
	dst := p.top[at:]
	switch {
	case size == 1:
		dst[0] = dcReduced(b[0], p.quant[0])
	case last == 0 && size == 2:
		fillSquare(dst, p.stride, size, dcPair(b[0], p.quant[0]))
	case last == 0:
		fillSquare(dst, p.stride, size, dcSample(b[0], p.quant[0]))
	case size == 8:
		r.k.idct8(dst, p.stride, b, p.quant)
	case size == 4:
		r.k.idct4(dst, p.stride, b, p.quant)
	default:
		r.k.idct2(dst, p.stride, b, p.quant)
	}
}

// stored renders a picture whose coefficients are all there.
func (r *renderer) stored() {
	for i := range r.planes {
		if c := r.planes[i].c; c.quantTable == nil {
			r.planes[i].quant = new(block) // no scan named it: grey
		} else {
			r.planes[i].quant = c.quantTable
		}
	}
	smooth := r.f.smoothing()
	for y := range r.f.mcusHigh {
		r.begin(y)
		for i := range r.planes {
			p := &r.planes[i]
			if y == 0 && smooth {
				p.c.unite()
			}
			for by := y * p.c.v; by < min((y+1)*p.c.v, p.c.blocksHigh); by++ {
				if smooth {
					r.smoothed(p, by)
				} else {
					r.storedRow(p, by)
				}
			}
		}
		r.row(y)
	}
}

// storedRow renders a row of blocks.
func (r *renderer) storedRow(p *plane, y int) {
	c, only := p.c, new(block)
	for x := range c.blocksWide {
		at, last := y*c.stride+x, 63
		b := only
		if c.coefs != nil {
			b = &c.coefs[at]
		}
		if c.dc != nil {
			b[0] = c.dc[at]
			if c.known[at] == 0 {
				last = 0
			}
		}
		r.put(p, p.place(x, y%c.v), b, last)
	}
}

// unite puts DC in its place among the coefficients.
func (c *component) unite() {
	if c.dc == nil {
		return
	}
	if c.coefs == nil {
		c.coefs = make([]block, len(c.dc))
	}
	for i, v := range c.dc {
		c.coefs[i][0] = v
	}
	c.dc = nil
}

// row makes the pixels that the MCUs of row y, the latest, have made possible.
func (r *renderer) row(y int) {
	until := (y+1)*r.f.maxV*(8/r.f.scale) - r.wait
	if y == r.f.mcusHigh-1 {
		until = r.img.Height
	}
	width := r.img.Width
	for ; r.emitted < min(until, r.img.Height); r.emitted++ {
		for i := range r.planes {
			r.planes[i].find(r.emitted, r.k)
		}
		r.convert(r.img.Pix[3*width*r.emitted:][:3*width])
	}
}

// find sets p.row to the samples of a row of pixels.
func (p *plane) find(y int, k *kernels) {
	at, n := y/p.down, p.c.width
	near := p.at(at)
	far := near
	if p.smooth && p.down == 2 {
		far = p.at(max(0, min(at-1+y%2*2, p.c.height-1)))
	}
	if p.smooth && p.across == 2 {
		p.extend(near)
		p.extend(far)
	}
	p.row = p.wide
	switch {
	case p.smooth && p.across == 2 && p.down == 2:
		k.h2v2(p.wide, near[margin-1:], far[margin-1:], n)
	case p.smooth && p.across == 2:
		k.h2v1(p.wide, near[margin-1:], n)
	case p.smooth && p.down == 2:
		k.h1v2(p.wide, near[margin:], far[margin:], n, y%2)
	case p.across == 1:
		p.row = near[margin:]
	default:
		repeat(p.wide, near[margin:][:n], p.across)
	}
}

// at returns a row of samples, with what lies around it.
func (p *plane) at(row int) []byte { return p.samples[row%p.rows*p.stride:][:p.stride] }

// extend repeats the samples at the ends of a row.
func (p *plane) extend(row []byte) {
	row[margin-1], row[margin+p.c.width] = row[margin], row[margin+p.c.width-1]
}

// convert turns the found samples into a row of pixels.
func (r *renderer) convert(dst []byte) {
	n, p := len(dst)/3, r.planes
	switch r.space {
	case grey:
		fromGrey(dst, p[0].row[:n])
	case ycc:
		r.k.ycc(dst, p[0].row, p[1].row, p[2].row, n)
	case rgb:
		interleave(dst, p[0].row[:n], p[1].row[:n], p[2].row[:n])
	case ycck:
		r.k.ycc(dst, p[0].row, p[1].row, p[2].row, n)
		for i, v := range dst {
			dst[i] = 255 - v // Y'CbCr of the inks
		}
		fromCMYK(dst, dst, p[3].row[:n])
	case cmyk:
		interleave(dst, p[0].row[:n], p[1].row[:n], p[2].row[:n])
		fromCMYK(dst, dst, p[3].row[:n])
	}
}
