package cpu

import (
	"moco/engine/reference"
	"moco/graph"
	"moco/tensor"
)

// byDefinition runs a node by its definition in float64, on one worker. It is for node kinds that
// have no kernel yet: they are slow, but they run. Unlike kernels, definitions may allocate.
var byDefinition = &operation{
	name: func(s *step) string { return s.node.Op.String() + " (by definition)" },
	emit: func(c *compiler, s *step, o *op) {
		n := s.node
		in := make([]*buffer, len(n.In)) // in float64
		for i, x := range n.In {
			in[i] = o.work(float64s, 1, x.Shape.Elements())
		}
		out := o.work(float64s, 1, n.Shape.Elements())
		values := make([]*reference.Value, len(n.In))
		o.then(serial(func(*worker) {
			for i, x := range n.In {
				toFloat64(in[i].f64, s.in[i].buffer, x.Shape)
				values[i] = reference.View(x.Type, x.Shape, in[i].f64)
			}
			// The only error is a kind without a definition, and this one has one.
			_ = reference.Compute(n, values, reference.View(n.Type, n.Shape, out.f64))
			fromFloat64(s.out[0].buffer, out.f64, n.Shape)
		}))
	},
}

// defined is byDefinition if a node kind has a definition, else nil.
func defined(op graph.Op) *operation {
	if reference.Defined(op) {
		return byDefinition
	}
	return nil
}

// toFloat64 copies rows of float32, or integers, to a dense array.
func toFloat64(dst []float64, src *buffer, shape tensor.Shape) {
	rows, ch := rowsOf(shape)
	for r := range rows {
		for j := range ch {
			if src.element == int32s {
				dst[r*ch+j] = float64(src.i32[r*ch+j])
			} else {
				dst[r*ch+j] = float64(src.f32[r*src.stride+j])
			}
		}
	}
}

// fromFloat64 rounds a dense array to rows of float32, zeros between, or to integers.
func fromFloat64(dst *buffer, src []float64, shape tensor.Shape) {
	rows, ch := rowsOf(shape)
	for r := range rows {
		if dst.element == int32s {
			for j := range ch {
				dst.i32[r*ch+j] = int32(src[r*ch+j])
			}
			continue
		}
		row := dst.row(r)
		for j := range ch {
			row[j] = float32(src[r*ch+j])
		}
		clear(row[ch:])
	}
}
