package studio

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"moco/data"
	"moco/evaluate"
	"moco/explore"
)

// progress is how far a part of the work is.
type progress struct {
	Done  int    `json:"done"`
	Total int    `json:"total"`
	State string `json:"state"` // none, running, done or failed
	Error string `json:"error"`
}

// work is what runs in the background: first the features, then what is computed of them, one part
// after another. Each part's result is set once and never changed.
type work struct {
	s *Studio
	x explore.Explorer

	mu   sync.Mutex
	at   map[string]progress
	told time.Time // when progress was sent last

	rows       atomic.Pointer[features]
	near       atomic.Pointer[neighbourhood]
	layout     atomic.Pointer[[]explore.Point] // by row
	clusters   atomic.Pointer[[]int32]         // by row
	outliers   atomic.Pointer[[]float32]       // by row
	duplicates atomic.Pointer[[]group]
	classifier classifier
}

// neighbourhood is the nearest other rows of each row, most similar first.
type neighbourhood struct {
	k          int // of each row
	rows       []int32
	similarity []float32
}

// neighbours is how many are kept: as many as vote on a label.
const neighbours = 50

// of is the first neighbours of a row.
func (n *neighbourhood) of(row, k int) []evaluate.Neighbour {
	list := make([]evaluate.Neighbour, min(k, n.k))
	for j := range list {
		list[j] = evaluate.Neighbour{Row: int(n.rows[row*n.k+j]), Similarity: n.similarity[row*n.k+j]}
	}
	return list
}

// parts are the parts of the work in the background, in their order.
var parts = []string{"encode", "neighbours", "layout", "clusters", "outliers", "doubtful", "duplicates"}

func newWork(s *Studio) *work {
	w := &work{s: s, at: map[string]progress{}}
	for _, p := range parts {
		w.at[p] = progress{State: "none"}
	}
	w.x.Engine = s.o.Engine
	w.classifier.kick = make(chan struct{}, 1)
	return w
}

// run does all parts.
func (w *work) run(ctx context.Context) {
	var wait sync.WaitGroup
	defer wait.Wait()
	if w.s.o.Encoder == nil && w.s.o.Vectors == "" {
		return
	}
	err := w.part(ctx, "encode", func() error {
		f, err := w.load(ctx)
		w.rows.Store(f)
		return err
	})
	if err != nil {
		return
	}
	wait.Go(func() { w.classify(ctx) })
	for _, p := range []struct {
		name string
		do   func(ctx context.Context, f *features) error
	}{
		{"neighbours", w.findNeighbours}, {"layout", w.findLayout}, {"clusters", w.findClusters},
		{"outliers", w.findOutliers}, {"doubtful", w.readyForDoubt}, {"duplicates", w.findDuplicates},
	} {
		if w.part(ctx, p.name, func() error { return p.do(ctx, w.rows.Load()) }) != nil && p.name == "neighbours" {
			return
		}
	}
}

// part does one part, and tells how it went.
func (w *work) part(ctx context.Context, name string, do func() error) error {
	w.x.Progress = func(_ string, done, total int) { w.progressed(name, done, total) }
	w.set(name, progress{State: "running"})
	err := do()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		w.s.log.Warn("a part of the work failed", "part", name, "error", err)
		w.set(name, progress{State: "failed", Error: err.Error()})
	default:
		w.mu.Lock()
		total := max(w.at[name].Total, 1)
		w.mu.Unlock()
		w.set(name, progress{State: "done", Done: total, Total: total})
	}
	return err
}

// set says how far a part is, and tells the pages.
func (w *work) set(name string, p progress) {
	w.mu.Lock()
	w.at[name] = p
	w.told = time.Now()
	w.mu.Unlock()
	w.s.hub.send("work", w.progress())
}

// progressed says how far a part is. The pages are told a few times a second.
func (w *work) progressed(name string, done, total int) {
	w.mu.Lock()
	w.at[name] = progress{State: "running", Done: done, Total: total}
	tell := time.Since(w.told) > 250*time.Millisecond
	if tell {
		w.told = time.Now()
	}
	w.mu.Unlock()
	if tell {
		w.s.hub.send("work", w.progress())
	}
}

// progress is how far all parts are.
func (w *work) progress() map[string]progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := make(map[string]progress, len(w.at))
	for k, v := range w.at {
		now[k] = v
	}
	return now
}

// features are the features, nil while there are none.
func (w *work) features() *features { return w.rows.Load() }

// keep keeps a result. That it cannot be kept harms only the next start.
func (w *work) keep(k kept, kind string, f *features) {
	if err := k.save(w.s.o.Folder, kind, f.hash); err != nil {
		w.s.log.Warn("a result is not kept for the next start", "error", err)
	}
}

// findNeighbours finds the nearest other rows of every row.
func (w *work) findNeighbours(ctx context.Context, f *features) error {
	n := &neighbourhood{k: min(neighbours, f.Len()-1)}
	var was kept
	if was.load(w.s.o.Folder, "neighbours", f.hash) && len(was.ints) == f.Len()*n.k && len(was.floats) == len(was.ints) &&
		within(was.ints, f.Len()) {
		n.rows, n.similarity = was.ints, was.floats
		w.near.Store(n)
		return nil
	}
	n.rows, n.similarity = make([]int32, f.Len()*n.k), make([]float32, f.Len()*n.k)
	if n.k > 0 {
		err := w.x.Neighbours(ctx, f.Embedded, n.k, func(row int, list []evaluate.Neighbour) error {
			for j, l := range list {
				n.rows[row*n.k+j], n.similarity[row*n.k+j] = int32(l.Row), l.Similarity
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	w.keep(kept{ints: n.rows, floats: n.similarity}, "neighbours", f)
	w.near.Store(n)
	return nil
}

// within tells whether all numbers are rows of n.
func within(rows []int32, n int) bool {
	for _, r := range rows {
		if r < 0 || int(r) >= n {
			return false
		}
	}
	return true
}

// layoutNeighbours is how many neighbours the map joins.
const layoutNeighbours = 15

// findLayout makes the map.
func (w *work) findLayout(ctx context.Context, f *features) error {
	var was kept
	if was.load(w.s.o.Folder, "layout", f.hash) && len(was.floats) == 2*f.Len() {
		points := make([]explore.Point, f.Len())
		for i := range points {
			points[i] = explore.Point{X: was.floats[2*i], Y: was.floats[2*i+1]}
		}
		w.layout.Store(&points)
		return nil
	}
	near := make([][]evaluate.Neighbour, f.Len())
	for i := range near {
		near[i] = w.near.Load().of(i, layoutNeighbours)
	}
	points, err := w.x.Layout(ctx, f.Embedded, explore.Layout{Neighbours: layoutNeighbours, Near: near})
	if err != nil {
		return err
	}
	flat := make([]float32, 0, 2*len(points))
	for _, p := range points {
		flat = append(flat, p.X, p.Y)
	}
	w.keep(kept{floats: flat}, "layout", f)
	w.layout.Store(&points)
	return nil
}

// findClusters divides the pictures into groups of similar ones. There are no more of them than
// colours that a person tells apart.
func (w *work) findClusters(ctx context.Context, f *features) error {
	var was kept
	if was.load(w.s.o.Folder, "clusters", f.hash) && len(was.ints) == f.Len() {
		w.clusters.Store(&was.ints)
		return nil
	}
	k := min(f.Len(), max(2, min(20, int(math.Sqrt(float64(f.Len())/10)))))
	c, err := w.x.Cluster(ctx, f.Embedded, explore.KMeans{K: k, Iterations: 50})
	if err != nil {
		return err
	}
	of := make([]int32, f.Len())
	for n, cluster := range c.Clusters {
		for _, row := range cluster.Rows {
			of[row] = int32(n)
		}
	}
	w.keep(kept{ints: of}, "clusters", f)
	w.clusters.Store(&of)
	return nil
}

// clusterOf is the cluster of a picture, -1 while there is none.
func (w *work) clusterOf(image int) int32 {
	of, f := w.clusters.Load(), w.features()
	if of == nil || f.row[image] < 0 {
		return -1
	}
	return (*of)[f.row[image]]
}

// outlierNeighbours is how many neighbours an outlier's distance is taken to.
const outlierNeighbours = 10

// findOutliers scores each picture as explore.Outliers does, of the neighbours that are there: the
// mean of 1 - cosine over the nearest.
func (w *work) findOutliers(_ context.Context, f *features) error {
	near := w.near.Load()
	score := make([]float32, f.Len())
	for i := range score {
		list := near.of(i, outlierNeighbours)
		for _, l := range list {
			score[i] += (1 - l.Similarity) / float32(len(list))
		}
	}
	w.outliers.Store(&score)
	return nil
}

// readyForDoubt is all that doubtful labels need: they change with each label, and are found of the
// neighbours whenever they are asked for.
func (w *work) readyForDoubt(context.Context, *features) error { return nil }

// group is copies of one picture, as the page shows them.
type group struct {
	Images  []int   `json:"images"` // the best, then the others, the most similar first
	Best    int     `json:"best"`
	Why     string  `json:"why"`
	Weakest float32 `json:"weakest"`
	Edges   int     `json:"edges"` // pairs of the best with another
}

// overlaySide is the size at which pictures are laid over each other.
const overlaySide = 256

// findDuplicates finds groups of near-duplicates.
func (w *work) findDuplicates(ctx context.Context, f *features) error {
	was := kept{more: new([]group)}
	if was.load(w.s.o.Folder, "duplicates", f.hash) {
		w.duplicates.Store(was.more.(*[]group))
		return nil
	}
	set := &explore.Collection{Embedded: f.Embedded, Set: w.s.o.Data, Reading: data.Reading{Side: overlaySide}}
	found, err := w.x.Duplicates(ctx, f.Embedded, explore.Duplicates{
		Threshold: explore.OverlayThreshold, Candidates: explore.Candidates, Image: set.Read, Source: set.Source,
	})
	if err != nil {
		return err
	}
	groups := make([]group, len(found))
	for i, g := range found {
		groups[i] = group{Best: f.Images[g.Best], Why: g.Why.String(), Weakest: g.Weakest().Similarity, Edges: len(g.Pairs)}
		groups[i].Images = append(groups[i].Images, groups[i].Best)
		for _, p := range g.Pairs { // the most similar first
			groups[i].Images = append(groups[i].Images, f.Images[p.B])
		}
	}
	w.keep(kept{more: groups}, "duplicates", f)
	w.duplicates.Store(&groups)
	return nil
}

// errNotYet is the error of what is still computed.
var errNotYet = errors.New("it is not ready yet")
