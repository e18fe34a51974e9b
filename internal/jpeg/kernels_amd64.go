package jpeg

import "golang.org/x/sys/cpu"

// avx2 are the kernels of kernels_amd64.s.
var avx2 = kernels{
	name:  "avx2",
	idct8: func(dst []byte, stride int, b, quant *block) { idct8AVX2(&dst[0], stride, &b[0], &quant[0]) },
	idct4: func(dst []byte, stride int, b, quant *block) { idct4AVX2(&dst[0], stride, &b[0], &quant[0]) },
	idct2: func(dst []byte, stride int, b, quant *block) { idct2AVX2(&dst[0], stride, &b[0], &quant[0]) },
	h2v1:  func(dst, src []byte, n int) { h2v1AVX2(&dst[0], &src[0], n) },
	h2v2:  func(dst, near, far []byte, n int) { h2v2AVX2(&dst[0], &near[0], &far[0], n) },
	h1v2:  func(dst, near, far []byte, n, parity int) { h1v2AVX2(&dst[0], &near[0], &far[0], n, 1+parity) },
	ycc:   yccWide,
	coefficients: func(r *bitReader, dc, ac *[1 << fastBits]step, b *scratch, k int) int {
		return coefficientsBMI2(&r.acc, (*uint64)(&dc[0]), (*uint64)(&ac[0]), &b[0], k)
	},
	refine: func(f *refinement, buf []byte, blocks []block, known []uint64) bool {
		return refineBMI2(&f.acc, &buf[0], &blocks[f.x][0], &known[f.x], len(known)-int(f.x))
	},
}

// machineKernels returns the assembly that this processor runs, fastest first.
func machineKernels() []*kernels {
	if cpu.X86.HasAVX2 && cpu.X86.HasBMI1 && cpu.X86.HasBMI2 {
		return []*kernels{&avx2}
	}
	return nil
}

// yccWide converts 32 pixels at a time. The last ones are converted aside, so that nothing is
// written behind the row.
func yccWide(dst, luma, cb, cr []byte, n int) {
	whole := n &^ 31
	if whole > 0 {
		yccAVX2(&dst[0], &luma[0], &cb[0], &cr[0], whole)
	}
	if whole < n {
		var rest [96]byte
		yccAVX2(&rest[0], &luma[whole], &cb[whole], &cr[whole], 32)
		copy(dst[3*whole:3*n], rest[:])
	}
}
