package colour

// Normal makes floats of pixels: (value/255 - mean) / std, with a mean and a standard deviation for
// each channel. Set comes first.
type Normal struct {
	table [3][256]float32
	scale [3][3 * 16]float32 // what kernels compute with: means, deviations and their inverses for 16 pixels
	exact bool               // the kernels get all of the table right
}

// Set sets the means and the standard deviations.
func (n *Normal) Set(mean, std [3]float32) {
	for c := range n.table {
		for v := range n.table[c] {
			n.table[c][v] = (float32(v)/255 - mean[c]) / std[c]
		}
	}
	for i := range n.scale[0] {
		n.scale[0][i], n.scale[1][i], n.scale[2][i] = mean[i%3], std[i%3], 1/std[i%3]
	}
	n.exact = true
	n.exact = n.right()
}

// right tells whether the kernels make every value's float.
func (n *Normal) right() bool {
	var pix [3 * 256]uint8
	var got, want [len(pix)]float32
	for i := range pix {
		pix[i] = uint8(i / 3)
	}
	fastest.floats(got[:], pix[:], n)
	portable.floats(want[:], pix[:], n)
	return got == want
}

// Floats writes the floats of pixels, as many as pix has values.
func (n *Normal) Floats(dst []float32, pix []uint8) { fastest.floats(dst[:len(pix)], pix, n) }

// Mirrored is Floats with the pixels from the last to the first.
func (n *Normal) Mirrored(dst []float32, row []uint8) { fastest.mirrored(dst[:len(row)], row, n) }
