package graph

import (
	"errors"
	"fmt"

	"moco/tensor"
)

// What the checks of several families share.

// floats is the result of a check: a float32 value of the given shape.
func floats(shape ...int) (tensor.Type, tensor.Shape, error) {
	return tensor.Float32, tensor.Shape(shape), nil
}

// bad is the result of a check: an error.
func bad(format string, a ...any) (tensor.Type, tensor.Shape, error) {
	return 0, nil, fmt.Errorf(format, a...)
}

// ranks checks that each operand is float32 and has the given number of axes; -1 takes any.
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

// sameShape is the check of n float operands of one shape, which the result has too.
func sameShape(n int) func([]*Node, NoAttr) (tensor.Type, tensor.Shape, error) {
	want := make([]int, n)
	for i := range want {
		want[i] = -1
	}
	return func(in []*Node, _ NoAttr) (tensor.Type, tensor.Shape, error) {
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

// sameMatrix is sameShape for matrices.
func sameMatrix(n int) func([]*Node, NoAttr) (tensor.Type, tensor.Shape, error) {
	same := sameShape(n)
	return func(in []*Node, a NoAttr) (tensor.Type, tensor.Shape, error) {
		if len(in) > 0 && len(in[0].Shape) != 2 {
			return bad("takes matrices")
		}
		return same(in, a)
	}
}

// perChannel checks that each operand has a value for each channel of x [..,C].
func perChannel(x *Node, operands ...*Node) error {
	if len(x.Shape) < 2 {
		return errors.New("takes rows of channels")
	}
	for _, v := range operands {
		if c := x.Shape[len(x.Shape)-1]; len(v.Shape) != 1 || v.Shape[0] != c {
			return fmt.Errorf("%v are not one value for each of %d channels", v.Shape, c)
		}
	}
	return nil
}

// sumOfRows is the check of two operands of one shape [..,C] that give a value for each channel.
func sumOfRows(in []*Node, a NoAttr) (tensor.Type, tensor.Shape, error) {
	_, s, err := sameShape(2)(in, a)
	if err != nil {
		return bad("%w", err)
	}
	if err := perChannel(in[0]); err != nil {
		return bad("%w", err)
	}
	return floats(s[len(s)-1])
}

// scalars checks that each operand holds one value: the gradient of a loss stands before its
// operands.
func scalars(in []*Node) error {
	for _, s := range in {
		if s.Shape.Elements() != 1 {
			return errors.New("the gradient of the loss is no scalar")
		}
	}
	return nil
}

// isIndex reports whether n is a vector of int32.
func isIndex(n *Node) bool { return n.Type == tensor.Int32 && len(n.Shape) == 1 }

// axis is the extent of an axis of n, 0 where n has no such axis. Builders use it before any check.
func axis(n *Node, i int) int {
	if n == nil || i >= len(n.Shape) {
		return 0
	}
	return n.Shape[i]
}
