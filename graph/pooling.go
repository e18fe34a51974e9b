package graph

import "moco/tensor"

// The kinds of pooling.
const (
	MaxPool         Op = "MaxPool"
	MaxPoolGrad     Op = "MaxPoolGrad"
	AveragePool     Op = "AveragePool"
	AveragePoolGrad Op = "AveragePoolGrad"
)

// PoolAttr belongs to MaxPool and MaxPoolGrad.
type PoolAttr struct {
	Window
}

// AveragePoolGradAttr belongs to AveragePoolGrad.
type AveragePoolGradAttr struct {
	Height, Width int // of the image that was averaged
}

// MaxPool is the maximum over each k x k window; what lies outside of x is minus infinity.
func (g *Graph) MaxPool(x *Node, kernel, stride, pad int) *Node {
	return g.add(MaxPool, PoolAttr{Window{kernel, stride, pad}}, x)
}

// MaxPoolGrad is the gradient of MaxPool: it gives each dy to the first largest value of its
// window, row by row.
func (g *Graph) MaxPoolGrad(dy, x *Node, a PoolAttr) *Node { return g.add(MaxPoolGrad, a, dy, x) }

// AveragePool is the mean over all pixels: [N,H,W,C] -> [N,C].
func (g *Graph) AveragePool(x *Node) *Node { return g.add(AveragePool, NoAttr{}, x) }

// AveragePoolGrad is the gradient of AveragePool: it spreads dy [N,C] over the pixels, [N,H,W,C],
// each dy/(H*W).
func (g *Graph) AveragePoolGrad(dy *Node, height, width int) *Node {
	return g.add(AveragePoolGrad, AveragePoolGradAttr{height, width}, dy)
}

func init() {
	register(MaxPool, rule[PoolAttr]{
		check: checkMaxPool,
		gradient: func(g *Graph, n, dy *Node, a PoolAttr) []*Node {
			return []*Node{g.MaxPoolGrad(dy, n.In[0], a)}
		},
		cost:       func(n *Node, a PoolAttr) Cost { return n.costs(elements(n.Shape) * int64(a.Kernel*a.Kernel)) },
		activation: always,
	})
	register(MaxPoolGrad, rule[PoolAttr]{check: checkMaxPoolGrad, cost: moves[PoolAttr], activation: always})
	register(AveragePool, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, 4); err != nil {
				return bad("%w", err)
			}
			return floats(in[0].Shape[0], in[0].Shape[3])
		},
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			x := n.In[0].Shape
			return []*Node{g.AveragePoolGrad(dy, x[1], x[2])}
		},
	})
	register(AveragePoolGrad, rule[AveragePoolGradAttr]{
		check: func(in []*Node, a AveragePoolGradAttr) (tensor.Type, tensor.Shape, error) {
			if err := ranks(in, 2); err != nil {
				return bad("%w", err)
			}
			if a.Height < 1 || a.Width < 1 {
				return bad("the image is empty")
			}
			return floats(in[0].Shape[0], a.Height, a.Width, in[0].Shape[1])
		},
		activation: always,
	})
}

func checkMaxPool(in []*Node, a PoolAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4); err != nil {
		return bad("%w", err)
	}
	s := in[0].Shape
	height, width := a.places(s[1]), a.places(s[2])
	if height < 1 || width < 1 || a.Kernel < 1 || 2*a.Pad > a.Kernel {
		return bad("the window does not fit the image, or the border exceeds half of it")
	}
	return floats(s[0], height, width, s[3])
}

func checkMaxPoolGrad(in []*Node, a PoolAttr) (tensor.Type, tensor.Shape, error) {
	if err := ranks(in, 4, 4); err != nil {
		return bad("%w", err)
	}
	_, s, err := checkMaxPool(in[1:], a)
	if err != nil || !s.Equal(in[0].Shape) {
		return bad("gradient does not fit the input")
	}
	return floats(in[1].Shape...)
}
