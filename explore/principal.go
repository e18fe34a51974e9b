package explore

import (
	"context"
	"math"

	"moco/engine"
	"moco/evaluate"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

const (
	principalTag    = 0x7063610a // "pca": a stream of its own
	directions      = 8          // that are followed; the first two count
	principalRounds = 10
)

// principal are the coordinates of the rows along the two directions of their largest variance
// (principal component analysis). The directions are found by subspace iteration (Halko,
// Martinsson, Tropp 2011, Finding structure with randomness, Sec. 4.4): the engine multiplies the
// rows with some directions and the products with the rows again, a tile of rows at a time. The
// sign of a direction is such that its largest number is positive.
func (x Explorer) principal(ctx context.Context, set *evaluate.Embedded) ([]Point, error) {
	dim, p := set.Dim, min(directions, set.Dim)
	places := make([]Point, set.Len())
	mean, err := meanOf(ctx, set)
	if err != nil {
		return nil, err
	}
	basis := make([][]float64, p)
	r := rng.New(principalTag)
	for d := range basis {
		basis[d] = make([]float64, dim)
		for j := range basis[d] {
			basis[d][j] = r.Normal()
		}
	}
	orthonormal(basis)
	m, err := x.newProjector(min(rowsAtOnce, set.Len()), dim, p)
	if err != nil {
		return nil, err
	}
	defer m.program.Close()
	for range principalRounds {
		if basis, err = m.covariance(ctx, set, mean, basis); err != nil {
			return nil, err
		}
		orthonormal(basis)
	}
	for d := range min(2, p) {
		upright(basis[d])
	}
	err = eachTile(ctx, set, func(first int, tile []float32) error {
		for i := range len(tile) / dim {
			v, place := tile[i*dim:(i+1)*dim], &places[first+i]
			place.X = along(v, mean, basis[0])
			if p > 1 {
				place.Y = along(v, mean, basis[1])
			}
		}
		return nil
	})
	return places, err
}

// meanOf is the mean of all rows.
func meanOf(ctx context.Context, set *evaluate.Embedded) ([]float64, error) {
	mean := make([]float64, set.Dim)
	err := eachTile(ctx, set, func(_ int, tile []float32) error {
		for lo := 0; lo < len(tile); lo += set.Dim {
			for j, v := range tile[lo : lo+set.Dim] {
				mean[j] += float64(v)
			}
		}
		return nil
	})
	for j := range mean {
		mean[j] /= float64(set.Len())
	}
	return mean, err
}

// along is a row's coordinate along a direction.
func along(v []float32, mean, direction []float64) float32 {
	var sum float64
	for j, u := range direction {
		sum += (float64(v[j]) - mean[j]) * u
	}
	return float32(sum)
}

// upright turns a direction so that its largest number is positive.
func upright(v []float64) {
	var largest float64
	for _, u := range v {
		if math.Abs(u) > math.Abs(largest) {
			largest = u
		}
	}
	if largest < 0 {
		for j := range v {
			v[j] = -v[j]
		}
	}
}

// orthonormal makes directions orthogonal and of length one, in order (Gram and Schmidt, twice for
// rounding). A direction that depends on those before it becomes zero.
func orthonormal(basis [][]float64) {
	for d, v := range basis {
		before := math.Sqrt(dot(v, v))
		for range 2 {
			for _, u := range basis[:d] {
				c := dot(u, v)
				for j := range v {
					v[j] -= c * u[j]
				}
			}
		}
		length := math.Sqrt(dot(v, v))
		if length <= 1e-12*before {
			clear(v)
			continue
		}
		for j := range v {
			v[j] /= length
		}
	}
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// projector multiplies a tile of rows with directions, and the products with the rows.
type projector struct {
	program          engine.Program
	rows, directions []float32 // inputs: [tile,dim], [p,dim]

}

func (x Explorer) newProjector(tile, dim, p int) (*projector, error) {
	g := graph.New()
	rows := g.Input("rows", tensor.Float32, tile, dim)
	directions := g.Input("directions", tensor.Float32, p, dim)
	scores := g.MatMul(rows, directions, false, true) // tile x p
	g.Output("products", g.MatMul(scores, rows, true, false))
	program, err := x.Engine.Compile(g, x.Engine.NewState())
	if err != nil {
		return nil, err
	}
	return &projector{program: program, rows: program.Input("rows").Float32s(),
		directions: program.Input("directions").Float32s()}, nil
}

// covariance multiplies directions with the rows' covariance matrix, up to a factor.
func (m *projector) covariance(ctx context.Context, set *evaluate.Embedded, mean []float64,
	basis [][]float64) ([][]float64, error) {
	dim := set.Dim
	next := make([][]float64, len(basis))
	for d, v := range basis {
		next[d] = make([]float64, dim)
		for j, u := range v {
			m.directions[d*dim+j] = float32(u)
		}
	}
	err := eachTile(ctx, set, func(_ int, tile []float32) error {
		for lo := 0; lo < len(tile); lo += dim {
			for j, v := range tile[lo : lo+dim] {
				m.rows[lo+j] = v - float32(mean[j])
			}
		}
		clear(m.rows[len(tile):])
		if err := m.program.Run(); err != nil {
			return err
		}
		products := m.program.Output("products").Float32s()
		for d := range next {
			for j := range next[d] {
				next[d][j] += float64(products[d*dim+j])
			}
		}
		return nil
	})
	return next, err
}
