package explore

import (
	"cmp"
	"context"
	"fmt"
	"runtime"

	"moco/encoder"
	"moco/evaluate"
	"moco/internal/loader"
	"moco/internal/rng"
)

// Layout is a map of images in two dimensions on which neighbours by their features lie close
// together. It belongs to the family of LargeVis (Tang et al. 2016, Visualizing large-scale and
// high-dimensional data) and UMAP (McInnes et al. 2018, Uniform manifold approximation and
// projection).
//
//   - Graph: an image is joined to its nearest neighbours. A neighbour's weight falls with its
//     distance, at each image's own scale (UMAP, Sec. 3.1).
//   - Start: the two directions in which the features vary most. A start by such directions keeps
//     far groups in their place better than a random one (Kobak and Linderman 2021, Initialization
//     is critical for preserving global data structure in both t-SNE and UMAP).
//   - Descent: in each round an image takes a step towards one neighbour, drawn by weight, and
//     steps away from images drawn at random. The closeness of two images at the distance d is
//     1/(1+d^2), as in LargeVis.
//
// UMAP moves both ends of an edge at once, so its result depends on the order of its threads. Here
// an image only moves itself, by the positions that all images had before the round. So a result
// depends on the seed and the features, and not on the number of workers.
//
// Only neighbourhoods mean something on such a map. Sizes of groups and distances between far
// groups do not.
type Layout struct {
	Neighbours int    // of each image; 15 if 0
	Rounds     int    // steps of each image; by the number of images if 0
	Seed       uint64 // of the draws
	// Near, if not nil, is each row's nearest other rows, as Explorer.Neighbours gives them. Only
	// the first Neighbours of a list count. Without it, Layout searches for them itself.
	Near [][]evaluate.Neighbour
}

// Point is a place on a map. Both coordinates are 0 to 1.
type Point struct{ X, Y float32 }

const layoutTag = 0x6c61796f7574 // "layout": a stream of its own

// startRadius is the half width of the map at the start, in units of the distance at which
// closeness is one half. UMAP starts with the same.
const startRadius = 10

// Layout finds a place for each row of the set. The map keeps the ratio of width to height, fills
// the longer of them, and has its middle at 0.5.
func (x Explorer) Layout(ctx context.Context, set *evaluate.Embedded, l Layout) ([]Point, error) {
	n := set.Len()
	if n == 0 {
		return nil, errEmpty
	}
	if l.Neighbours < 0 || l.Rounds < 0 {
		return nil, fmt.Errorf("a map needs positive numbers of neighbours and rounds, not %d and %d",
			l.Neighbours, l.Rounds)
	}
	if err := finite(ctx, set); err != nil {
		return nil, err
	}
	l.Neighbours, l.Rounds = cmp.Or(l.Neighbours, 15), cmp.Or(l.Rounds, defaultRounds(n))
	near := l.Near
	if near == nil {
		near = make([][]evaluate.Neighbour, n)
		err := x.Neighbours(ctx, set, l.Neighbours, func(row int, list []evaluate.Neighbour) error {
			near[row] = list
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	edges, err := joined(near, n, l.Neighbours)
	if err != nil {
		return nil, err
	}
	places, err := x.principal(ctx, set)
	if err != nil {
		return nil, err
	}
	scatter(places, l.Seed)
	d := descent{edges: edges, seed: l.Seed, rounds: l.Rounds, now: places, next: make([]Point, n)}
	if err := d.run(ctx, func(done int) { x.progress("layout", done, l.Rounds) }); err != nil {
		return nil, err
	}
	intoUnit(d.now)
	return d.now, nil
}

// defaultRounds gives small sets more rounds, which cost them little. The numbers of steps are
// about those that UMAP takes.
func defaultRounds(n int) int {
	if n <= 10_000 {
		return 4000
	}
	return 2000
}

// finite returns an *encoder.FeaturesError if features are NaN or infinite.
func finite(ctx context.Context, set *evaluate.Embedded) error {
	return eachTile(ctx, set, func(first int, tile []float32) error {
		return encoder.CheckRows(tile, set.Dim, func(row int) string { return fmt.Sprintf("row %d", first+row) })
	})
}

// scatter scales the start to its radius. A little noise separates equal images.
func scatter(places []Point, seed uint64) {
	var most float32
	for _, p := range places {
		most = max(most, abs(p.X), abs(p.Y))
	}
	scale := float32(0)
	if most > 0 {
		scale = startRadius / most
	}
	r := rng.New(layoutTag, seed)
	for i, p := range places {
		places[i] = Point{
			X: p.X*scale + float32(r.Uniform(-0.01, 0.01)),
			Y: p.Y*scale + float32(r.Uniform(-0.01, 0.01)),
		}
	}
}

// intoUnit scales the map into the unit square.
func intoUnit(places []Point) {
	low, high := places[0], places[0]
	for _, p := range places {
		low = Point{X: min(low.X, p.X), Y: min(low.Y, p.Y)}
		high = Point{X: max(high.X, p.X), Y: max(high.Y, p.Y)}
	}
	side := max(high.X-low.X, high.Y-low.Y)
	if side == 0 {
		side = 1
	}
	unit := func(v, low, high float32) float32 {
		return min(1, max(0, 0.5+(v-low/2-high/2)/side))
	}
	for i, p := range places {
		places[i] = Point{X: unit(p.X, low.X, high.X), Y: unit(p.Y, low.Y, high.Y)}
	}
}

// descent moves the images.
type descent struct {
	edges     *edges
	seed      uint64
	rounds    int
	now, next []Point
}

// pointsAtOnce is how many images a worker moves at a time.
const pointsAtOnce = 2048

func (d *descent) run(ctx context.Context, progress func(done int)) error {
	n := len(d.now)
	blocks := (n + pointsAtOnce - 1) / pointsAtOnce
	for round := range d.rounds {
		r := rng.New(layoutTag, d.seed, uint64(round)+1)
		key := r.Uint64() // before workers begin: drawing changes a source
		rate := 1 - float32(round)/float32(d.rounds)
		err := loader.Parallel(ctx, blocks, runtime.GOMAXPROCS(0), func(_, b int) error {
			d.move(b*pointsAtOnce, min(n, (b+1)*pointsAtOnce), key, rate)
			return nil
		})
		if err != nil {
			return err
		}
		d.now, d.next = d.next, d.now
		if done := round + 1; done%50 == 0 || done == d.rounds {
			progress(done)
		}
	}
	return nil
}

// repulsions is the number of random images that an image is moved away from in a round. More of
// them keep more neighbours, and groups are less dense: of 10,000 pictures of CIFAR-10, 2, 3 and 5
// kept 12, 14 and 17% of the 15 nearest neighbours. LargeVis and UMAP take 5 as well.
const repulsions = 5

// longestStep limits a step along one axis, as UMAP does.
const longestStep = 4

// move makes the next places of the images from first up to last.
//
// With the closeness w = 1/(1+d^2), the step towards a neighbour is the gradient of log w, and the
// step away from another image that of log(1-w).
func (d *descent) move(first, last int, key uint64, rate float32) {
	n := len(d.now)
	for i := first; i < last; i++ {
		at := d.now[i]
		var dx, dy float32
		r := rng.New(key, uint64(i))
		if j, ok := d.edges.draw(i, r.Uint64()); ok {
			vx, vy := d.now[j].X-at.X, d.now[j].Y-at.Y
			pull := 2 / (1 + vx*vx + vy*vy)
			dx, dy = limit(pull*vx), limit(pull*vy)
		}
		for range repulsions {
			j := r.IntN(n)
			if j == i {
				continue
			}
			vx, vy := at.X-d.now[j].X, at.Y-d.now[j].Y
			square := vx*vx + vy*vy
			push := 2 / ((0.001 + square) * (1 + square))
			dx, dy = dx+limit(push*vx), dy+limit(push*vy)
		}
		d.next[i] = Point{X: at.X + rate*dx, Y: at.Y + rate*dy}
	}
}

func limit(v float32) float32 { return max(-longestStep, min(longestStep, v)) }

// edges are the graph of neighbours. How to draw a neighbour of row i stands at start[i] up to
// start[i+1].
type edges struct {
	start  []int32
	choice []choice
}

// choice is an entry of a table of Walker's alias method. A choice that is drawn evenly gives to
// with the probability keep, and else other.
type choice struct {
	keep      float32
	to, other int32 // rows
}

// draw draws a neighbour of row i in proportion to its weight.
func (e *edges) draw(i int, bits uint64) (row int32, ok bool) {
	list := e.choice[e.start[i]:e.start[i+1]]
	if len(list) == 0 {
		return 0, false
	}
	// The upper half of the bits picks the choice, the lower half decides.
	c := &list[(bits>>32)*uint64(len(list))>>32]
	if float32(uint32(bits)>>8)/(1<<24) < c.keep {
		return c.to, true
	}
	return c.other, true
}
