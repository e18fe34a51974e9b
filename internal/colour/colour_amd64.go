package colour

import "golang.org/x/sys/cpu"

// paths are the implementations that this machine runs, fastest first.
func paths() []path {
	if cpu.X86.HasAVX2 {
		return []path{{"avx2", blendWide, sumLumaWide, saturateWide, grayWide, turnWide}, portable}
	}
	return []path{portable}
}

// The kernels take values 32 at a time and pixels 8 at a time. The last ones are done in plain Go.
const manyValues, manyPixels = 32, 8

// mostSummed is how many pixels sumLumaAVX2 sums up at most in 32 bits: a multiple of manyPixels.
const mostSummed = 1 << 24

// whole is how many of the pixels the kernels take.
func whole(pix []uint8) int { return len(pix) / 3 &^ (manyPixels - 1) }

func blendWide(pix []uint8, factor, level float32) {
	n := len(pix) &^ (manyValues - 1)
	if n > 0 {
		blendAVX2(&pix[0], n, factor, level)
	}
	blend(pix[n:], factor, level)
}

func sumLumaWide(pix []uint8) int {
	sum := 0
	for n := min(whole(pix), mostSummed); n > 0; n = min(whole(pix), mostSummed) {
		sum += sumLumaAVX2(&pix[0], n)
		pix = pix[3*n:]
	}
	return sum + sumLuma(pix)
}

func saturateWide(pix []uint8, factor float32) {
	n := whole(pix)
	if n > 0 {
		saturateAVX2(&pix[0], n, factor)
	}
	saturate(pix[3*n:], factor)
}

func grayWide(pix []uint8) {
	n := whole(pix)
	if n > 0 {
		grayAVX2(&pix[0], n)
	}
	gray(pix[3*n:])
}

func turnWide(pix []uint8, shift uint8) {
	n := whole(pix)
	if n > 0 {
		turnAVX2(&pix[0], n, int(shift))
	}
	turn(pix[3*n:], shift)
}
