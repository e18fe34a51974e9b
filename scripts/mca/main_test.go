package main

import (
	"slices"
	"testing"
)

// TestFind: of a kernel's loops the innermost one that multiplies most is taken, and kernels with
// hardly a multiply-add are left out.
func TestFind(t *testing.T) {
	t.Parallel()
	const text = `
0000000000001000 <moco/engine/cpu/internal/kernel.tile2x4NEON.abi0>:
    1000:      	mov	x0, #0x0
    1004:      	fmla	v0.4s, v4.4s, v5.s[0]
    1008:      	fmla	v1.4s, v4.4s, v5.s[1]
    100c:      	fmla	v2.4s, v4.4s, v5.s[2]
    1010:      	fmla	v3.4s, v4.4s, v5.s[3]
    1014:      	subs	x1, x1, #0x1
    1018:      	b.ne	0x1004 <moco/engine/cpu/internal/kernel.tile2x4NEON.abi0+0x4>
    101c:      	cbnz	x2, 0x1000 <moco/engine/cpu/internal/kernel.tile2x4NEON.abi0>
    1020:      	ret

0000000000002000 <moco/engine/cpu/internal/kernel.reluNEON.abi0>:
    2000:      	fmax	v0.4s, v0.4s, v1.4s
    2004:      	cbnz	x2, 0x2000 <moco/engine/cpu/internal/kernel.reluNEON.abi0>

0000000000003000 <moco/engine/cpu/internal/kernel.other>:
    3000:      	fmla	v0.4s, v4.4s, v5.s[0]
`
	loops := find(text)
	if len(loops) != 1 {
		t.Fatalf("%d loops: %+v; want that of tile2x4", len(loops), loops)
	}
	want := []string{
		"fmla v0.4s, v4.4s, v5.s[0]", "fmla v1.4s, v4.4s, v5.s[1]", "fmla v2.4s, v4.4s, v5.s[2]", "fmla v3.4s, v4.4s, v5.s[3]",
		"subs x1, x1, #0x1", "b.ne 0x1004 <moco/engine/cpu/internal/kernel.tile2x4NEON.abi0+0x4>",
	}
	if l := loops[0]; l.kernel != "tile2x4" || !slices.Equal(l.body, want) || len(l.multiplies()) != 4 {
		t.Errorf("the loop of %s is %q, want %q", l.kernel, l.body, want)
	}
}
