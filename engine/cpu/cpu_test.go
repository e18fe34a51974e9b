package cpu_test

import (
	"testing"

	"moco/engine"
	"moco/engine/cpu"
	"moco/engine/enginetest"
)

// TestEngine runs the suite on every kernel path, with one worker and with three.
func TestEngine(t *testing.T) {
	for _, path := range []string{"avx512bf16", "avx512", "avx2", "neon", "portable"} {
		for _, o := range []cpu.Options{{Path: path, Workers: 1}, {Path: path, Workers: 3}} {
			name := path
			if o.Workers == 3 {
				name += ", 3 workers"
			}
			t.Run(name, func(t *testing.T) {
				if _, err := cpu.New(o); err != nil {
					t.Skipf("NOT TESTED: %v", err)
				}
				enginetest.Run(t, func() engine.Engine {
					e, err := cpu.New(o)
					if err != nil {
						t.Fatal(err)
					}
					return e
				})
			})
		}
	}
}
