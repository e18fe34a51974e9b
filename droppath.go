package moco

import (
	"strconv"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
)

// Drop path (stochastic depth) leaves out branches of the query side for some images. The draws are
// inputs of the step: a graph has no randomness.

// drops declares what drop path leaves out of n images in one pass, given the share of the images for
// each branch. It is nil where nothing is left out.
func (g *builder) drops(n int, shares []float64) *graph.Node {
	if !g.trains || shares == nil {
		return nil
	}
	g.passes++
	return g.shared(passInput(g.passes), float, n, len(shares))
}

// passInput is the name of the input of drop path in a pass, counted from 1.
func passInput(pass int) string { return inDrops + strconv.Itoa(pass) }

// dropsOf collects the inputs for drop path of a program, pass by pass.
func dropsOf(p engine.Program) (all [][]float32) {
	for pass := 1; ; pass++ {
		x := floats(p, passInput(pass))
		if x == nil {
			return all
		}
		all = append(all, x)
	}
}

// drawDrops draws which branches leave out which images. A draw follows from the recipe's seed, the
// step and the image's place in the batch, so that it is the same for any number of processes.
func (s *Step) drawDrops(step int) {
	shares := s.recipe.Encoder.DropPaths()
	for pass, x := range s.drops {
		rows := len(x) / len(shares)
		first := s.share.First * rows / s.share.Count
		for i := range rows {
			random := rng.New(s.recipe.Seed, dropStream, uint64(step), uint64(pass), uint64(first+i))
			for j, share := range shares {
				x[i*len(shares)+j] = 0
				if random.Float64() >= share {
					x[i*len(shares)+j] = float32(1 / (1 - share))
				}
			}
		}
	}
}
