// Package kernel holds the inner loops of the CPU engine, in float32; some also read and write
// bfloat16.
//
// Every routine has a plain twin in Go (portable.go). The twin is the routine's specification, and
// it runs where there is no assembly. The program in _generate writes the assembly (kernel_amd64.s,
// kernel_arm64.s). It is a module of its own, so that users of this module never download it. A
// Path is one instruction set's version of everything.
//
// The address of an operand never changes a result: the same values give the same bits anywhere.
// Assembly cannot be interrupted, so a caller must cut its work into calls of less than about 100
// microseconds.
package kernel

import "unsafe"

//go:generate go -C _generate run . -out ../kernel_amd64.s -stubs ../stubs_amd64.go -pkg kernel
//go:generate go -C _generate run ./arm64 -out ../kernel_arm64.s -stubs ../stubs_arm64.go

// Values is a run of floats in memory: float32, or bfloat16, which is the upper half of a float32.
type Values struct {
	p    unsafe.Pointer
	n    int
	bf16 bool
}

// Float32s is a slice as Values.
func Float32s(x []float32) Values { return Values{unsafe.Pointer(unsafe.SliceData(x)), len(x), false} }

// BFloat16s is a slice of bfloat16 as Values.
func BFloat16s(x []uint16) Values { return Values{unsafe.Pointer(unsafe.SliceData(x)), len(x), true} }

// Path is one implementation of every routine.
//
// Channels (ch) is the number of channels of a row, and the distance between rows. It must be a
// multiple of 16. Where arguments have Columns and it is not 0, the operands start at one channel of
// the first row, and the routine works on so many channels of each row; 0 is all. Slices must be as
// long as the first one. The output may overwrite an input, if
// both start at the same place. The Values of one call are all float32 or all bfloat16; arithmetic
// is float32 in both cases.
type Path struct {
	Name  string
	Tiles []Tile // largest Block first
	// Pairs are tiles of bfloat16, of the same blocks. The list is empty where widening to float32
	// first is faster.
	Pairs []Tile
	// Short and ShortPairs are Tiles and Pairs of half the rows, of some of their blocks: for what is
	// left over by matrices of few rows. The lists are empty where tiles are low as they are.
	Short, ShortPairs []Tile
	Grads             []Grad // largest Block first, then most Rows
	// PairGrads are Grads of bfloat16. X and DY then hold several pixels in place of single ones. A
	// path has PairGrads if it has Pairs.
	PairGrads []Grad
	// PairDepth is how many values of a column lie side by side in the right operands of Pairs and
	// PairGrads (B and DY): 2, or 4 where the processor multiplies matrices. Sums go over a multiple
	// of so many values.
	PairDepth int
	Winograd
	Attention

	// Sums adds the rows of x to sum: sum[c] += x[r][c]. A shorter sum is of some columns only, from
	// where x starts.
	Sums func(x Values, ch int, sum []float32)
	// Squares adds the squares around a mean: square[c] += (x[r][c] - mean[c])^2.
	Squares func(x Values, ch int, mean, square []float32)
	// Normalise, GradSums and GradInput: see NormaliseArgs, GradSumsArgs and GradInputArgs.
	Normalise func(NormaliseArgs)
	GradSums  func(GradSumsArgs)
	GradInput func(GradInputArgs)

	// GELU, GELUGrad, LayerNorm, LayerNormGrad and Adam: see their arguments.
	GELU          func(GELUArgs)
	GELUGrad      func(GELUGradArgs)
	LayerNorm     func(LayerNormArgs)
	LayerNormGrad func(LayerNormGradArgs)
	Adam          func(AdamArgs)

	// ReLU is y = max(x, 0).
	ReLU func(y, x []float32)
	// ReLUGrad is dx = dy where y > 0, else 0.
	ReLUGrad func(dx, dy, y Values)
	// Widen converts bfloat16 to float32.
	Widen func(dst []float32, src []uint16)
	// Narrow rounds to the nearest bfloat16, ties to even.
	Narrow func(dst []uint16, src []float32)
	// Pair rounds rows of weights, of `block` values each, to bfloat16, and lays them as a right
	// operand of Pairs: it interleaves each PairDepth rows value by value. Their number must be a
	// multiple of that.
	Pair func(dst []uint16, rows []float32, block int)
	// Gather lays rows side by side, as float32: dst[i*pitch+j] = src[offsets[i]+j] for j < width, or
	// 0 where the offset is negative. The width must be a multiple of 16, and there must be at least
	// one offset.
	Gather func(dst []float32, pitch int, src Values, offsets []int32, width int)
	// GatherPairs lays rows of bfloat16 in pairs: the 4 bytes at dst[i*pitch+j] are
	// src[offsets[2*i]+j] and src[offsets[2*i+1]+j], still bfloat16.
	GatherPairs func(dst []float32, pitch int, src Values, offsets []int32, width int)
	// GatherRight lays rows of bfloat16 as a right operand of Pairs and PairGrads. It is GatherPairs
	// if PairDepth is 2. If it is 4, the 8 bytes at dst[2*i*pitch+2*j] are the values j of the four
	// rows from offsets[4*i] on.
	GatherRight func(dst []float32, pitch int, src Values, offsets []int32, width int)
	// TransposeRight is Transpose of rows of pairs, each 4 bytes, to a right operand of Pairs. It is
	// Transpose if PairDepth is 2. If it is 4, two neighbouring pairs stay neighbours: pair c of row r
	// goes to dst[(c-c%2)*dstStride+2*r+c%2].
	TransposeRight func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int)
	// Larger is y = max(y, x), or NaN if either is NaN.
	Larger func(y, x []float32)
	// Claim gives each gradient to the first x that reaches the maximum best: where x >= best or
	// either is NaN, dx += g and then g = 0.
	Claim func(dx, g, x, best []float32)
	// WeightedSum is y = a*x0 + b*x1 + c*x2; x2, or x1 and x2, may be nil.
	WeightedSum func(y []float32, a float32, x0 []float32, b float32, x1 []float32, c float32, x2 []float32)
	// Scale is y = s*x.
	Scale func(y, x []float32, s float32)
	// Transpose is dst[c*dstStride+r] = src[r*srcStride+c] for r < rows and c < cols.
	Transpose func(dst []float32, dstStride int, src []float32, srcStride int, rows, cols int)
	// RowMax is the largest value of x, or NaN if x has one. x must not be empty.
	RowMax func(x []float32) float32
	// ExpSum is dst = exp(scale*x + shift), and returns the sum of dst. An exponent below -87
	// counts as minus infinity, one above 88 as 88. NaN gives NaN.
	ExpSum func(dst, x []float32, scale, shift float32) float32
	// Dot is the sum of a*b.
	Dot func(a, b []float32) float32
	// PeakFLOPs does as many multiply-adds as it can, in registers, and returns the number of
	// floating-point operations done.
	PeakFLOPs func(loops int) float64
}

// Affine is a batch norm as one function of x for each channel c: (x-Mean[c])*Scale[c] + Shift[c].
// The mean is subtracted first. Folded into Shift, a mean far from zero would cost digits.
type Affine struct{ Mean, Scale, Shift []float32 }

// NormaliseArgs are the operands of Normalise: y = affine(x), plus the residual unless that is
// empty, then max(., 0) if ReLU is set.
type NormaliseArgs struct {
	Y, X, Residual Values
	Channels       int
	Columns        int // see Path
	Affine         Affine
	ReLU           bool
}

// GradSumsArgs are the operands of GradSums, which adds up sum[c] += g and dot[c] += g*(x-mean[c]).
// g is dy. If Affine.Scale is given, g is dy where affine(x) is positive, and 0 elsewhere.
type GradSumsArgs struct {
	DY, X    Values
	Channels int
	Affine   Affine
	Sum, Dot []float32
}

// GradInputArgs are the operands of GradInput: dx = a[c]*g + (b[c]*(x-mean[c]) + c[c]), with g as
// in GradSums.
type GradInputArgs struct {
	DX, DY, X Values
	Channels  int
	Affine    Affine
	A, B, C   []float32
}

// GELUArgs are the operands of GELU: y = v * Phi(v) with v = x + bias[c], where Phi is the normal
// distribution's cumulative function.
type GELUArgs struct {
	Y, X              Values
	Channels, Columns int
	Bias              []float32 // of the first column on; never empty
}

// GELUGradArgs are the operands of GELUGrad: dx = dy * (Phi(x) + x*phi(x)), where phi is the normal
// distribution's density.
type GELUGradArgs struct {
	DX, DY, X         Values
	Channels, Columns int
}

// LayerNormArgs are the operands of LayerNorm: each row is y = n*gamma + beta with n = (x - mean) /
// sqrt(variance + Epsilon), over the first Width channels of the row. The others are zero in x, and
// in y.
type LayerNormArgs struct {
	Y, X            Values
	Channels, Width int
	Gamma, Beta     []float32
	Epsilon         float32
}

// LayerNormGradArgs are the operands of LayerNormGrad, which takes the gradient of a LayerNorm to
// its input, plus Other unless that is empty, and adds those of its factors up over the rows:
// DGamma += dy*n, DBeta += dy.
type LayerNormGradArgs struct {
	DX, DY, X, Other     Values
	Channels, Width      int
	Gamma, DGamma, DBeta []float32
	Epsilon              float32
}

// AdamArgs are the operands of Adam, a step of AdamW:
//
//	NewM = KeepM*M + AddM*G
//	NewV = KeepV*V + AddV*G*G
//	NewP = KeepP*P - Rate*NewM / (sqrt(NewV)*Scale + Epsilon)
type AdamArgs struct {
	NewP, NewM, NewV, P, M, V, G []float32
	AdamFactors
}

// AdamFactors are in the order in which assembly reads them.
type AdamFactors struct{ KeepM, AddM, KeepV, AddV, Rate, Scale, Epsilon, KeepP float32 }

// Tile is a matrix-product tile of Rows pixels times Block output channels: the inner loop of every
// convolution and matrix product.
type Tile struct {
	Rows, Block int
	Run         func(a *TileArgs)
}

// TileArgs says where a run of tiles finds its operands. Tile i, row r, output j is
//
//	s = sum over taps t, then k < 4*K, of
//	    X[In[i*Rows+r] + Taps[2t] + 4k] * B[Taps[2t+1] + 4*(k*Block + j)]
//	Y[Out[i*Rows+r] + 4j] = s, or s + the old value if Acc is not 0
//
// with all offsets in bytes. In tiles of Pairs, X and B hold bfloat16, and each 4 bytes of them are
// a pair: the tile adds the product of the first values and the product of the second values. Pairs
// of B lie so if Path.PairDepth is 2; if it is 4, those of rows k and k+1, for even k, take turns
// (see Path.GatherRight). If BF16 is not 0, Y is bfloat16, and its offsets count in bytes of
// bfloat16. Assembly adds each product of float32 by one fused multiply-add. To fill up a tile, a
// row may be named several times. All rows are read before any is written, so Acc adds to such a
// row once.
type TileArgs struct {
	X        unsafe.Pointer
	In, Out  *int32
	Tiles    int64 // at least 1, like NTaps and K
	Taps     *int64
	NTaps, K int64
	B, Y     unsafe.Pointer
	Acc      int64
	BF16     int64
}

// Grad is a weight-gradient tile: Rows input channels times Block output channels, summed over
// pixels.
type Grad struct {
	Rows, Block int
	Run         func(a *GradArgs)
}

// GradArgs says where a run of weight-gradient tiles finds its operands. Tile i, row r, output j is
//
//	s = sum over n < N of X[Pixels[2n] + 4*(i*Rows+r)] * DY[Pixels[2n+1] + 4j]
//	DW[(i*Rows+r)*RowStride + 4j] = s, or s + the old value if Acc is not 0
//
// In PairGrads, an entry of Pixels is a pair of pixels. If Path.PairDepth is 4, N is even, and DY
// has two entries side by side, where the first one says: 8 bytes for each output.
type GradArgs struct {
	X         unsafe.Pointer
	Pixels    *int32
	N         int64 // at least 1, like Tiles
	DY, DW    unsafe.Pointer
	RowStride int64
	Acc       int64
	Tiles     int64
}

// Winograd holds the transforms of the convolution F(4x4, 3x3) (Lavin and Gray, CVPR 2016) with the
// points 0, 1, -1, 2, -2 and infinity. They turn a 3x3 convolution into 36 matrix products, one for
// each place of the 6x6 transforms, with a quarter of the multiplications.
type Winograd struct {
	// Input transforms 6x6 inputs, which overlap by two; Output transforms 6x6 sums to 4x4 outputs;
	// Weights transforms 3x3 weights to 6x6.
	Input, Output, Weights func(*Transform)
	// OutputGrad and WeightsGrad are the transposes of Output (4x4 to 6x6) and Weights (6x6 to
	// 3x3).
	OutputGrad, WeightsGrad func(*Transform)
}

// Transform says where a transform finds its operands. Group g < N is 16 neighbouring floats at
// each place of a square. Place (i, j) is read at Src + i*SrcRow + j*SrcCol + g*SrcStep. The result
// is written likewise at Dst. All distances are in bytes.
type Transform struct {
	Src, Dst                unsafe.Pointer
	SrcRow, SrcCol, SrcStep int64
	DstRow, DstCol, DstStep int64
	N                       int64 // at least 1
}

// AllPaths names all paths, on any machine. Tests go through this list, so that they report a path
// that they could not try.
func AllPaths() []string {
	return []string{"avx512bf16", "avx512", "avx2", "neonbf16", "neon", "portable"}
}

// Paths returns the paths that this machine runs, fastest first. The last one is always the
// portable one.
func Paths() []*Path { return append(machinePaths(), portable()) }
