package graph

import "moco/tensor"

// The kinds of convolutions.
const (
	Conv           Op = "Conv"
	ConvGradInput  Op = "ConvGradInput"
	ConvGradWeight Op = "ConvGradWeight"
)

// Window is a square window that moves over an image.
type Window struct {
	Kernel int // its side, in pixels
	Stride int // pixels from one place to the next
	Pad    int // rows and columns added to each side of the image
}

// places is the number of places of the window along an axis of n pixels; 0 if it does not fit.
func (w Window) places(n int) int {
	if w.Stride < 1 || w.Pad < 0 || n+2*w.Pad < w.Kernel {
		return 0
	}
	return (n+2*w.Pad-w.Kernel)/w.Stride + 1
}

// ConvAttr is the geometry of a convolution. A Conv and both its gradients have the same one.
type ConvAttr struct {
	Window
	Height, Width int // of the input image
}

// Conv is the 2-D cross-correlation of x [N,H,W,C] with weights w [O,C,k,k], zero-padded by pad on
// every side:
//
//	y[n,i,j,o] = sum over c,u,v of x[n, i*stride-pad+u, j*stride-pad+v, c] * w[o,c,u,v]
func (g *Graph) Conv(x, w *Node, stride, pad int) *Node {
	a := ConvAttr{Window{axis(w, 2), stride, pad}, axis(x, 1), axis(x, 2)}
	return g.add(Conv, a, x, w)
}

// ConvGradInput is the gradient of Conv with regard to x, of which a gives the size.
func (g *Graph) ConvGradInput(dy, w *Node, a ConvAttr) *Node { return g.add(ConvGradInput, a, dy, w) }

// ConvGradWeight is the gradient of Conv with regard to w, of which a gives the size.
func (g *Graph) ConvGradWeight(dy, x *Node, a ConvAttr) *Node { return g.add(ConvGradWeight, a, dy, x) }

func init() {
	register(Conv, rule[ConvAttr]{
		check: checkConv,
		gradient: func(g *Graph, n, dy *Node, a ConvAttr) []*Node {
			x, w := n.In[0], n.In[1]
			return []*Node{
				g.lazy(x, func() *Node { return g.ConvGradInput(dy, w, a) }),
				g.lazy(w, func() *Node { return g.ConvGradWeight(dy, x, a) }),
			}
		},
		cost: func(n *Node, _ ConvAttr) Cost { // an output is a dot product over the weights of its channel
			return n.costs(2 * elements(n.Shape) * elements(n.In[1].Shape[1:]))
		},
		activation: always,
	})
	register(ConvGradInput, rule[ConvAttr]{
		check: checkConvGradInput,
		cost: func(n *Node, _ ConvAttr) Cost {
			return n.costs(2 * elements(n.In[0].Shape) * elements(n.In[1].Shape[1:]))
		},
		activation: always,
	})
	register(ConvGradWeight, rule[ConvAttr]{
		check: checkConvGradWeight,
		cost: func(n *Node, _ ConvAttr) Cost {
			return n.costs(2 * elements(n.In[0].Shape) * elements(n.Shape[1:]))
		},
	})
}

func checkConv(in []*Node, a ConvAttr) (tensor.Type, tensor.Shape, error) {
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
	if a.Kernel != w[2] || a.Height != x[1] || a.Width != x[2] {
		return bad("the geometry is that of another convolution")
	}
	height, width := a.places(a.Height), a.places(a.Width)
	if height < 1 || width < 1 {
		return bad("the image is smaller than the window")
	}
	return floats(x[0], height, width, w[0])
}

// fitsOutput reports whether dy has the size of the convolution's output.
func (a ConvAttr) fitsOutput(dy tensor.Shape) bool {
	return a.places(a.Height) == dy[1] && a.places(a.Width) == dy[2]
}

func checkConvGradInput(in []*Node, a ConvAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	dy, w := in[0].Shape, in[1].Shape
	if w[0] != dy[3] || w[2] != a.Kernel || w[3] != a.Kernel || a.Height < 1 || a.Width < 1 || !a.fitsOutput(dy) {
		return bad("gradient does not fit the weights and a %dx%d input", a.Height, a.Width)
	}
	return floats(dy[0], a.Height, a.Width, w[1])
}

func checkConvGradWeight(in []*Node, a ConvAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	dy, x := in[0].Shape, in[1].Shape
	if dy[0] != x[0] || x[1] != a.Height || x[2] != a.Width || a.Kernel < 1 || !a.fitsOutput(dy) {
		return bad("gradient does not fit the input and a window of %d", a.Kernel)
	}
	return floats(dy[3], x[3], a.Kernel, a.Kernel)
}
