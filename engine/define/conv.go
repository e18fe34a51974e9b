package define

import (
	"moco/graph"
	"moco/tensor"
)

func init() {
	register(graph.Conv, with(conv))
	register(graph.ConvGradInput, with(convGradInput))
	register(graph.ConvGradWeight, with(convGradWeight))
}

func conv(a graph.ConvAttr, in []*Value, y *Value) {
	x, w := in[0], in[1]
	channels, outs := x.Shape[3], w.Shape[0]
	wt := tapsFirst(w)
	eachTap(a.Window, x.Shape, y.Shape, func(tap, xi, yi int) {
		dst := y.X[yi*outs : (yi+1)*outs]
		for c, v := range x.X[xi*channels : (xi+1)*channels] {
			for o, k := range wt[(tap*channels+c)*outs : (tap*channels+c+1)*outs] {
				dst[o] += v * k
			}
		}
	})
}

func convGradInput(a graph.ConvAttr, in []*Value, dx *Value) {
	dy, w := in[0], in[1]
	channels, outs := dx.Shape[3], w.Shape[0]
	wt := tapsFirst(w)
	eachTap(a.Window, dx.Shape, dy.Shape, func(tap, xi, yi int) {
		src := dy.X[yi*outs : (yi+1)*outs]
		for c := range channels {
			dx.X[xi*channels+c] += dot(wt[(tap*channels+c)*outs:(tap*channels+c+1)*outs], src)
		}
	})
}

func convGradWeight(a graph.ConvAttr, in []*Value, dw *Value) {
	dy, x := in[0], in[1]
	channels, outs, taps := x.Shape[3], dy.Shape[3], a.Kernel*a.Kernel
	sum := make([]float64, taps*channels*outs) // [tap][c][o]
	eachTap(a.Window, x.Shape, dy.Shape, func(tap, xi, yi int) {
		src := dy.X[yi*outs : (yi+1)*outs]
		for c, v := range x.X[xi*channels : (xi+1)*channels] {
			dst := sum[(tap*channels+c)*outs : (tap*channels+c+1)*outs]
			for o, g := range src {
				dst[o] += v * g
			}
		}
	})
	for i, s := range sum {
		tap, c, o := i/(channels*outs), i/outs%channels, i%outs
		dw.X[(o*channels+c)*taps+tap] = s
	}
}

// tapsFirst is OIHW weights as [tap][in][out].
func tapsFirst(w *Value) []float64 {
	outs, channels, taps := w.Shape[0], w.Shape[1], w.Shape[2]*w.Shape[3]
	t := make([]float64, len(w.X))
	for i, v := range w.X {
		o, c, tap := i/(channels*taps), i/taps%channels, i%taps
		t[(tap*channels+c)*outs+o] = v
	}
	return t
}

// eachTap calls f for every pair of an input pixel (of x) and an output pixel (of y) that a tap of
// the window joins.
func eachTap(w graph.Window, x, y tensor.Shape, f func(tap, xi, yi int)) {
	for n := range y[0] {
		for oy := range y[1] {
			for ox := range y[2] {
				for tap := range w.Kernel * w.Kernel {
					iy, ix := oy*w.Stride-w.Pad+tap/w.Kernel, ox*w.Stride-w.Pad+tap%w.Kernel
					if iy >= 0 && iy < x[1] && ix >= 0 && ix < x[2] {
						f(tap, (n*x[1]+iy)*x[2]+ix, (n*y[1]+oy)*y[2]+ox)
					}
				}
			}
		}
	}
}
