package data

// Image is a decoded picture: 8-bit RGB, three bytes a pixel, row by row from the top, no padding.
type Image struct {
	Width, Height int
	Pix           []uint8 // 3*Width*Height bytes
}
