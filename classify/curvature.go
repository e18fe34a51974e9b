package classify

import (
	"fmt"
	"math"

	"moco/engine"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// directions is how many directions of the features a curvature knows.
const directions = 32

// curvature is roughly how features spread: most along a few directions, which would make a fit
// slow. Minimising is quick once these are known, so they are found once, from a sample of the
// rows, for all fits.
//
// It holds the covariance of the features S as B along an orthonormal basis Q of its leading
// directions (found by subspace iteration, Halko et al. 2011), and as a multiple of the identity
// beside them.
type curvature struct {
	basis [][]float64 // Q: orthonormal rows [rank][dim]
	along []float64   // B = Q S Q' [rank,rank]
	rest  float64     // the mean variance in all other directions
}

// newCurvature finds the leading directions of rows less their mean.
func newCurvature(e engine.Engine, r *rows, mean []float32, spread float64) (*curvature, error) {
	rank := min(directions, r.dim, r.len())
	g := graph.New()
	x := g.Variable("features", tensor.Float32, r.len(), r.dim)
	q := g.Input("basis", tensor.Float32, rank, r.dim)
	g.Output("product", g.MatMul(g.MatMul(q, x, false, true), x, false, false)) // Q X'X
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, fmt.Errorf("curvature: %w", err)
	}
	defer p.Close()
	if err := s.Write("features", r.centred(0, r.len(), mean)); err != nil {
		return nil, err
	}
	c := &curvature{basis: make([][]float64, rank), along: make([]float64, rank*rank)}
	random := rng.New(foldStream, 2)
	for i := range c.basis {
		c.basis[i] = make([]float64, r.dim)
		for j := range c.basis[i] {
			c.basis[i][j] = random.Normal()
		}
	}
	product := p.Output("product").Float32s()
	const rounds = 4
	for round := range rounds {
		orthonormalise(c.basis)
		for i, row := range c.basis {
			for j, v := range row {
				p.Input("basis").Float32s()[i*r.dim+j] = float32(v)
			}
		}
		if err := p.Run(); err != nil {
			return nil, err
		}
		if round == rounds-1 {
			break
		}
		for i, row := range c.basis {
			for j := range row {
				row[j] = float64(product[i*r.dim+j])
			}
		}
	}
	n := float64(r.len())
	known := 0.0
	for i := range rank {
		for k, row := range c.basis {
			var sum float64
			for j, v := range row {
				sum += v * float64(product[i*r.dim+j])
			}
			c.along[i*rank+k] = sum / n
		}
		known += c.along[i*rank+i]
	}
	if rank < r.dim {
		c.rest = max(0, spread-known) / float64(r.dim-rank)
	}
	return c, nil
}

// orthonormalise makes rows orthonormal by Gram and Schmidt, twice over, which rounding does not
// spoil. Rows that depend on those before them become zero.
func orthonormalise(rows [][]float64) {
	for i, row := range rows {
		before := dot(row, row)
		for range 2 {
			for _, other := range rows[:i] {
				add(row, -dot(row, other), other)
			}
		}
		f := 0.0
		if square := dot(row, row); square > 1e-20*before && square > 0 {
			f = 1 / math.Sqrt(square)
		}
		for j := range row {
			row[j] *= f
		}
	}
}

// inverse is the inverse of 1 + factor S.
type inverse struct {
	*curvature
	factored []float64 // the Cholesky factor of 1 + factor B, by rows
	beside   float64   // 1/(1 + factor rest)
}

// invert prepares the inverse of 1 + factor S.
func (c *curvature) invert(factor float64) *inverse {
	n := len(c.basis)
	v := &inverse{curvature: c, factored: make([]float64, n*n), beside: 1 / (1 + factor*c.rest)}
	l := v.factored
	for i := range n {
		for j := 0; j <= i; j++ {
			sum := factor*(c.along[i*n+j]+c.along[j*n+i])/2 - dot(l[i*n:i*n+j], l[j*n:j*n+j])
			if i == j {
				l[i*n+i] = math.Sqrt(max(sum+1, 1))
			} else {
				l[i*n+j] = sum / l[j*n+j]
			}
		}
	}
	return v
}

// apply writes the inverse times g to out.
func (v *inverse) apply(g, out []float64) {
	n := len(v.basis)
	a := make([]float64, n)
	for i, row := range v.basis {
		a[i] = dot(row, g)
	}
	for j, x := range g {
		out[j] = v.beside * x
	}
	b := append([]float64(nil), a...)
	l := v.factored
	for i := range n {
		b[i] = (b[i] - dot(l[i*n:i*n+i], b[:i])) / l[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		b[i] /= l[i*n+i]
		for j := range i {
			b[j] -= l[i*n+j] * b[i]
		}
	}
	for i, row := range v.basis {
		add(out, b[i]-v.beside*a[i], row)
	}
}
