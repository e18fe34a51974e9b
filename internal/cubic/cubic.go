// Package cubic is the kernel of bicubic interpolation (Keys 1981), by which pictures and position
// embeddings are resized.
package cubic

import "math"

// Kernel is the weight of a value at a distance x, which is 0 from 2 on. a is the slope at 1:
// PIL has -0.5, and so has PyTorch with antialiasing; without, it has -0.75.
func Kernel(x, a float64) float64 {
	switch x = math.Abs(x); {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	}
	return 0
}
