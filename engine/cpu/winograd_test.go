package cpu

import (
	"testing"

	"moco/engine"
	"moco/engine/enginetest"
)

// TestWinograd runs the suite with every 3x3 convolution of stride 1 going Winograd's way, however
// small, and checks what the compiler's passes leave.
func TestWinograd(t *testing.T) {
	for _, path := range AllPaths() {
		t.Run(path, func(t *testing.T) {
			if _, err := newEngine(Options{Path: path}); err != nil {
				t.Skipf("NOT TESTED: %v", err)
			}
			workers := 3
			enginetest.Run(t, func() engine.Engine {
				workers = 4 - workers
				e := verified(t, Options{Path: path, Workers: workers})
				e.winograd = winogradLimits{images: 1, waste: 16}
				return e
			})
		})
	}
}
