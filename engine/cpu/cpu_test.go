package cpu_test

import (
	"testing"

	"moco/engine"
	"moco/engine/cpu"
	"moco/engine/enginetest"
)

// TestEngine runs the suite on every kernel path. Of the engines that the suite compares bit by
// bit, one has one worker and the other has three.
func TestEngine(t *testing.T) {
	for _, path := range cpu.AllPaths() {
		t.Run(path, func(t *testing.T) {
			if _, err := cpu.New(cpu.Options{Path: path}); err != nil {
				t.Skipf("NOT TESTED: %v", err)
			}
			workers := 3
			enginetest.Run(t, func() engine.Engine {
				workers = 4 - workers
				e, err := cpu.New(cpu.Options{Path: path, Workers: workers})
				if err != nil {
					t.Fatal(err)
				}
				return e
			})
		})
	}
}
