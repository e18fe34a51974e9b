package cpu

import (
	"moco/graph"
	"moco/tensor"
)

// layout is how the values of a node lie in memory.
type layout uint8

const (
	noLayout layout = iota
	// inRows is rows of channels: everything but the last axis is a row, padded with zeros to a
	// multiple of 16 values.
	inRows
	// inImages is rows of channels whose 1 to 4 channels take 4 values: images given as inputs.
	inImages
	// inTileOrder is a convolution's weights as the tiles read them: see packing.
	inTileOrder
	// dense is integers without any padding.
	dense
	// private is a form that only the steps know that write and read the value.
	private
)

// String is the layout's name.
func (l layout) String() string {
	return [...]string{"?", "rows", "images", "weights", "dense", "private"}[l]
}

// value is all that the compiler knows of a value: one for each node of the graph, and one for each
// value that steps hand to each other. A copy in another layout or type is a value too.
type value struct {
	id      int
	node    *graph.Node // whose value it is, or helps to make
	layout  layout
	element element

	rows, stride int // of a private value; of any other both follow from the node's shape

	// producer is the step that writes the value. Variables and constants have none, nor has a
	// value that no step makes, since its readers compute it themselves.
	producer *step
	readers  []*step // once for each operand
	held     bool    // read after the run: an output or an assigned value
	pinned   bool    // a variable or a constant, with memory of its own

	// inCache is true of a value that an epilogue of its own producer overwrites part by part. It
	// never lies in memory as a whole, so no other step can read it.
	inCache bool
	// norm is the batch norm that makes the value, by which it can be computed again.
	norm   *step
	again  *value   // the value computed again, for the backward pass
	copies []*value // the value in other layouts and types

	buffer *buffer // made when operations are emitted
}

// shape is the number of rows of a value and the distance between them, in values.
func (v *value) shape() (rows, stride int) {
	if v.layout == private {
		return v.rows, v.stride
	}
	rows, ch := rowsOf(v.node.Shape)
	switch v.layout {
	case inImages:
		return rows, imageChannels(ch)
	case dense:
		return rows, ch
	}
	return rows, channels(ch)
}

// newValue makes the record of a value.
func (c *compiler) newValue(n *graph.Node) *value {
	v := &value{id: len(c.values), node: n}
	if n.Type == tensor.Int32 {
		v.layout, v.element = dense, int32s
	}
	c.values = append(c.values, v)
	return v
}

// newPrivate makes the record of a value that only steps know, of so many float32.
func (c *compiler) newPrivate(n *graph.Node, rows, stride int) *value {
	v := c.newValue(n)
	v.layout, v.element, v.rows, v.stride = private, float32s, rows, stride
	return v
}

// place makes the buffer of a value.
func (c *compiler) place(v *value) {
	if v.buffer != nil {
		return
	}
	rows, stride := v.shape()
	b := newRows(v.element, rows, stride)
	switch v.layout {
	case inTileOrder:
		b.count = c.engine.packingOf(v.node.Shape).floats()
		b.stride = b.count
	case dense, inImages:
		b.count = roundUp(b.count, lanes)
	}
	b.pinned, b.varies = v.pinned, v.node.Varies
	v.buffer = b
}

// only reports whether one operand of one step reads the value and nothing else does.
func (v *value) only() bool { return len(v.readers) == 1 && !v.held }

// madeBy reports whether the value is written by a step of the given operation.
func (v *value) madeBy(o *operation) bool { return v.producer != nil && v.producer.operation == o }

// before reports whether the value is there when step s begins.
func (v *value) before(s *step) bool {
	return v == nil || v.pinned || v.producer != nil && v.producer.at < s.at
}
