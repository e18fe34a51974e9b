package graph

import (
	"errors"
	"fmt"

	"moco/tensor"
)

// Op is the kind of a node. The methods below build one node each; their comments are the definition of the
// kind, with N images, H x W pixels, C channels in, O channels out, S splits of the batch.
type Op uint8

// The node kinds.
const (
	Input Op = iota + 1
	Variable
	Fill
	Detach
	WeightedSum
	Conv
	ConvGradInput
	ConvGradWeight
	BatchMean
	BatchVariance
	Normalise
	ChannelSum
	ChannelDot
	BatchNormGradInput
	SplitSum
	ReLU
	ReLUGrad
	MaxPool
	MaxPoolGrad
	AveragePool
	AveragePoolGrad
	MatMul
	BiasAdd
	L2Normalise
	L2NormaliseGrad
	RowDot
	RowSum
	ScaleRows
	InfoNCE
	InfoNCEGrad
	ContrastAccuracy
	GatherRows
	WriteRows
	Advance
	Rows
	RowsGrad
	Concat
	ReplaceRows
	GatherDot
	GatherDotGrad
	CrossEntropy
	CrossEntropyGrad
	LabelAccuracy
	NCE
	NCEGrad
	Partition
	TrustRatio
)

// kind is what the graph knows of a node kind: its name and the rule for its type and shape.
type kind struct {
	name  string
	shape func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error)
}

// kinds has one line for each node kind. The gradients stand in gradient.go, the costs in cost.go.
var kinds = [...]kind{
	Input:              {"Input", nil},
	Variable:           {"Variable", nil},
	Fill:               {"Fill", func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) { return floats() }},
	Detach:             {"Detach", sameAs(0)},
	WeightedSum:        {"WeightedSum", weightedSumShape},
	Conv:               {"Conv", convShape},
	ConvGradInput:      {"ConvGradInput", convGradInputShape},
	ConvGradWeight:     {"ConvGradWeight", convGradWeightShape},
	BatchMean:          {"BatchMean", splitShape},
	BatchVariance:      {"BatchVariance", splitShape},
	Normalise:          {"Normalise", normaliseShape},
	ChannelSum:         {"ChannelSum", splitShape},
	ChannelDot:         {"ChannelDot", channelDotShape},
	BatchNormGradInput: {"BatchNormGradInput", batchNormGradShape},
	SplitSum:           {"SplitSum", splitSumShape},
	ReLU:               {"ReLU", sameAs(1)},
	ReLUGrad:           {"ReLUGrad", sameAs(2)},
	MaxPool:            {"MaxPool", maxPoolShape},
	MaxPoolGrad:        {"MaxPoolGrad", maxPoolGradShape},
	AveragePool:        {"AveragePool", averagePoolShape},
	AveragePoolGrad:    {"AveragePoolGrad", averagePoolGradShape},
	MatMul:             {"MatMul", matMulShape},
	BiasAdd:            {"BiasAdd", biasAddShape},
	L2Normalise:        {"L2Normalise", matrixShape(1)},
	L2NormaliseGrad:    {"L2NormaliseGrad", matrixShape(2)},
	RowDot:             {"RowDot", rowsOf(2)},
	RowSum:             {"RowSum", rowsOf(1)},
	ScaleRows:          {"ScaleRows", scaleRowsShape},
	InfoNCE:            {"InfoNCE", contrastShape(func(in []*Node) tensor.Shape { return nil }, 0)},
	InfoNCEGrad:        {"InfoNCEGrad", contrastShape(func(in []*Node) tensor.Shape { return in[2].Shape }, 1)},
	ContrastAccuracy:   {"ContrastAccuracy", contrastShape(func(in []*Node) tensor.Shape { return nil }, 0)},
	GatherRows:         {"GatherRows", gatherRowsShape},
	WriteRows:          {"WriteRows", writeRowsShape},
	Advance:            {"Advance", advanceShape},
	Rows:               {"Rows", sliceShape},
	RowsGrad:           {"RowsGrad", rowsGradShape},
	Concat:             {"Concat", concatShape},
	ReplaceRows:        {"ReplaceRows", replaceRowsShape},
	GatherDot:          {"GatherDot", gatherDotShape},
	GatherDotGrad:      {"GatherDotGrad", gatherDotGradShape},
	CrossEntropy:       {"CrossEntropy", labelShape(0, func(tensor.Shape) tensor.Shape { return nil })},
	CrossEntropyGrad:   {"CrossEntropyGrad", labelShape(1, func(logits tensor.Shape) tensor.Shape { return logits })},
	LabelAccuracy:      {"LabelAccuracy", labelShape(0, func(tensor.Shape) tensor.Shape { return nil })},
	NCE:                {"NCE", nceShape(0, func(tensor.Shape) tensor.Shape { return nil })},
	NCEGrad:            {"NCEGrad", nceShape(1, func(s tensor.Shape) tensor.Shape { return s })},
	Partition:          {"Partition", nceShape(0, func(tensor.Shape) tensor.Shape { return tensor.Shape{1} })},
	TrustRatio:         {"TrustRatio", trustRatioShape},
}

// String is the kind's name.
func (o Op) String() string {
	if int(o) < len(kinds) && kinds[o].name != "" {
		return kinds[o].name
	}
	return fmt.Sprintf("graph.Op(%d)", uint8(o))
}

// Fill is a scalar constant.
func (g *Graph) Fill(value float64) *Node { return g.add(Fill, Attr{Value: value}) }

// Detach is x, through which no gradient flows.
func (g *Graph) Detach(x *Node) *Node { return g.add(Detach, Attr{}, x) }

// Term is one summand of a WeightedSum: Coefficient * Scalar * X. Scalar may be nil, for 1.
type Term struct {
	Coefficient float64
	Scalar      *Node
	X           *Node
}

// WeightedSum adds up to three values of one shape: y = ((c0*s0*x0) + c1*s1*x1) + c2*s2*x2.
func (g *Graph) WeightedSum(terms ...Term) *Node {
	var a Attr
	var in []*Node
	for _, t := range terms {
		in = append(in, t.X)
	}
	for _, t := range terms {
		a.Coefficients = append(a.Coefficients, t.Coefficient)
		if t.Scalar == nil {
			a.Scalars = append(a.Scalars, -1)
			continue
		}
		a.Scalars = append(a.Scalars, len(in))
		in = append(in, t.Scalar)
	}
	return g.add(WeightedSum, a, in...)
}

// Add is x + y.
func (g *Graph) Add(x, y *Node) *Node {
	return g.WeightedSum(Term{Coefficient: 1, X: x}, Term{Coefficient: 1, X: y})
}

// Conv is the 2-D cross-correlation of x [N,H,W,C] with weights w [O,C,k,k], zero-padded by pad on every side:
// y[n,i,j,o] = sum over c,u,v of x[n, i*stride-pad+u, j*stride-pad+v, c] * w[o,c,u,v].
func (g *Graph) Conv(x, w *Node, stride, pad int) *Node {
	return g.add(Conv, Attr{Stride: stride, Pad: pad}, x, w)
}

// ConvGradInput is the gradient of Conv with regard to x, whose H and W are given, since a stride forgets them.
func (g *Graph) ConvGradInput(dy, w *Node, stride, pad, height, width int) *Node {
	return g.add(ConvGradInput, Attr{Stride: stride, Pad: pad, Height: height, Width: width}, dy, w)
}

// ConvGradWeight is the gradient of Conv with regard to w of k x k taps.
func (g *Graph) ConvGradWeight(dy, x *Node, kernel, stride, pad int) *Node {
	return g.add(ConvGradWeight, Attr{Kernel: kernel, Stride: stride, Pad: pad}, dy, x)
}

// BatchMean is the mean of each channel over each of `splits` equal, consecutive parts of the batch:
// x [N,H,W,C] -> [S,C].
func (g *Graph) BatchMean(x *Node, splits int) *Node {
	return g.add(BatchMean, Attr{Splits: splits}, x)
}

// BatchVariance is the biased variance that goes with BatchMean: x [N,H,W,C] -> [S,C].
func (g *Graph) BatchVariance(x *Node, splits int) *Node {
	return g.add(BatchVariance, Attr{Splits: splits}, x)
}

// Normalise is batch norm with given statistics, mean and variance [S,C] (one row for each split of the batch) or [C]:
// y = gamma * (x-mean)/sqrt(variance+epsilon) + beta (Ioffe and Szegedy 2015).
func (g *Graph) Normalise(x, mean, variance, gamma, beta *Node, epsilon float64) *Node {
	return g.add(Normalise, Attr{Epsilon: epsilon}, x, mean, variance, gamma, beta)
}

// ChannelSum sums each channel over each split: x [N,..,C] -> [S,C].
func (g *Graph) ChannelSum(x *Node, splits int) *Node {
	return g.add(ChannelSum, Attr{Splits: splits}, x)
}

// ChannelDot sums dy * (x-mean)/sqrt(variance+epsilon) over each channel and split: [N,H,W,C] -> [S,C].
func (g *Graph) ChannelDot(dy, x, mean, variance *Node, epsilon float64) *Node {
	return g.add(ChannelDot, Attr{Epsilon: epsilon}, dy, x, mean, variance)
}

// BatchNormGradInput is the gradient of Normalise with regard to x when the statistics are x's own, given
// sum = ChannelSum(dy), dot = ChannelDot(dy, x), and n pixels a split:
// dx = gamma/sqrt(variance+epsilon) * (dy - sum/n - (x-mean)/sqrt(variance+epsilon) * dot/n).
func (g *Graph) BatchNormGradInput(dy, x, mean, variance, gamma, sum, dot *Node, epsilon float64) *Node {
	return g.add(BatchNormGradInput, Attr{Epsilon: epsilon}, dy, x, mean, variance, gamma, sum, dot)
}

// SplitSum adds up the splits: [S,C] -> [C].
func (g *Graph) SplitSum(x *Node) *Node { return g.add(SplitSum, Attr{}, x) }

// ReLU is max(x, 0).
func (g *Graph) ReLU(x *Node) *Node { return g.add(ReLU, Attr{}, x) }

// ReLUGrad is dy where y = ReLU(x) is positive, else 0.
func (g *Graph) ReLUGrad(dy, y *Node) *Node { return g.add(ReLUGrad, Attr{}, dy, y) }

// MaxPool is the maximum over each k x k window; what lies outside of x is minus infinity.
func (g *Graph) MaxPool(x *Node, kernel, stride, pad int) *Node {
	return g.add(MaxPool, Attr{Kernel: kernel, Stride: stride, Pad: pad}, x)
}

// MaxPoolGrad gives each dy to the first largest value of its window, row by row.
func (g *Graph) MaxPoolGrad(dy, x *Node, kernel, stride, pad int) *Node {
	return g.add(MaxPoolGrad, Attr{Kernel: kernel, Stride: stride, Pad: pad}, dy, x)
}

// AveragePool is the mean over all pixels: [N,H,W,C] -> [N,C].
func (g *Graph) AveragePool(x *Node) *Node { return g.add(AveragePool, Attr{}, x) }

// AveragePoolGrad spreads dy [N,C] over the pixels: [N,H,W,C], each dy/(H*W).
func (g *Graph) AveragePoolGrad(dy *Node, height, width int) *Node {
	return g.add(AveragePoolGrad, Attr{Height: height, Width: width}, dy)
}

// MatMul is op(a) op(b), where op transposes if asked: [N,M] x [M,K] -> [N,K].
func (g *Graph) MatMul(a, b *Node, transposeA, transposeB bool) *Node {
	return g.add(MatMul, Attr{TransposeA: transposeA, TransposeB: transposeB}, a, b)
}

// BiasAdd adds b [C] to each row of x [N,C].
func (g *Graph) BiasAdd(x, b *Node) *Node { return g.add(BiasAdd, Attr{}, x, b) }

// L2Normalise divides each row by its Euclidean norm, or by 1e-12 where that is larger (as PyTorch's F.normalize).
func (g *Graph) L2Normalise(x *Node) *Node { return g.add(L2Normalise, Attr{}, x) }

// L2NormaliseGrad is the gradient of y = L2Normalise(x): (dy - y*(y.dy)) / norm(x), row by row.
func (g *Graph) L2NormaliseGrad(dy, x *Node) *Node { return g.add(L2NormaliseGrad, Attr{}, dy, x) }

// RowDot is the dot product of each row of a with its row of b: [N,C], [N,C] -> [N].
func (g *Graph) RowDot(a, b *Node) *Node { return g.add(RowDot, Attr{}, a, b) }

// RowSum sums each row: [N,C] -> [N].
func (g *Graph) RowSum(x *Node) *Node { return g.add(RowSum, Attr{}, x) }

// ScaleRows multiplies each row of x [N,C] by its value of s [N].
func (g *Graph) ScaleRows(x, s *Node) *Node { return g.add(ScaleRows, Attr{}, x, s) }

// Contrast is what a query is matched against. IDs are optional (both or neither): a negative whose id equals
// the query's own is no negative and is left out.
type Contrast struct {
	Positive    *Node   // [N] similarity to the positive key
	Negatives   *Node   // [N,K] similarity to the negatives
	QueryIDs    *Node   // [N] int32, or nil
	KeyIDs      *Node   // [K] int32, or nil
	Temperature float64 // t
}

func (c Contrast) operands(before ...*Node) []*Node {
	in := append(before, c.Positive, c.Negatives)
	if c.QueryIDs != nil || c.KeyIDs != nil {
		in = append(in, c.QueryIDs, c.KeyIDs)
	}
	return in
}

// InfoNCE is the mean over the batch of -log(exp(p/t) / (exp(p/t) + sum_i exp(n_i/t))), a scalar (He et al. 2020, Eq. 1).
func (g *Graph) InfoNCE(c Contrast) *Node {
	return g.add(InfoNCE, Attr{Temperature: c.Temperature}, c.operands()...)
}

// InfoNCEGrad is the gradient of InfoNCE with regard to the negatives, times the scalar dy:
// dy * softmax_i / (t*N), [N,K]. The gradient with regard to the positive is minus the sum of a row.
func (g *Graph) InfoNCEGrad(dy *Node, c Contrast) *Node {
	return g.add(InfoNCEGrad, Attr{Temperature: c.Temperature}, c.operands(dy)...)
}

// ContrastAccuracy is the share of queries whose positive is at least as similar as every negative, a scalar.
func (g *Graph) ContrastAccuracy(c Contrast) *Node {
	return g.add(ContrastAccuracy, Attr{Temperature: c.Temperature}, c.operands()...)
}

// GatherRows is y[i] = x[index[i]] along the first axis; index is int32 [N].
func (g *Graph) GatherRows(x, index *Node) *Node { return g.add(GatherRows, Attr{}, x, index) }

// WriteRows is x [K,..] with rows [N,..] written from row at[0] on, wrapping to row 0 behind the last, one after
// the other: where N > K the later rows win. at is int32 [1].
func (g *Graph) WriteRows(x, rows, at *Node) *Node { return g.add(WriteRows, Attr{}, x, rows, at) }

// Advance is (at + by) mod modulo on int32 [1].
func (g *Graph) Advance(at *Node, by, modulo int) *Node {
	return g.add(Advance, Attr{By: by, Modulo: modulo}, at)
}

// Rows is rows from..from+count-1 of x, along the first axis.
func (g *Graph) Rows(x *Node, from, count int) *Node {
	return g.add(Rows, Attr{From: from, Count: count}, x)
}

// RowsGrad is the gradient of Rows with regard to an x of `total` rows: zero but for dy at rows from.. .
func (g *Graph) RowsGrad(dy *Node, from, total int) *Node {
	return g.add(RowsGrad, Attr{From: from, Count: total}, dy)
}

// Concat is the rows of a above those of b: [N,C], [M,C] -> [N+M,C]; or one int32 vector behind another.
func (g *Graph) Concat(a, b *Node) *Node { return g.add(Concat, Attr{}, a, b) }

// ReplaceRows is x [K,C] with row index[i] replaced by rows[i], one after the other; index is int32 [N].
func (g *Graph) ReplaceRows(x, rows, index *Node) *Node {
	return g.add(ReplaceRows, Attr{}, x, rows, index)
}

// GatherDot is the dot product of each row of x with rows of its own choice: y[n,m] = x[n].bank[index[n*M+m]]; x [N,C], bank [K,C],
// index int32 [N*M] -> [N,M]. It is GatherRows and a product, without the N*M rows between them.
func (g *Graph) GatherDot(x, bank, index *Node) *Node {
	return g.add(GatherDot, Attr{}, x, bank, index)
}

// GatherDotGrad is the gradient of GatherDot with regard to x: dx[n] = sum over m of dy[n,m]*bank[index[n*M+m]].
func (g *Graph) GatherDotGrad(dy, bank, index *Node) *Node {
	return g.add(GatherDotGrad, Attr{}, dy, bank, index)
}

// CrossEntropy is the mean over the batch of -log softmax(logits)[label], a scalar; logits [N,C], labels int32 [N].
func (g *Graph) CrossEntropy(logits, labels *Node) *Node {
	return g.add(CrossEntropy, Attr{}, logits, labels)
}

// CrossEntropyGrad is the gradient of CrossEntropy with regard to the logits, times the scalar dy: dy * (softmax - one-hot)/N.
func (g *Graph) CrossEntropyGrad(dy, logits, labels *Node) *Node {
	return g.add(CrossEntropyGrad, Attr{}, dy, logits, labels)
}

// LabelAccuracy is the share of rows whose label has the largest logit, a scalar.
func (g *Graph) LabelAccuracy(logits, labels *Node) *Node {
	return g.add(LabelAccuracy, Attr{}, logits, labels)
}

// Estimate is what noise-contrastive estimation works on (Wu et al. 2018, Sec. 3.2): similarities [N,1+M], the positive in column 0 and M
// draws of noise behind it, out of Population keys drawn uniformly. P(i|v) = exp(similarity/Temperature)/Z.
type Estimate struct {
	Similarities *Node
	Z            *Node // one value, the normalising constant; see Partition
	Temperature  float64
	Population   int
}

func (e Estimate) attr() Attr { return Attr{Temperature: e.Temperature, Value: float64(e.Population)} }

// NCE is the loss of telling the positive from noise (Wu et al. 2018, Eq. 6 and 7), a scalar: with h(P) = P/(P + M/Population),
// -(1/N) * sum over n of [ log h(P_0) + sum over m of log(1 - h(P_m)) ]. Z is taken for a constant.
func (g *Graph) NCE(e Estimate) *Node { return g.add(NCE, e.attr(), e.Similarities, e.Z) }

// NCEGrad is the gradient of NCE with regard to the similarities, times the scalar dy.
func (g *Graph) NCEGrad(dy *Node, e Estimate) *Node {
	return g.add(NCEGrad, e.attr(), dy, e.Similarities, e.Z)
}

// Partition is the constant Z of Wu et al. 2018, Eq. 8: Population * mean(exp(similarity/Temperature)) where e.Z is still 0, and after
// that keep*Z + (1-keep) times the estimate of this batch; keep 1 leaves it as the first batch had it.
func (g *Graph) Partition(e Estimate, keep float64) *Node {
	a := e.attr()
	a.Keep = keep
	return g.add(Partition, a, e.Similarities, e.Z)
}

// TrustRatio is what LARS scales a layer's rate by (You et al. 2017, Eq. 6), a scalar: trust*|w| / (|gradient| + decay*|w|), and 1 where a
// norm is 0.
func (g *Graph) TrustRatio(w, gradient *Node, trust, decay float64) *Node {
	return g.add(TrustRatio, Attr{Value: trust, Decay: decay}, w, gradient)
}

// The rules of type and shape follow, in the order of the kinds.

func floats(shape ...int) (tensor.Type, tensor.Shape, error) {
	return tensor.Float32, tensor.Shape(shape), nil
}

func bad(format string, a ...any) (tensor.Type, tensor.Shape, error) {
	return 0, nil, fmt.Errorf(format, a...)
}

// ranks checks that each operand is float32 and has the given rank; -1 takes any.
func ranks(in []*Node, want ...int) error {
	if len(in) != len(want) {
		return fmt.Errorf("takes %d operands", len(want))
	}
	for i, n := range in {
		if n.Type != tensor.Float32 {
			return fmt.Errorf("operand %d must be float32", i)
		}
		if want[i] >= 0 && len(n.Shape) != want[i] {
			return fmt.Errorf("operand %d must have %d axes", i, want[i])
		}
	}
	return nil
}

// sameAs is the rule of an elementwise kind: n float operands of one shape, or, with n = 0, one operand of any type.
func sameAs(n int) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		if n == 0 {
			if len(in) != 1 {
				return bad("takes 1 operand")
			}
			return in[0].Type, in[0].Shape, nil
		}
		want := make([]int, n)
		for i := range want {
			want[i] = -1
		}
		if err := ranks(in, want...); err != nil {
			return bad("%w", err)
		}
		for _, x := range in[1:] {
			if !x.Shape.Equal(in[0].Shape) {
				return bad("shapes differ")
			}
		}
		return floats(in[0].Shape...)
	}
}

func matrixShape(n int) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		if len(in) > 0 && len(in[0].Shape) != 2 {
			return bad("takes matrices")
		}
		return sameAs(n)(in, a)
	}
}

func rowsOf(n int) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		t, s, err := matrixShape(n)(in, a)
		if err != nil {
			return t, s, err
		}
		return floats(s[0])
	}
}

func weightedSumShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	terms := len(a.Coefficients)
	if terms < 1 || terms > 3 || len(a.Scalars) != terms || len(in) < terms {
		return bad("takes one to three terms")
	}
	for _, s := range a.Scalars {
		if s >= 0 && (s >= len(in) || in[s].Shape.Elements() != 1) {
			return bad("a factor is no scalar")
		}
	}
	return sameAs(terms)(in[:terms], a)
}

// window is the number of places of a window of k over n pixels, or 0.
func window(n, k, stride, pad int) int {
	if stride < 1 || pad < 0 || n+2*pad < k {
		return 0
	}
	return (n+2*pad-k)/stride + 1
}

func convShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	x, w := in[0].Shape, in[1].Shape
	if w[1] != x[3] {
		return bad("weights for %d channels, input has %d", w[1], x[3])
	}
	if w[2] != w[3] {
		return bad("weights are not square")
	}
	oh, ow := window(x[1], w[2], a.Stride, a.Pad), window(x[2], w[2], a.Stride, a.Pad)
	if oh < 1 || ow < 1 {
		return bad("the image is smaller than the window")
	}
	return floats(x[0], oh, ow, w[0])
}

func convGradInputShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	dy, w := in[0].Shape, in[1].Shape
	if w[0] != dy[3] || window(a.Height, w[2], a.Stride, a.Pad) != dy[1] || window(a.Width, w[2], a.Stride, a.Pad) != dy[2] {
		return bad("gradient does not fit the weights and a %dx%d input", a.Height, a.Width)
	}
	return floats(dy[0], a.Height, a.Width, w[1])
}

func convGradWeightShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	dy, x := in[0].Shape, in[1].Shape
	if dy[0] != x[0] || window(x[1], a.Kernel, a.Stride, a.Pad) != dy[1] || window(x[2], a.Kernel, a.Stride, a.Pad) != dy[2] {
		return bad("gradient does not fit the input and a window of %d", a.Kernel)
	}
	return floats(dy[3], x[3], a.Kernel, a.Kernel)
}

func splitShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1); err != nil {
		return bad("%w", err)
	}
	s := in[0].Shape
	if len(s) < 2 {
		return bad("takes a batch with channels")
	}
	if a.Splits < 1 || s[0]%a.Splits != 0 {
		return bad("a batch of %d cannot be cut into %d equal parts", s[0], a.Splits)
	}
	return floats(a.Splits, s[len(s)-1])
}

// statistics checks that each operand is a row for each split of x, or one row for all of it.
func statistics(x *Node, rows ...*Node) error {
	if len(x.Shape) < 2 {
		return errors.New("takes a batch with channels")
	}
	for _, r := range rows {
		fits := len(r.Shape) == 1 || len(r.Shape) == 2 && x.Shape[0]%r.Shape[0] == 0
		if !fits || r.Shape[len(r.Shape)-1] != x.Shape[len(x.Shape)-1] || !r.Shape.Equal(rows[0].Shape) {
			return errors.New("statistics do not fit the batch")
		}
	}
	return nil
}

// StatisticSplits is the number of splits that a batch norm's mean or variance is of: [S,C], or [C] for one.
func StatisticSplits(n *Node) int {
	if len(n.Shape) == 1 {
		return 1
	}
	return n.Shape[0]
}

func normaliseShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, -1, 1, 1); err != nil {
		return bad("%w", err)
	}
	if err := statistics(in[0], in[1], in[2]); err != nil {
		return bad("%w", err)
	}
	if c := in[0].Shape[len(in[0].Shape)-1]; in[3].Shape[0] != c || in[4].Shape[0] != c {
		return bad("gamma and beta must have %d values", c)
	}
	return floats(in[0].Shape...)
}

func channelDotShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, 2, 2); err != nil {
		return bad("%w", err)
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return bad("shapes differ")
	}
	if err := statistics(in[1], in[2], in[3]); err != nil {
		return bad("%w", err)
	}
	return floats(in[2].Shape...)
}

func batchNormGradShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, -1, -1, 2, 2, 1, 2, 2); err != nil {
		return bad("%w", err)
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return bad("shapes differ")
	}
	if err := statistics(in[1], in[2], in[3], in[5], in[6]); err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape...)
}

func splitSumShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2); err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape[1])
}

func maxPoolShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4); err != nil {
		return bad("%w", err)
	}
	s := in[0].Shape
	oh, ow := window(s[1], a.Kernel, a.Stride, a.Pad), window(s[2], a.Kernel, a.Stride, a.Pad)
	if oh < 1 || ow < 1 || a.Kernel < 1 || 2*a.Pad > a.Kernel {
		return bad("the window does not fit the image, or the border exceeds half of it")
	}
	return floats(s[0], oh, ow, s[3])
}

func maxPoolGradShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	_, s, err := maxPoolShape(in[1:], a)
	if err != nil || !s.Equal(in[0].Shape) {
		return bad("gradient does not fit the input")
	}
	return floats(in[1].Shape...)
}

func averagePoolShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4); err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape[0], in[0].Shape[3])
}

func averagePoolGradShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2); err != nil {
		return bad("%w", err)
	}
	if a.Height < 1 || a.Width < 1 {
		return bad("the image is empty")
	}
	return floats(in[0].Shape[0], a.Height, a.Width, in[0].Shape[1])
}

func matMulShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2, 2); err != nil {
		return bad("%w", err)
	}
	n, m, l, k := in[0].Shape[0], in[0].Shape[1], in[1].Shape[0], in[1].Shape[1]
	if a.TransposeA {
		n, m = m, n
	}
	if a.TransposeB {
		l, k = k, l
	}
	if m != l {
		return bad("inner lengths %d and %d differ", m, l)
	}
	return floats(n, k)
}

func biasAddShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2, 1); err != nil {
		return bad("%w", err)
	}
	if in[0].Shape[1] != in[1].Shape[0] {
		return bad("%d values for %d columns", in[1].Shape[0], in[0].Shape[1])
	}
	return floats(in[0].Shape...)
}

func scaleRowsShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2, 1); err != nil {
		return bad("%w", err)
	}
	if in[0].Shape[0] != in[1].Shape[0] {
		return bad("%d factors for %d rows", in[1].Shape[0], in[0].Shape[0])
	}
	return floats(in[0].Shape...)
}

// contrastShape is the rule of the kinds that compare a positive with negatives; skip scalars stand before those.
func contrastShape(result func([]*Node) tensor.Shape, skip int) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		if a.Temperature <= 0 {
			return bad("the temperature must be positive")
		}
		if len(in) != skip+2 && len(in) != skip+4 {
			return bad("takes a positive, negatives, and both ids or none")
		}
		for _, s := range in[:skip] {
			if s.Shape.Elements() != 1 {
				return bad("the gradient of the loss is no scalar")
			}
		}
		c := in[skip:]
		if err := ranks(c[:2], 1, 2); err != nil {
			return bad("%w", err)
		}
		n, k := c[1].Shape[0], c[1].Shape[1]
		if c[0].Shape[0] != n {
			return bad("%d positives for %d queries", c[0].Shape[0], n)
		}
		if len(c) == 4 {
			for i, want := range []int{n, k} {
				if id := c[2+i]; id.Type != tensor.Int32 || len(id.Shape) != 1 || id.Shape[0] != want {
					return bad("ids must be int32, one for each query and each key")
				}
			}
		}
		return floats(result(in)...)
	}
}

func gatherRowsShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 2 || len(in[0].Shape) < 2 || in[1].Type != tensor.Int32 || len(in[1].Shape) != 1 {
		return bad("takes rows and an int32 index")
	}
	s := append(tensor.Shape{in[1].Shape[0]}, in[0].Shape[1:]...)
	return in[0].Type, s, nil
}

func writeRowsShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || in[2].Type != tensor.Int32 || in[2].Shape.Elements() != 1 {
		return bad("takes rows to change, rows to write and an int32 place")
	}
	x, rows := in[0], in[1]
	if x.Type != rows.Type || len(x.Shape) < 1 || len(x.Shape) > 2 || len(rows.Shape) != len(x.Shape) || !rows.Shape[1:].Equal(x.Shape[1:]) {
		return bad("the rows differ")
	}
	return x.Type, x.Shape, nil
}

func advanceShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 1 || in[0].Type != tensor.Int32 || in[0].Shape.Elements() != 1 || a.Modulo < 1 || a.By < 0 {
		return bad("takes one int32 and a positive modulo")
	}
	return tensor.Int32, in[0].Shape, nil
}

func sliceShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 1 || len(in[0].Shape) < 1 || len(in[0].Shape) == 1 && in[0].Type == tensor.Float32 {
		return bad("takes rows")
	}
	if a.From < 0 || a.Count < 1 || a.From+a.Count > in[0].Shape[0] {
		return bad("there are no rows %d to %d", a.From, a.From+a.Count-1)
	}
	return in[0].Type, append(tensor.Shape{a.Count}, in[0].Shape[1:]...), nil
}

func rowsGradShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 2); err != nil {
		return bad("%w", err)
	}
	if a.From < 0 || a.From+in[0].Shape[0] > a.Count {
		return bad("rows from %d do not fit in %d", a.From, a.Count)
	}
	return floats(a.Count, in[0].Shape[1])
}

func concatShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) == 2 && isIndex(in[0]) && isIndex(in[1]) {
		return tensor.Int32, tensor.Shape{in[0].Shape[0] + in[1].Shape[0]}, nil
	}
	if err := ranks(in, 2, 2); err != nil {
		return bad("%w", err)
	}
	if in[0].Shape[1] != in[1].Shape[1] {
		return bad("the rows differ")
	}
	return floats(in[0].Shape[0]+in[1].Shape[0], in[0].Shape[1])
}

func isIndex(n *Node) bool { return n.Type == tensor.Int32 && len(n.Shape) == 1 }

func replaceRowsShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || !isIndex(in[2]) {
		return bad("takes rows to change, rows to write and an int32 index")
	}
	if err := ranks(in[:2], 2, 2); err != nil {
		return bad("%w", err)
	}
	if in[0].Shape[1] != in[1].Shape[1] || in[1].Shape[0] != in[2].Shape[0] {
		return bad("the rows differ, or have no index each")
	}
	return floats(in[0].Shape...)
}

// gathered checks a bank and an index into it of which each of n rows has an equal share, and returns that share.
func gathered(in []*Node, n, width int) (int, error) {
	if len(in) != 2 || !isIndex(in[1]) || len(in[0].Shape) != 2 || in[0].Type != tensor.Float32 {
		return 0, errors.New("takes a bank and an int32 index")
	}
	if width >= 0 && in[0].Shape[1] != width || in[1].Shape[0]%n != 0 {
		return 0, errors.New("the rows differ, or the index is no multiple of their number")
	}
	return in[1].Shape[0] / n, nil
}

func gatherDotShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || ranks(in[:1], 2) != nil {
		return bad("takes a matrix, a bank and an index")
	}
	m, err := gathered(in[1:], in[0].Shape[0], in[0].Shape[1])
	if err != nil {
		return bad("%w", err)
	}
	return floats(in[0].Shape[0], m)
}

func gatherDotGradShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if len(in) != 3 || ranks(in[:1], 2) != nil {
		return bad("takes a gradient, a bank and an index")
	}
	m, err := gathered(in[1:], in[0].Shape[0], -1)
	if err != nil {
		return bad("%w", err)
	}
	if m != in[0].Shape[1] {
		return bad("the index has %d a row, the gradient %d", m, in[0].Shape[1])
	}
	return floats(in[0].Shape[0], in[1].Shape[1])
}

// scalars checks the operands that stand before a loss's own: the gradient of the loss.
func scalars(in []*Node) error {
	for _, s := range in {
		if s.Shape.Elements() != 1 {
			return errors.New("the gradient of the loss is no scalar")
		}
	}
	return nil
}

// labelShape is the rule of the kinds that compare logits with labels; skip scalars stand before those.
func labelShape(skip int, result func(logits tensor.Shape) tensor.Shape) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		if len(in) != skip+2 || ranks(in[skip:skip+1], 2) != nil || !isIndex(in[skip+1]) || in[skip].Shape[0] != in[skip+1].Shape[0] {
			return bad("takes logits and an int32 label for each row")
		}
		if err := scalars(in[:skip]); err != nil {
			return bad("%w", err)
		}
		return floats(result(in[skip].Shape)...)
	}
}

// nceShape is the rule of the kinds that work on an Estimate; skip scalars stand before it.
func nceShape(skip int, result func(similarities tensor.Shape) tensor.Shape) func([]*Node, Attr) (tensor.Type, tensor.Shape, error) {
	return func(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
		if len(in) != skip+2 || ranks(in[skip:], 2, -1) != nil || in[skip].Shape[1] < 2 || in[skip+1].Shape.Elements() != 1 {
			return bad("takes similarities to a positive and to noise, and a scalar Z")
		}
		if err := scalars(in[:skip]); err != nil {
			return bad("%w", err)
		}
		if a.Temperature <= 0 || a.Value < 1 {
			return bad("the temperature and the population must be positive")
		}
		return floats(result(in[skip].Shape)...)
	}
}

func trustRatioShape(in []*Node, a Attr) (tensor.Type, tensor.Shape, error) {
	if _, _, err := sameAs(2)(in, a); err != nil {
		return bad("%w", err)
	}
	return floats()
}
