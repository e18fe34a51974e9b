package weights

import (
	"bufio"
	"fmt"
	"io"
	"math"

	"moco/tensor"
)

// numpyTypes are NumPy's names of types.
var numpyTypes = map[tensor.Type]string{tensor.Float32: "f4", tensor.Int32: "i4", tensor.Int64: "i8", tensor.Uint8: "u1"}

// WriteDetectron2 writes tensors as detectron2 keeps the weights of its model zoo: a pickle of
// {"model": {name: NumPy array}, "__author__": "moco", "matching_heuristics": True}. The last tells
// detectron2 to find the place of each name in its model by the name's end, so that
// "res2.0.conv1.weight" fits "backbone.res2.0.conv1.weight". Python 3 with NumPy reads it; the same
// tensors give the same bytes.
func WriteDetectron2(w io.Writer, tensors []Named) error {
	if err := checkTensors(tensors, numpyTypes); err != nil {
		return fmt.Errorf("detectron2: %w", err)
	}
	for _, n := range tensors {
		if int64(len(n.Tensor.Bytes())) > math.MaxUint32 {
			return fmt.Errorf("detectron2: tensor %q is too large for the pickle that is written", n.Name)
		}
	}
	p := pickleWriter{bufio.NewWriterSize(w, 1<<20)}
	p.protocol(3)
	p.dict()
	p.items(func() {
		p.string("model")
		p.dict()
		p.items(func() {
			for _, n := range tensors {
				p.string(n.Name)
				p.array(n.Tensor)
			}
		})
		p.string("__author__")
		p.string("moco")
		p.string("matching_heuristics")
		p.bool(true)
	})
	p.stop()
	return p.Flush()
}

// array pushes a NumPy array, as its own __reduce__ and __setstate__ have it: an empty one is made
// and given its shape, type and bytes.
func (p pickleWriter) array(t *tensor.Tensor) {
	p.global("numpy.core.multiarray", "_reconstruct")
	p.tuple(func() {
		p.global("numpy", "ndarray")
		p.ints([]int{0})
		p.raw([]byte("b"))
	})
	p.call()
	p.tuple(func() {
		p.int(1) // version
		p.ints(t.Shape)
		p.global("numpy", "dtype")
		p.tuple(func() {
			p.string(numpyTypes[t.Type])
			p.bool(false)
			p.bool(true)
		})
		p.call()
		order := "<"
		if t.Type.Size() == 1 {
			order = "|"
		}
		p.tuple(func() {
			p.int(3) // version
			p.string(order)
			p.none()
			p.none()
			p.none()
			p.int(-1)
			p.int(-1)
			p.int(0)
		})
		p.setState()
		p.bool(false) // rows, not columns, lie together
		p.raw(t.Bytes())
	})
	p.setState()
}
