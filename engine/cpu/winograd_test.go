package cpu

import (
	"testing"

	"moco/engine"
	"moco/engine/enginetest"
)

// TestWinograd runs the suite with every 3x3 convolution of stride 1 going Winograd's way, however small.
func TestWinograd(t *testing.T) {
	for _, path := range []string{"avx512bf16", "avx512", "avx2", "neon", "portable"} {
		for _, workers := range []int{1, 3} {
			o := Options{Path: path, Workers: workers}
			t.Run(path, func(t *testing.T) {
				if _, err := newEngine(o); err != nil {
					t.Skipf("NOT TESTED: %v", err)
				}
				enginetest.Run(t, func() engine.Engine {
					e, err := newEngine(o)
					if err != nil {
						t.Fatal(err)
					}
					e.winograd = winogradLimits{images: 1, waste: 16}
					e.verify = true
					return e
				})
			})
		}
	}
}
