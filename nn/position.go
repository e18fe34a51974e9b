package nn

import (
	"math"

	"moco/graph"
	"moco/internal/cubic"
)

// The ways in which position embeddings of one grid are made of those of another. All are bicubic,
// with pixel centres aligned as PyTorch's interpolate does with align_corners=False; they are what
// the authors of published transformers use.
const (
	// plainBicubic is interpolate to the grid's size, as in transformers' Dinov2Model.
	plainBicubic = "bicubic"
	// offsetBicubic is interpolate by the factor (to+0.1)/from, as in DINO and DINOv2 without
	// registers: the sample points lie a little closer together than the grids ask for.
	offsetBicubic = "bicubic_offset"
	// smoothBicubic is interpolate with antialias=True, as in timm and in DINOv2 with registers.
	smoothBicubic = "bicubic_antialias"
)

var interpolations = []string{plainBicubic, offsetBicubic, smoothBicubic}

// mostWeights is the most weights that the matrix of an interpolation may have, for 256 MB. Positions of
// 518 pixels in patches of 14 can be made into those of 2,184 pixels.
const mostWeights = 1 << 25

// interpolate makes the positions [rows*columns,C] of a grid of patches from those of the grid of
// Image's size, [grid*grid,C]. The map is linear and fixed, so it is a product with a constant
// matrix, through which gradients reach the learned positions.
func (t transformer) interpolate(g *graph.Graph, position *graph.Node, rows, columns int) *graph.Node {
	grid := t.grid()
	if rows == grid && columns == grid {
		return position
	}
	down, across := resampling(grid, rows, t.Interpolation), resampling(grid, columns, t.Interpolation)
	m := make([]float64, rows*columns*grid*grid)
	x := m
	for row := range rows {
		for column := range columns {
			for i, a := range down[row] {
				for j, b := range across[column] {
					x[i*grid+j] = a * b
				}
			}
			x = x[grid*grid:]
		}
	}
	return g.MatMul(g.Constant(m, rows*columns, grid*grid), position, false, false)
}

// resampling is the matrix [to][from] of weights that resample a row of `from` values to `to`.
func resampling(from, to int, interpolation string) [][]float64 {
	weights := make([][]float64, to)
	scale := float64(from) / float64(to)
	if interpolation == offsetBicubic {
		scale = float64(from) / (float64(to) + 0.1)
	}
	for i := range weights {
		weights[i] = make([]float64, from)
		if interpolation == smoothBicubic {
			smooth(weights[i], scale, i)
			continue
		}
		// The four nearest values count. Beyond the border the last value repeats.
		at := (float64(i)+0.5)*scale - 0.5
		first := int(math.Floor(at)) - 1
		for j := first; j < first+4; j++ {
			weights[i][min(max(j, 0), from-1)] += cubic.Kernel(at-float64(j), -0.75)
		}
	}
	return weights
}

// smooth fills the weights of value i of a resampled row. Where the row gets shorter the kernel is
// wider, so that all values count. Weights beyond the border are left out, and the rest add up to 1.
func smooth(weights []float64, scale float64, i int) {
	wide := max(scale, 1)
	at := (float64(i)+0.5)*scale - 0.5
	var sum float64
	for j := range weights {
		weights[j] = cubic.Kernel((at-float64(j))/wide, -0.5)
		sum += weights[j]
	}
	for j := range weights {
		weights[j] /= sum
	}
}
