package graph

import (
	"errors"

	"moco/tensor"
)

// The kinds that compare logits with labels.
const (
	CrossEntropy     Op = "CrossEntropy"
	CrossEntropyGrad Op = "CrossEntropyGrad"
	LabelAccuracy    Op = "LabelAccuracy"
)

// CrossEntropy is the mean over the batch of -log softmax(logits)[label], a scalar; logits [N,C],
// labels int32 [N].
func (g *Graph) CrossEntropy(logits, labels *Node) *Node {
	return g.add(CrossEntropy, NoAttr{}, logits, labels)
}

// CrossEntropyGrad is the gradient of CrossEntropy with regard to the logits, times the scalar dy:
// dy * (softmax - one-hot)/N.
func (g *Graph) CrossEntropyGrad(dy, logits, labels *Node) *Node {
	return g.add(CrossEntropyGrad, NoAttr{}, dy, logits, labels)
}

// LabelAccuracy is the share of rows whose label has the largest logit, a scalar.
func (g *Graph) LabelAccuracy(logits, labels *Node) *Node {
	return g.add(LabelAccuracy, NoAttr{}, logits, labels)
}

func init() {
	scalar := func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
		if err := checkLabels(in); err != nil {
			return bad("%w", err)
		}
		return floats()
	}
	register(CrossEntropy, rule[NoAttr]{
		check: scalar,
		gradient: func(g *Graph, n, dy *Node, _ NoAttr) []*Node {
			return []*Node{g.CrossEntropyGrad(dy, n.In[0], n.In[1]), nil}
		},
	})
	register(CrossEntropyGrad, rule[NoAttr]{
		check: func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
			if len(in) != 3 {
				return bad("takes a gradient, logits and an int32 label for each row")
			}
			if err := errors.Join(scalars(in[:1]), checkLabels(in[1:])); err != nil {
				return bad("%w", err)
			}
			return floats(in[1].Shape...)
		},
	})
	register(LabelAccuracy, rule[NoAttr]{check: scalar})
}

func checkLabels(in []*Node) error {
	if len(in) != 2 || ranks(in[:1], 2) != nil || !isIndex(in[1]) || in[0].Shape[0] != in[1].Shape[0] {
		return errors.New("takes logits and an int32 label for each row")
	}
	return nil
}
