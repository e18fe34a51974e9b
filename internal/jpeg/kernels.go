package jpeg

import "fmt"

//go:generate go -C _generate run . -out ../kernels_amd64.s -stubs ../stubs_amd64.go -pkg jpeg

// kernels is one implementation of the inner loops. All give the same bits; the plain functions of
// the same names are the specification. Rows of samples have `slack` bytes behind them, which may
// be read, and in rows that are written overwritten; a row of pixels has none.
type kernels struct {
	name  string
	idct8 func(dst []byte, stride int, b, quant *block)
	idct4 func(dst []byte, stride int, b, quant *block)
	idct2 func(dst []byte, stride int, b, quant *block)
	h2v1  func(dst, src []byte, n int)
	h2v2  func(dst, near, far []byte, n int)
	h1v2  func(dst, near, far []byte, n, parity int)
	ycc   func(dst, luma, cb, cr []byte, n int)

	coefficients func(r *bitReader, dc, ac *[1 << fastBits]step, b *scratch, k int) int
	refine       func(f *refinement, buf []byte, blocks []block, known []uint64) (slow bool)
}

// portable are the plain functions.
var portable = kernels{
	name:  "portable",
	idct8: idct8, idct4: idct4, idct2: idct2,
	h2v1: h2v1, h2v2: h2v2, h1v2: h1v2,
	ycc: yccRGB, coefficients: coefficients, refine: refineBlocks,
}

// Paths names the kernel paths that this machine runs, fastest first.
func Paths() []string {
	var names []string
	for _, k := range append(machineKernels(), &portable) {
		names = append(names, k.name)
	}
	return names
}

func kernelsFor(path string) (*kernels, error) {
	for _, k := range append(machineKernels(), &portable) {
		if path == "" || path == k.name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("jpeg: this machine does not run the kernel path %q", path)
}
