package enginetest

import (
	"math"
	"slices"

	"moco/graph"
	"moco/tensor"
)

// definitions says what each node kind computes, from the values of its operands into y. The equations stand in graph/ops.go.
var definitions = map[graph.Op]func(n *graph.Node, in []*value, y *value){
	graph.Fill:   func(n *graph.Node, in []*value, y *value) { y.x[0] = n.Attr.Value },
	graph.Detach: func(n *graph.Node, in []*value, y *value) { copy(y.x, in[0].x) },
	graph.WeightedSum: func(n *graph.Node, in []*value, y *value) {
		for t, c := range n.Attr.Coefficients {
			if s := n.Attr.Scalars[t]; s >= 0 {
				c *= in[s].x[0]
			}
			for i, x := range in[t].x {
				y.x[i] += c * x
			}
		}
	},
	graph.Conv: func(n *graph.Node, in []*value, y *value) {
		x, w := in[0], in[1]
		channels, outs := x.shape[3], w.shape[0]
		wt := tapsFirst(w)
		eachTap(n.Attr, w.shape[2], x.shape, y.shape, func(tap, xi, yi int) {
			dst := y.x[yi*outs : (yi+1)*outs]
			for c, v := range x.x[xi*channels : (xi+1)*channels] {
				for o, k := range wt[(tap*channels+c)*outs : (tap*channels+c+1)*outs] {
					dst[o] += v * k
				}
			}
		})
	},
	graph.ConvGradInput: func(n *graph.Node, in []*value, dx *value) {
		dy, w := in[0], in[1]
		channels, outs := dx.shape[3], w.shape[0]
		wt := tapsFirst(w)
		eachTap(n.Attr, w.shape[2], dx.shape, dy.shape, func(tap, xi, yi int) {
			src := dy.x[yi*outs : (yi+1)*outs]
			for c := range channels {
				var s float64
				for o, k := range wt[(tap*channels+c)*outs : (tap*channels+c+1)*outs] {
					s += src[o] * k
				}
				dx.x[xi*channels+c] += s
			}
		})
	},
	graph.ConvGradWeight: func(n *graph.Node, in []*value, dw *value) {
		dy, x := in[0], in[1]
		channels, outs, taps := x.shape[3], dy.shape[3], n.Attr.Kernel*n.Attr.Kernel
		sum := make([]float64, taps*channels*outs) // [tap][c][o]
		eachTap(n.Attr, n.Attr.Kernel, x.shape, dy.shape, func(tap, xi, yi int) {
			src := dy.x[yi*outs : (yi+1)*outs]
			for c, v := range x.x[xi*channels : (xi+1)*channels] {
				dst := sum[(tap*channels+c)*outs : (tap*channels+c+1)*outs]
				for o, g := range src {
					dst[o] += v * g
				}
			}
		})
		for i, s := range sum {
			tap, c, o := i/(channels*outs), i/outs%channels, i%outs
			dw.x[(o*channels+c)*taps+tap] = s
		}
	},
	graph.BatchMean: func(n *graph.Node, in []*value, y *value) {
		eachChannel(in[0], n.Attr.Splits, func(i, sc, count int) { y.x[sc] += in[0].x[i] / float64(count) })
	},
	graph.BatchVariance: func(n *graph.Node, in []*value, y *value) {
		mean := make([]float64, len(y.x))
		eachChannel(in[0], n.Attr.Splits, func(i, sc, count int) { mean[sc] += in[0].x[i] / float64(count) })
		eachChannel(in[0], n.Attr.Splits, func(i, sc, count int) {
			d := in[0].x[i] - mean[sc]
			y.x[sc] += d * d / float64(count)
		})
	},
	graph.Normalise: func(n *graph.Node, in []*value, y *value) {
		mean, variance, gamma, beta := in[1], in[2], in[3], in[4]
		eachChannel(in[0], graph.StatisticSplits(n.In[1]), func(i, sc, _ int) {
			c := sc % len(beta.x)
			y.x[i] = gamma.x[c]*(in[0].x[i]-mean.x[sc])/math.Sqrt(variance.x[sc]+n.Attr.Epsilon) + beta.x[c]
		})
	},
	graph.ChannelSum: func(n *graph.Node, in []*value, y *value) {
		eachChannel(in[0], n.Attr.Splits, func(i, sc, _ int) { y.x[sc] += in[0].x[i] })
	},
	graph.ChannelDot: func(n *graph.Node, in []*value, y *value) {
		dy, x, mean, variance := in[0], in[1], in[2], in[3]
		eachChannel(dy, mean.shape[0], func(i, sc, _ int) {
			y.x[sc] += dy.x[i] * (x.x[i] - mean.x[sc]) / math.Sqrt(variance.x[sc]+n.Attr.Epsilon)
		})
	},
	graph.BatchNormGradInput: func(n *graph.Node, in []*value, dx *value) {
		dy, x, mean, variance, gamma, sum, dot := in[0], in[1], in[2], in[3], in[4], in[5], in[6]
		eachChannel(dy, mean.shape[0], func(i, sc, count int) {
			inverse := 1 / math.Sqrt(variance.x[sc]+n.Attr.Epsilon)
			normalised := (x.x[i] - mean.x[sc]) * inverse
			dx.x[i] = gamma.x[sc%mean.shape[1]] * inverse * (dy.x[i] - sum.x[sc]/float64(count) - normalised*dot.x[sc]/float64(count))
		})
	},
	graph.SplitSum: func(n *graph.Node, in []*value, y *value) {
		for i, x := range in[0].x {
			y.x[i%len(y.x)] += x
		}
	},
	graph.ReLU: func(n *graph.Node, in []*value, y *value) {
		for i, x := range in[0].x {
			y.x[i] = max(x, 0)
		}
	},
	graph.ReLUGrad: func(n *graph.Node, in []*value, dx *value) {
		for i, y := range in[1].x {
			if y > 0 {
				dx.x[i] = in[0].x[i]
			}
		}
	},
	graph.MaxPool: func(n *graph.Node, in []*value, y *value) {
		for i, from := range firstLargest(n.Attr, in[0], y.shape) {
			y.x[i] = in[0].x[from]
		}
	},
	graph.MaxPoolGrad: func(n *graph.Node, in []*value, dx *value) {
		for i, from := range firstLargest(n.Attr, in[1], in[0].shape) {
			dx.x[from] += in[0].x[i]
		}
	},
	graph.AveragePool: func(n *graph.Node, in []*value, y *value) {
		s := in[0].shape
		for i, x := range in[0].x {
			image, c := i/(s[1]*s[2]*s[3]), i%s[3]
			y.x[image*s[3]+c] += x / float64(s[1]*s[2])
		}
	},
	graph.AveragePoolGrad: func(n *graph.Node, in []*value, dx *value) {
		s := dx.shape
		for i := range dx.x {
			image, c := i/(s[1]*s[2]*s[3]), i%s[3]
			dx.x[i] = in[0].x[image*s[3]+c] / float64(s[1]*s[2])
		}
	},
	graph.MatMul: func(n *graph.Node, in []*value, y *value) {
		a, b := in[0], in[1]
		inner := a.shape[1]
		if n.Attr.TransposeA {
			inner = a.shape[0]
		}
		for i := range y.shape[0] {
			for j := range y.shape[1] {
				var s float64
				for k := range inner {
					s += a.x[at(a, i, k, n.Attr.TransposeA)] * b.x[at(b, k, j, n.Attr.TransposeB)]
				}
				y.x[i*y.shape[1]+j] = s
			}
		}
	},
	graph.BiasAdd: func(n *graph.Node, in []*value, y *value) {
		for i, x := range in[0].x {
			y.x[i] = x + in[1].x[i%len(in[1].x)]
		}
	},
	graph.L2Normalise: func(n *graph.Node, in []*value, y *value) {
		eachRow(y, func(r, lo, hi int) {
			norm := max(math.Sqrt(dot(in[0].x[lo:hi], in[0].x[lo:hi])), smallestNorm)
			for i := lo; i < hi; i++ {
				y.x[i] = in[0].x[i] / norm
			}
		})
	},
	graph.L2NormaliseGrad: func(n *graph.Node, in []*value, dx *value) {
		dy, x := in[0].x, in[1].x
		eachRow(dx, func(r, lo, hi int) {
			norm := math.Sqrt(dot(x[lo:hi], x[lo:hi]))
			along := dot(dy[lo:hi], x[lo:hi]) / (norm * norm)
			if norm < smallestNorm {
				norm, along = smallestNorm, 0 // a constant there
			}
			for i := lo; i < hi; i++ {
				dx.x[i] = (dy[i] - along*x[i]) / norm
			}
		})
	},
	graph.RowDot: func(n *graph.Node, in []*value, y *value) {
		eachRow(in[0], func(r, lo, hi int) { y.x[r] = dot(in[0].x[lo:hi], in[1].x[lo:hi]) })
	},
	graph.RowSum: func(n *graph.Node, in []*value, y *value) {
		eachRow(in[0], func(r, lo, hi int) {
			for _, x := range in[0].x[lo:hi] {
				y.x[r] += x
			}
		})
	},
	graph.ScaleRows: func(n *graph.Node, in []*value, y *value) {
		eachRow(y, func(r, lo, hi int) {
			for i := lo; i < hi; i++ {
				y.x[i] = in[0].x[i] * in[1].x[r]
			}
		})
	},
	graph.InfoNCE: func(n *graph.Node, in []*value, y *value) {
		rows := in[1].shape[0]
		for r := range rows {
			p, logits := logits(n, in, r)
			y.x[0] += (logSum(p, logits) - p) / float64(rows)
		}
	},
	graph.InfoNCEGrad: func(n *graph.Node, in []*value, y *value) {
		rows, keys := y.shape[0], y.shape[1]
		for r := range rows {
			p, logits := logits(n, in[1:], r)
			all := logSum(p, logits)
			for j, l := range logits {
				y.x[r*keys+j] = in[0].x[0] * math.Exp(l-all) / (n.Attr.Temperature * float64(rows))
			}
		}
	},
	graph.ContrastAccuracy: func(n *graph.Node, in []*value, y *value) {
		rows := in[1].shape[0]
		for r := range rows {
			p, logits := logits(n, in, r)
			right := 1.0
			for _, l := range logits {
				if l > p {
					right = 0
				}
			}
			y.x[0] += right / float64(rows)
		}
	},
	graph.GatherRows: func(n *graph.Node, in []*value, y *value) {
		each := y.shape[1:].Elements()
		for r, from := range in[1].x {
			copy(y.x[r*each:(r+1)*each], in[0].x[int(from)*each:])
		}
	},
	graph.WriteRows: func(n *graph.Node, in []*value, y *value) {
		copy(y.x, in[0].x)
		each, total := y.shape[1:].Elements(), y.shape[0]
		for r := range in[1].shape[0] {
			to := (int(in[2].x[0]) + r) % total
			copy(y.x[to*each:(to+1)*each], in[1].x[r*each:(r+1)*each])
		}
	},
	graph.Advance: func(n *graph.Node, in []*value, y *value) {
		y.x[0] = float64((int(in[0].x[0]) + n.Attr.By) % n.Attr.Modulo)
	},
	graph.Rows: func(n *graph.Node, in []*value, y *value) {
		copy(y.x, in[0].x[n.Attr.From*y.shape[1:].Elements():])
	},
	graph.RowsGrad: func(n *graph.Node, in []*value, dx *value) {
		copy(dx.x[n.Attr.From*dx.shape[1]:], in[0].x)
	},
	graph.Concat: func(n *graph.Node, in []*value, y *value) { copy(y.x[copy(y.x, in[0].x):], in[1].x) },
	graph.ReplaceRows: func(n *graph.Node, in []*value, y *value) {
		copy(y.x, in[0].x)
		each := y.shape[1]
		for r, to := range in[2].x {
			copy(y.x[int(to)*each:(int(to)+1)*each], in[1].x[r*each:])
		}
	},
	graph.GatherDot: func(n *graph.Node, in []*value, y *value) {
		eachDraw(y, in[2], in[1], in[0], func(i int, x, key []float64) { y.x[i] = dot(x, key) })
	},
	graph.GatherDotGrad: func(n *graph.Node, in []*value, dx *value) {
		eachDraw(in[0], in[2], in[1], dx, func(i int, x, key []float64) {
			for c, k := range key {
				x[c] += in[0].x[i] * k
			}
		})
	},
	graph.CrossEntropy: func(n *graph.Node, in []*value, y *value) {
		eachRow(in[0], func(r, lo, hi int) {
			logits := in[0].x[lo:hi]
			y.x[0] += (logSum(logits[0], logits[1:]) - logits[int(in[1].x[r])]) / float64(in[0].shape[0])
		})
	},
	graph.CrossEntropyGrad: func(n *graph.Node, in []*value, y *value) {
		eachRow(y, func(r, lo, hi int) {
			logits := in[1].x[lo:hi]
			all := logSum(logits[0], logits[1:])
			for j, l := range logits {
				p := math.Exp(l - all)
				if j == int(in[2].x[r]) {
					p--
				}
				y.x[lo+j] = in[0].x[0] * p / float64(y.shape[0])
			}
		})
	},
	graph.LabelAccuracy: func(n *graph.Node, in []*value, y *value) {
		eachRow(in[0], func(r, lo, hi int) {
			if logits := in[0].x[lo:hi]; logits[int(in[1].x[r])] >= slices.Max(logits) {
				y.x[0] += 1 / float64(in[0].shape[0])
			}
		})
	},
	graph.NCE: func(n *graph.Node, in []*value, y *value) {
		eachRow(in[0], func(r, lo, hi int) {
			for m, s := range in[0].x[lo:hi] {
				h := dataProbability(n.Attr, s, in[1].x[0], hi-lo-1)
				if m > 0 {
					h = 1 - h
				}
				y.x[0] -= math.Log(h) / float64(in[0].shape[0])
			}
		})
	},
	graph.NCEGrad: func(n *graph.Node, in []*value, y *value) {
		eachRow(y, func(r, lo, hi int) {
			for m, s := range in[1].x[lo:hi] {
				h := dataProbability(n.Attr, s, in[2].x[0], hi-lo-1)
				if m == 0 {
					h--
				}
				y.x[lo+m] = in[0].x[0] * h / (n.Attr.Temperature * float64(y.shape[0]))
			}
		})
	},
	graph.Partition: func(n *graph.Node, in []*value, y *value) {
		for _, s := range in[0].x {
			y.x[0] += n.Attr.Value * math.Exp(s/n.Attr.Temperature) / float64(len(in[0].x))
		}
		if z := in[1].x[0]; z != 0 {
			y.x[0] = n.Attr.Keep*z + (1-n.Attr.Keep)*y.x[0]
		}
	},
	graph.TrustRatio: func(n *graph.Node, in []*value, y *value) {
		w, g := math.Sqrt(dot(in[0].x, in[0].x)), math.Sqrt(dot(in[1].x, in[1].x))
		y.x[0] = 1
		if w > 0 && g > 0 {
			y.x[0] = n.Attr.Value * w / (g + n.Attr.Decay*w)
		}
	},
}

// eachDraw calls f with the place of each draw in [N,M], its row of x, and the key that the index names.
func eachDraw(draws, index, bank, x *value, f func(i int, x, key []float64)) {
	each, width := draws.shape[1], bank.shape[1]
	for i, k := range index.x {
		n := i / each
		f(i, x.x[n*width:(n+1)*width], bank.x[int(k)*width:(int(k)+1)*width])
	}
}

// dataProbability is h of Wu et al. 2018, Eq. 6: how likely a similarity is to come from the data and not from noise.
func dataProbability(a graph.Attr, similarity, z float64, noise int) float64 {
	p := math.Exp(similarity/a.Temperature) / z
	return p / (p + float64(noise)/a.Value)
}

// smallestNorm is F.normalize's eps.
const smallestNorm = 1e-12

// tapsFirst is OIHW weights as [tap][in][out].
func tapsFirst(w *value) []float64 {
	outs, channels, taps := w.shape[0], w.shape[1], w.shape[2]*w.shape[3]
	t := make([]float64, len(w.x))
	for i, v := range w.x {
		o, c, tap := i/(channels*taps), i/taps%channels, i%taps
		t[(tap*channels+c)*outs+o] = v
	}
	return t
}

// eachTap calls f for every pair of an input pixel (of x) and an output pixel (of y) that a tap joins.
func eachTap(a graph.Attr, kernel int, x, y tensor.Shape, f func(tap, xi, yi int)) {
	for n := range y[0] {
		for oy := range y[1] {
			for ox := range y[2] {
				for tap := range kernel * kernel {
					iy, ix := oy*a.Stride-a.Pad+tap/kernel, ox*a.Stride-a.Pad+tap%kernel
					if iy >= 0 && iy < x[1] && ix >= 0 && ix < x[2] {
						f(tap, (n*x[1]+iy)*x[2]+ix, (n*y[1]+oy)*y[2]+ox)
					}
				}
			}
		}
	}
}

// eachChannel calls f for every element i of x, with the place of its split and channel in [S,C] and the number of
// elements that share it.
func eachChannel(x *value, splits int, f func(i, sc, count int)) {
	channels := x.shape[len(x.shape)-1]
	each := len(x.x) / splits
	for i := range x.x {
		f(i, i/each*channels+i%channels, each/channels)
	}
}

// firstLargest is, for every element of a pooling's output y, the index of the first largest of its window in x.
func firstLargest(a graph.Attr, x *value, y tensor.Shape) []int {
	channels := x.shape[3]
	from := make([]int, y.Elements())
	for i := range from {
		from[i] = -1
	}
	eachTap(a, a.Kernel, x.shape, y, func(_, xi, yi int) {
		for c := range channels {
			if best := &from[yi*channels+c]; *best < 0 || x.x[xi*channels+c] > x.x[*best] {
				*best = xi*channels + c
			}
		}
	})
	return from
}

// at is the index of row i, column j of a matrix, or of its transpose.
func at(m *value, i, j int, transposed bool) int {
	if transposed {
		i, j = j, i
	}
	return i*m.shape[1] + j
}

func eachRow(m *value, f func(r, lo, hi int)) {
	for r := range m.shape[0] {
		f(r, r*m.shape[1], (r+1)*m.shape[1])
	}
}

func dot(a, b []float64) float64 {
	var s float64
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// logits is the positive's and the negatives' similarity over t; a negative with the query's own id is minus infinity.
func logits(n *graph.Node, in []*value, r int) (positive float64, negatives []float64) {
	keys := in[1].shape[1]
	for j, x := range in[1].x[r*keys : (r+1)*keys] {
		if len(in) == 4 && in[2].x[r] == in[3].x[j] {
			x = math.Inf(-1)
		}
		negatives = append(negatives, x/n.Attr.Temperature)
	}
	return in[0].x[r] / n.Attr.Temperature, negatives
}

// logSum is log(exp(p) + sum exp(l)), without overflow.
func logSum(p float64, logits []float64) float64 {
	largest := p
	for _, l := range logits {
		largest = max(largest, l)
	}
	sum := math.Exp(p - largest)
	for _, l := range logits {
		sum += math.Exp(l - largest)
	}
	return largest + math.Log(sum)
}
