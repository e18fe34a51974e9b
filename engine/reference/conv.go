package reference

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
	channels, outs := x.shape[3], w.shape[0]
	wt := tapsFirst(w)
	eachTap(a.Window, x.shape, y.shape, func(tap, xi, yi int) {
		dst := y.x[yi*outs : (yi+1)*outs]
		for c, v := range x.x[xi*channels : (xi+1)*channels] {
			for o, k := range wt[(tap*channels+c)*outs : (tap*channels+c+1)*outs] {
				dst[o] += v * k
			}
		}
	})
}

func convGradInput(a graph.ConvAttr, in []*Value, dx *Value) {
	dy, w := in[0], in[1]
	channels, outs := dx.shape[3], w.shape[0]
	wt := tapsFirst(w)
	eachTap(a.Window, dx.shape, dy.shape, func(tap, xi, yi int) {
		src := dy.x[yi*outs : (yi+1)*outs]
		for c := range channels {
			dx.x[xi*channels+c] += dot(wt[(tap*channels+c)*outs:(tap*channels+c+1)*outs], src)
		}
	})
}

func convGradWeight(a graph.ConvAttr, in []*Value, dw *Value) {
	dy, x := in[0], in[1]
	channels, outs, taps := x.shape[3], dy.shape[3], a.Kernel*a.Kernel
	sum := make([]float64, taps*channels*outs) // [tap][c][o]
	eachTap(a.Window, x.shape, dy.shape, func(tap, xi, yi int) {
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
}

// tapsFirst is OIHW weights as [tap][in][out].
func tapsFirst(w *Value) []float64 {
	outs, channels, taps := w.shape[0], w.shape[1], w.shape[2]*w.shape[3]
	t := make([]float64, len(w.x))
	for i, v := range w.x {
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
