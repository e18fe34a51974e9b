package tensor

import (
	"testing"
	"unsafe"
)

func TestStorage(t *testing.T) {
	for _, shape := range []Shape{{}, {1}, {3, 5}, {2, 0, 4}, {1, 2, 3, 4, 5}} {
		for _, typ := range []Type{Float32, Int32, Int64, Uint8} {
			x := New(typ, shape...)
			if len(x.Bytes()) != shape.Elements()*typ.Size() {
				t.Errorf("%v of %v has %d bytes", shape, typ, len(x.Bytes()))
			}
			if len(x.Bytes()) > 0 && uintptr(unsafe.Pointer(&x.Bytes()[0]))%Alignment != 0 {
				t.Errorf("%v of %v is not aligned", shape, typ)
			}
			for want, view := range map[Type]func() int{
				Float32: func() int { return len(x.Float32s()) },
				Int32:   func() int { return len(x.Int32s()) },
				Int64:   func() int { return len(x.Int64s()) },
			} {
				n, err := elements(view)
				if typ == want && (err != nil || n != shape.Elements()) {
					t.Errorf("%v of %v gives %d values, %v", shape, typ, n, err)
				}
				if typ != want && (err == nil || *err != TypeError{Have: typ, Want: want}) {
					t.Errorf("%v of %v gives %d elements of type %v, %v", shape, typ, n, want, err)
				}
			}
		}
	}
	x := FromFloat32s([]float32{1, 2, 3, 4}, 2, 2)
	if x.Float32s()[3] != 4 {
		t.Errorf("the values are %v", x.Float32s())
	}
	for got, want := range map[string]string{
		x.Shape.String(): "2x2", Shape(nil).String(): "scalar", Float32.String(): "float32",
	} {
		if got != want {
			t.Errorf("a name is %q, want %q", got, want)
		}
	}
}

// elements is the number of elements that a view has, or what it panics with.
func elements(view func() int) (n int, err *TypeError) {
	defer func() { err, _ = recover().(*TypeError) }()
	return view(), nil
}

// TestFromFloat32s: values that do not fill the shape are not taken for a tensor.
func TestFromFloat32s(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("three values for four elements are accepted")
		}
	}()
	FromFloat32s([]float32{1, 2, 3}, 2, 2)
}
