package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"moco/engine"
	"moco/graph"
	"moco/internal/loader"
	"moco/tensor"
	"runtime"
	"slices"
)

// Neighbour is a row of the bank and its similarity to the query.
type Neighbour struct {
	Row        int
	Similarity float32
}

// nearest orders neighbours by falling similarity. Ties go to the lower row.
func nearest(a, b Neighbour) int {
	return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Row, b.Row))
}

// queriesAtOnce and rowsAtOnce limit the matrix of similarities.
const queriesAtOnce, rowsAtOnce = 128, 4096

// Neighbours finds, for each query, the k rows of the bank with the largest dot products, most
// similar first.
func Neighbours(ctx context.Context, e engine.Engine, bank, queries *Embedded, k int) ([][]Neighbour, error) {
	best := make([][]Neighbour, queries.Len())
	err := Similarities(ctx, e, bank, queries, func(query, lo int, similarity []float32) {
		best[query] = keepBest(best[query], similarity, lo, k)
	})
	if err != nil {
		return nil, fmt.Errorf("kNN: %w", err)
	}
	for _, list := range best {
		slices.SortFunc(list, nearest)
	}
	return best, nil
}

// Similarities computes the dot products of every query with every row of the bank, a tile at a
// time, by the engine's matrix product. visit gets the products of one query with the rows lo,
// lo+1, ...; the slice is valid until visit returns. The tiles of one query come in the order of
// their rows. Several goroutines call visit at the same time for different queries.
func Similarities(ctx context.Context, e engine.Engine, bank, queries *Embedded,
	visit func(query, lo int, similarity []float32)) error {
	if bank.Len() == 0 || queries.Len() == 0 {
		return nil
	}
	if bank.Dim != queries.Dim {
		return fmt.Errorf("the bank's features have %d dimensions, the queries' %d", bank.Dim, queries.Dim)
	}
	m, err := newMatcher(e, min(rowsAtOnce, bank.Len()), bank.Dim)
	if err != nil {
		return err
	}
	defer m.program.Close()
	for lo := 0; lo < bank.Len(); lo += m.rows {
		part := bank.Part(lo, min(lo+m.rows, bank.Len()))
		if err := m.load(part); err != nil {
			return err
		}
		for first := 0; first < queries.Len(); first += queriesAtOnce {
			count := min(queriesAtOnce, queries.Len()-first)
			similarity, err := m.match(queries.Part(first, first+count))
			if err != nil {
				return err
			}
			// Each query has its own rows, so the order of work changes nothing.
			err = loader.Parallel(ctx, count, runtime.GOMAXPROCS(0), func(_, i int) error {
				visit(first+i, lo, similarity[i*m.rows:i*m.rows+part.Len()])
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// matcher multiplies a tile of queries with a tile of the bank.
type matcher struct {
	program engine.Program
	state   engine.State
	tile    *tensor.Tensor // a tile of the bank, [rows,dim]
	queries []float32      // [queriesAtOnce,dim]
	rows    int
}

func newMatcher(e engine.Engine, rows, dim int) (*matcher, error) {
	g := graph.New()
	q := g.Input("queries", tensor.Float32, queriesAtOnce, dim)
	b := g.Variable("bank", tensor.Float32, rows, dim)
	g.Output("similarity", g.MatMul(q, b, false, true))
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		return nil, err
	}
	return &matcher{program: p, state: s, tile: tensor.New(tensor.Float32, rows, dim),
		queries: p.Input("queries").Float32s(), rows: rows}, nil
}

// load puts a part of the bank into the tile. A shorter part leaves rows behind it that are not
// read.
func (m *matcher) load(part *Embedded) error {
	if err := part.Read(0, m.tile.Float32s()[:part.Len()*part.Dim]); err != nil {
		return err
	}
	return m.state.Write("bank", m.tile)
}

// match returns the dot products [queriesAtOnce,rows] with the loaded part.
func (m *matcher) match(queries *Embedded) ([]float32, error) {
	if err := queries.Read(0, m.queries[:queries.Len()*queries.Dim]); err != nil {
		return nil, err
	}
	if err := m.program.Run(); err != nil {
		return nil, err
	}
	return m.program.Output("similarity").Float32s(), nil
}

// keepBest merges similarities of rows lo, lo+1, ... into the k best so far: a heap with the worst
// first. container/heap would call three methods of an interface for each level, in the inner loop
// of a search over millions of rows.
func keepBest(heap []Neighbour, similarity []float32, lo, k int) []Neighbour {
	for i, s := range similarity {
		n := Neighbour{lo + i, s}
		switch {
		case len(heap) < k:
			heap = append(heap, n)
			up(heap)
		case worse(heap[0], n):
			heap[0] = n
			down(heap)
		}
	}
	return heap
}

func worse(a, b Neighbour) bool { return nearest(a, b) > 0 }

// up moves the last element of a heap to its place.
func up(heap []Neighbour) {
	for c := len(heap) - 1; c > 0 && worse(heap[c], heap[(c-1)/2]); c = (c - 1) / 2 {
		heap[c], heap[(c-1)/2] = heap[(c-1)/2], heap[c]
	}
}

// down moves the first element of a heap to its place.
func down(heap []Neighbour) {
	for c := 0; ; {
		child := 2*c + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && worse(heap[child+1], heap[child]) {
			child++
		}
		if !worse(heap[child], heap[c]) {
			return
		}
		heap[c], heap[child] = heap[child], heap[c]
		c = child
	}
}
