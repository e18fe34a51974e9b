package picture

import "slices"

// The tags of Y'CbCr (TIFF 6.0 section 21).
const (
	tagCoefficients   = 529
	tagSubsampling    = 530
	tagReferenceRange = 532
)

// yccTables turn the values of Y'CbCr into what is added up for RGB, as libtiff does: green is
// 16 bits finer than the rest.
type yccTables struct {
	y, redOfCr, blueOfCb, greenOfCb, greenOfCr [256]int32
}

// readYCC makes the tables from the coefficients of luma and the range that values are coded in.
func (f *tiffFile) readYCC() *yccTables {
	luma := f.ratios(tagCoefficients, []float32{0.299, 0.587, 0.114})
	span := f.ratios(tagReferenceRange, []float32{0, 255, 128, 255, 128, 255})
	// The conversion keeps processors from adding in one step with the product, with other bits.
	fixed := func(v float32) int32 { return int32(float32(min(max(v, 0), 2)*(1<<16)) + 0.5) }
	red, blue := 2-2*luma[0], 2-2*luma[2]
	greenOfCr, greenOfCb := fixed(luma[0]*red/luma[1]), fixed(luma[2]*blue/luma[1])
	value := func(code, black, white, top float32) int32 {
		if white == black {
			white = black + 1
		}
		return int32(min(max((code-black)*top/(white-black), -1<<14), 1<<14))
	}
	const half = 1 << 15
	t := &yccTables{}
	for i := range 256 {
		code := float32(i)
		cb := value(code-128, span[2]-128, span[3]-128, 127)
		cr := value(code-128, span[4]-128, span[5]-128, 127)
		t.y[i] = value(code, span[0], span[1], 255)
		t.redOfCr[i], t.blueOfCb[i] = (fixed(red)*cr+half)>>16, (fixed(blue)*cb+half)>>16
		t.greenOfCr[i], t.greenOfCb[i] = -greenOfCr*cr, -greenOfCb*cb+half
	}
	return t
}

// ratios returns a field of fractions, if it has as many as otherwise.
func (f *tiffFile) ratios(tag uint16, otherwise []float32) []float32 {
	const ratio = 5
	d := f.fields[tag]
	if d.kind != ratio || d.data == nil || d.count != uint64(len(otherwise)) {
		return otherwise
	}
	v := make([]float32, len(otherwise))
	for i := range v {
		over, under := f.order.Uint32(d.data[8*i:]), f.order.Uint32(d.data[8*i+4:])
		if under == 0 {
			return otherwise
		}
		v[i] = float32(over) / float32(under)
	}
	if len(v) == 3 && v[1] <= 0 {
		return otherwise
	}
	return v
}

// tiffFromYCC decodes Y'CbCr that is not compressed as JPEG. It comes in units: the luma of some
// pixels across and down, then one Cb and one Cr for all of them.
func (d *Decoder) tiffFromYCC(f *tiffFile, dst *Image) error {
	steps := f.ints(tagSubsampling)
	if len(steps) == 0 {
		steps = []int64{2, 2}
	}
	known := []int64{1, 2, 4}
	if len(steps) != 2 || !slices.Contains(known, steps[0]) || !slices.Contains(known, steps[1]) {
		return unsupportedTIFF("Y'CbCr of which %v pixels share a colour", steps)
	}
	if f.planar || f.bits != 8 || f.samples != 3 || f.predictor != 1 {
		return unsupportedTIFF("Y'CbCr in planes, of other than 3 samples of 8 bits, or with a predictor")
	}
	tables := f.readYCC()
	across, down := int(steps[0]), int(steps[1])
	unit := across*down + 2
	stride := ceil(f.pieces.width, across) * unit
	columns, rows := f.grid()
	for i := range columns * rows {
		left, top := i%columns*f.pieces.width, i/columns*f.pieces.height
		height, width := min(f.pieces.height, f.height-top), min(f.pieces.width, f.width-left)
		packed, err := f.piece(i)
		if err != nil {
			return err
		}
		d.work = grown(d.work, ceil(height, down)*stride)
		if err := d.tiffPiece(f, d.work, packed, stride, f.samples); err != nil {
			return err
		}
		for y := range height {
			out := dst.row(top + y)[3*left:]
			line := d.work[y/down*stride:]
			for x := range width {
				u := line[x/across*unit:][:unit]
				tables.pixel(out[3*x:3*x+3], u[y%down*across+x%across], u[unit-2], u[unit-1])
			}
		}
	}
	return nil
}

// pixel converts one pixel.
func (t *yccTables) pixel(dst []uint8, y, cb, cr uint8) {
	dst[0] = clamp(t.y[y] + t.redOfCr[cr])
	dst[1] = clamp(t.y[y] + (t.greenOfCb[cb]+t.greenOfCr[cr])>>16)
	dst[2] = clamp(t.y[y] + t.blueOfCb[cb])
}
