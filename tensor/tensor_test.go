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
			if got := len(x.Float32s()); typ == Float32 && got != shape.Elements() || typ != Float32 && got != 0 {
				t.Errorf("%v of %v gives %d float32 values", shape, typ, got)
			}
		}
	}
	x := FromFloat32s([]float32{1, 2, 3, 4}, 2, 2)
	if x.Float32s()[3] != 4 || x.Shape.String() != "2x2" || Shape(nil).String() != "scalar" || Float32.String() != "float32" {
		t.Errorf("unexpected contents or names: %v %v", x.Float32s(), x.Shape)
	}
}
