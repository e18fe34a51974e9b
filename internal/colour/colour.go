// Package colour changes the colours of 8-bit RGB pixels, three bytes each, as PIL does. Every
// kernel path gives the same bits; portable.go says what they are.
package colour

//go:generate go -C _generate run . -out ../colour_amd64.s -stubs ../stubs_amd64.go -pkg colour

// path is one implementation of the operations.
type path struct {
	name     string
	blend    func(pix []uint8, factor, level float32)
	sumLuma  func(pix []uint8) int
	saturate func(pix []uint8, factor float32)
	gray     func(pix []uint8)
	turn     func(pix []uint8, shift uint8)
	floats   func(dst []float32, pix []uint8, n *Normal)
	mirrored func(dst []float32, row []uint8, n *Normal)
}

// fastest is the first of the paths that this machine runs.
var fastest = paths()[0]

// Brighten blends with black: each value becomes factor times itself, rounded towards zero.
func Brighten(pix []uint8, factor float32) { fastest.blend(pix, factor, 0) }

// Contrast blends with the mean of the gray picture, rounded to the nearest.
func Contrast(pix []uint8, factor float32) {
	mean := int(float64(fastest.sumLuma(pix))/float64(len(pix)/3) + 0.5)
	fastest.blend(pix, factor, float32(mean))
}

// Saturate blends each pixel with its gray.
func Saturate(pix []uint8, factor float32) { fastest.saturate(pix, factor) }

// Gray sets all channels to the luma.
func Gray(pix []uint8) { fastest.gray(pix) }

// Turn adds shift to the hue of each pixel, modulo 256, through PIL's 8-bit HSV.
func Turn(pix []uint8, shift uint8) { fastest.turn(pix, shift) }

// Solarise inverts the values from 128 on, as PIL's solarize does by default.
func Solarise(pix []uint8) {
	for i, v := range pix {
		pix[i] = v ^ uint8(int8(v)>>7) // 255-v where the highest bit is set
	}
}
