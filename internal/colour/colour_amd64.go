package colour

import "golang.org/x/sys/cpu"

// kernels are the routines of one instruction set. They take pixels, and with blend values, in whole
// registers; the last ones are left to the next path.
type kernels struct {
	pixels int // at once
	values int // at once, with blend
	next   path

	blend    func(pix *byte, n int, factor, level float32)
	sumLuma  func(pix *byte, n int) int
	saturate func(pix *byte, n int, factor float32)
	gray     func(pix *byte, n int)
	turn     func(pix *byte, n, shift int)
	floats   func(dst *float32, pix *byte, n int, by *float32)
	mirrored func(dst *float32, pix *byte, n int, by *float32)
}

var avx2 = kernels{
	pixels: 8, values: 32, next: portable,
	blend: blendAVX2, sumLuma: sumLumaAVX2, saturate: saturateAVX2, gray: grayAVX2, turn: turnAVX2,
	floats: floatsAVX2, mirrored: mirroredAVX2,
}

var avx512 = kernels{
	pixels: 16, values: 64, next: avx2.path("avx2"),
	blend: blendAVX512, sumLuma: sumLumaAVX512, saturate: saturateAVX512, gray: grayAVX512, turn: turnAVX512,
	floats: floatsAVX512, mirrored: mirroredAVX512,
}

// paths are the implementations that this machine runs, fastest first.
func paths() []path {
	var list []path
	if x86 := cpu.X86; x86.HasAVX512F && x86.HasAVX512DQ && x86.HasAVX512BW && x86.HasAVX512VL && x86.HasFMA {
		list = append(list, avx512.path("avx512"))
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append(list, avx2.path("avx2"))
	}
	return append(list, portable)
}

func (k *kernels) path(name string) path {
	return path{name: name, blend: k.blendPixels, sumLuma: k.sumPixels, saturate: k.saturatePixels, gray: k.grayPixels,
		turn: k.turnPixels, floats: k.pixelFloats, mirrored: k.mirroredFloats}
}

// mostSummed is how many pixels sumLuma sums up at most in 32 bits.
const mostSummed = 1 << 24

// whole is how many of the pixels the kernels take.
func (k *kernels) whole(pix []uint8) int { return len(pix) / 3 / k.pixels * k.pixels }

func (k *kernels) blendPixels(pix []uint8, factor, level float32) {
	n := len(pix) / k.values * k.values
	if n > 0 {
		k.blend(&pix[0], n, factor, level)
	}
	if n < len(pix) {
		k.next.blend(pix[n:], factor, level)
	}
}

func (k *kernels) sumPixels(pix []uint8) int {
	sum := 0
	for n := min(k.whole(pix), mostSummed); n > 0; n = min(k.whole(pix), mostSummed) {
		sum += k.sumLuma(&pix[0], n)
		pix = pix[3*n:]
	}
	return sum + k.next.sumLuma(pix)
}

func (k *kernels) saturatePixels(pix []uint8, factor float32) {
	n := k.whole(pix)
	if n > 0 {
		k.saturate(&pix[0], n, factor)
	}
	if 3*n < len(pix) {
		k.next.saturate(pix[3*n:], factor)
	}
}

func (k *kernels) grayPixels(pix []uint8) {
	n := k.whole(pix)
	if n > 0 {
		k.gray(&pix[0], n)
	}
	k.next.gray(pix[3*n:])
}

func (k *kernels) turnPixels(pix []uint8, shift uint8) {
	n := k.whole(pix)
	if n > 0 {
		k.turn(&pix[0], n, int(shift))
	}
	k.next.turn(pix[3*n:], shift)
}

func (k *kernels) pixelFloats(dst []float32, pix []uint8, by *Normal) {
	if !by.exact {
		floats(dst, pix, by)
		return
	}
	n := k.whole(pix)
	if n > 0 {
		_ = dst[3*n-1]
		k.floats(&dst[0], &pix[0], n, &by.scale[0][0])
	}
	k.next.floats(dst[3*n:], pix[3*n:], by)
}

func (k *kernels) mirroredFloats(dst []float32, row []uint8, by *Normal) {
	if !by.exact {
		mirrored(dst, row, by)
		return
	}
	n := k.whole(row)
	if n > 0 {
		_ = dst[3*n-1]
		k.mirrored(&dst[0], &row[len(row)-3*k.pixels], n, &by.scale[0][0])
	}
	k.next.mirrored(dst[3*n:], row[:len(row)-3*n], by)
}
