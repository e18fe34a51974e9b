package data

// Image is a decoded picture: 8-bit RGB, three bytes a pixel, row by row from the top, no padding.
type Image struct {
	Width, Height int
	Pix           []uint8 // 3*Width*Height bytes
}

// resize sets the size and makes Pix that long; its contents are then undefined.
func (m *Image) resize(width, height int) {
	n := 3 * width * height
	if cap(m.Pix) < n {
		m.Pix = make([]uint8, n)
	}
	m.Width, m.Height, m.Pix = width, height, m.Pix[:n]
}
