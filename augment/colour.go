package augment

import "math"

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

// apply replaces every value through a table.
func apply(pix []uint8, table *[256]uint8) {
	for i, v := range pix {
		pix[i] = table[v]
	}
}

// brightness blends with black.
func brightness(pix []uint8, factor float32) {
	var table [256]uint8
	for v := range table {
		table[v] = clip(float32(factor * float32(v)))
	}
	apply(pix, &table)
}

// contrast blends with the mean of the gray image.
func contrast(pix []uint8, factor float32) {
	var sum int
	for i := 0; i+2 < len(pix); i += 3 {
		sum += int(luma(pix[i], pix[i+1], pix[i+2]))
	}
	mean := int(float64(sum)/float64(len(pix)/3) + 0.5)
	var table [256]uint8
	for v := range table {
		table[v] = clip(float32(mean) + float32(factor*float32(v-mean)))
	}
	apply(pix, &table)
}

// saturation blends each pixel with its gray.
func saturation(pix []uint8, factor float32) {
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

// hue turns the colours by a part of the circle, through PIL's 8-bit HSV.
func hue(pix []uint8, turn float64) {
	shift := uint8(int(turn * 255)) // towards zero, then modulo 256
	for i := 0; i+2 < len(pix); i += 3 {
		r, g, b := pix[i], pix[i+1], pix[i+2]
		largest, smallest := max(r, g, b), min(r, g, b)
		if largest == smallest {
			continue // gray has no hue
		}
		span := float32(largest - smallest)
		var angle float32
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
			circle -= 1
		}
		h := uint8(float64(float32(circle))*255) + shift
		s := uint8(float64(span/float32(largest)) * 255)
		v := float64(largest)
		if s == 0 {
			pix[i], pix[i+1], pix[i+2] = largest, largest, largest
			continue
		}
		f, share := float64(sectors[h].rest), float64(float32(float64(s)/255))
		p := uint8(v*(1-share) + 0.5)
		q := uint8(v*(1-share*f) + 0.5)
		t := uint8(v*(1-share*(1-f)) + 0.5)
		switch sectors[h].sixth % 6 {
		case 0:
			pix[i], pix[i+1], pix[i+2] = largest, t, p
		case 1:
			pix[i], pix[i+1], pix[i+2] = q, largest, p
		case 2:
			pix[i], pix[i+1], pix[i+2] = p, largest, t
		case 3:
			pix[i], pix[i+1], pix[i+2] = p, q, largest
		case 4:
			pix[i], pix[i+1], pix[i+2] = t, p, largest
		default:
			pix[i], pix[i+1], pix[i+2] = largest, p, q
		}
	}
}
