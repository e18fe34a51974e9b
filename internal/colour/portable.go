package colour

import "math"

var portable = path{"portable", blend, sumLuma, saturate, gray, turn, floats, mirrored}

// luma is PIL's conversion to "L": ITU-R 601-2 in 16-bit fixed point.
func luma(r, g, b uint8) uint8 {
	return uint8((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

// clip rounds towards zero and saturates, as PIL's blend does.
func clip(v float32) uint8 {
	if v <= 0 {
		return 0
	}
	if v >= 255 {
		return 255
	}
	return uint8(v)
}

// blend moves each value away from a level.
func blend(pix []uint8, factor, level float32) {
	var table [256]uint8
	for v := range table {
		table[v] = clip(level + float32(factor*(float32(v)-level)))
	}
	for i, v := range pix {
		pix[i] = table[v]
	}
}

// sumLuma adds up the lumas.
func sumLuma(pix []uint8) int {
	sum := 0
	for i := 0; i+2 < len(pix); i += 3 {
		sum += int(luma(pix[i], pix[i+1], pix[i+2]))
	}
	return sum
}

// saturate moves each value away from the pixel's luma.
func saturate(pix []uint8, factor float32) {
	var table [511]float32 // of the difference to gray
	for d := range table {
		table[d] = factor * float32(d-255)
	}
	for i := 0; i+2 < len(pix); i += 3 {
		r, g, b := pix[i], pix[i+1], pix[i+2]
		l := int(luma(r, g, b))
		base := float32(l)
		pix[i] = clip(base + table[255+int(r)-l])
		pix[i+1] = clip(base + table[255+int(g)-l])
		pix[i+2] = clip(base + table[255+int(b)-l])
	}
}

// gray sets all channels to the luma.
func gray(pix []uint8) {
	for i := 0; i+2 < len(pix); i += 3 {
		l := luma(pix[i], pix[i+1], pix[i+2])
		pix[i], pix[i+1], pix[i+2] = l, l, l
	}
}

// sectors holds, for each 8-bit hue, the sixth of the circle that it lies in and how far.
var sectors = func() (t [256]struct {
	sixth int
	rest  float32
}) {
	for h := range t {
		turn := float64(float32(h)) * 6 / 255
		t[h].sixth = int(math.Floor(turn))
		t[h].rest = float32(turn - float64(t[h].sixth))
	}
	return
}()

// turn adds shift to the hues.
func turn(pix []uint8, shift uint8) {
	for i := 0; i+2 < len(pix); i += 3 {
		r, g, b := pix[i], pix[i+1], pix[i+2]
		largest, smallest := max(r, g, b), min(r, g, b)
		if largest == smallest {
			continue // gray has no hue
		}
		span := float32(largest - smallest)
		h := hueOf(r, g, b, largest, span) + shift
		s := uint8(float64(span/float32(largest)) * 255)
		pix[i], pix[i+1], pix[i+2] = fromHSV(h, s, largest)
	}
}

// hueOf is the hue of a pixel that is not gray, of which the largest value and what the smallest is
// below it are known.
func hueOf(r, g, b, largest uint8, span float32) uint8 {
	var angle float32 // in sixths of the circle
	switch largest {
	case r:
		angle = float32(largest-b)/span - float32(largest-g)/span
	case g:
		angle = float32(2 + float64(float32(largest-r)/span) - float64(float32(largest-b)/span))
	default:
		angle = float32(4 + float64(float32(largest-g)/span) - float64(float32(largest-r)/span))
	}
	circle := float64(angle)/6 + 1
	if circle >= 1 {
		circle--
	}
	return uint8(float64(float32(circle)) * 255)
}

// fromHSV is the pixel of a hue, saturation and value.
func fromHSV(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	f, share, value := float64(sectors[h].rest), float64(float32(float64(s)/255)), float64(v)
	p := uint8(value*(1-share) + 0.5)
	q := uint8(value*(1-share*f) + 0.5)
	t := uint8(value*(1-share*(1-f)) + 0.5)
	switch sectors[h].sixth % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	default:
		return v, p, q
	}
}

func floats(dst []float32, pix []uint8, n *Normal) {
	for i := 0; i+2 < len(pix); i += 3 {
		dst[i], dst[i+1], dst[i+2] = n.table[0][pix[i]], n.table[1][pix[i+1]], n.table[2][pix[i+2]]
	}
}

func mirrored(dst []float32, row []uint8, n *Normal) {
	for i, j := 0, len(row)-3; j >= 0; i, j = i+3, j-3 {
		dst[i], dst[i+1], dst[i+2] = n.table[0][row[j]], n.table[1][row[j+1]], n.table[2][row[j+2]]
	}
}
