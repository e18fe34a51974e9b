// Package loader makes batches: which images, in which order, as which views. A batch is a function
// of the recipe's seed, the epoch and the step alone, so that neither workers nor restarts change
// it.
//
// Views are made between the engine's steps, on all cores, and not by threads in the background.
// Either way they take the same processor time from the same cores; in the background they would
// also interrupt the engine's workers in the middle of a phase for which the others then wait.
package loader

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"moco"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"moco/augment"
	"moco/data"
	"moco/internal/rng"
	"moco/ranks"
)

// Options say how batches are made.
type Options struct {
	Batch    int
	Reading  data.Reading // how pictures are read before views are drawn
	DropLast bool         // leave out the images at an epoch's end that do not fill a batch
	Seed     uint64       // of the order and the views
	Workers  int          // goroutines that decode and draw
	MaxBad   float64      // share of the set that may be unreadable
	// Grouped draws the second view from another image of the first one's group (Set.Group), which the
	// set must have. A batch's ids are then the groups'.
	Grouped bool
	MaxGap  int // with Grouped: the most places in the group from one image to the other; 0: anywhere
	// Share is what this process has of each batch: the rows of so many of all replicas. The zero value
	// is all.
	Share ranks.Share
	Log   *slog.Logger
}

// Loader makes the batches of a set. It is not safe for concurrent use.
type Loader struct {
	set      *data.Set
	policies [2]augment.Policy // of first and second views
	o        Options

	order   []int
	epoch   int // of order; -1 before the first
	size    int // of the batch's views; 0: the policy's
	workers []worker
	keys    []int32 // the order of keys, where a batch does not hold it

	mu  sync.Mutex
	bad map[int]string // unreadable images, by what is wrong with them
}

// worker is the memory of one goroutine.
type worker struct {
	image, partner data.Image
	scratch        augment.Scratch
}

// Purposes of random streams, so that none repeats another.
const (
	orderStream = 100 + iota
	viewStream
	shuffleStream
	partnerStream
	phaseStream
)

// New returns a loader of a set that is not empty.
func New(set *data.Set, policy augment.Policy, o Options) *Loader {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Share.Of == 0 {
		o.Share = ranks.Share{Count: 1, Of: 1}
	}
	return &Loader{
		set:      set,
		policies: [2]augment.Policy{policy, policy.ForSecond()},
		o:        o,
		epoch:    -1,
		workers:  make([]worker, max(1, o.Workers)),
		bad:      map[int]string{},
	}
}

// StepsPerEpoch is the number of batches in an epoch.
func (l *Loader) StepsPerEpoch() int {
	if l.o.DropLast {
		return l.set.Len() / l.o.Batch
	}
	return (l.set.Len() + l.o.Batch - 1) / l.o.Batch
}

// BatchSize is the number of images in a step of an epoch: less than Batch only in the last one.
func (l *Loader) BatchSize(step int) int {
	return min(l.o.Batch, l.set.Len()-step*l.o.Batch)
}

// Bad is the number of unreadable images met so far.
func (l *Loader) Bad() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.bad)
}

// Unreadable is the unreadable images met so far, with what is wrong with each.
func (l *Loader) Unreadable() map[int]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.bad)
}

// Learn takes over unreadable images that other processes have met and told of. Too many are an error,
// as in Fill.
func (l *Loader) Learn(unreadable map[int]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.bad, unreadable)
	return l.tooMany()
}

// Fill makes this process's share of batch number step of an epoch. Each slice of b has the share's
// images' worth, and may be nil. Views have b.Size pixels a side, or the policy's own if that is 0. An
// image that cannot be read is named in the log, once, and its place is given to the next readable image
// of the set; when more than MaxBad of the set are unreadable, that is an error.
func (l *Loader) Fill(ctx context.Context, epoch, step int, b moco.Batch) error {
	l.arrange(epoch)
	l.size = b.Size
	n := l.BatchSize(step)
	images := l.order[step*l.o.Batch : step*l.o.Batch+n]
	l.shuffle(epoch, step, n, &b)
	lo, hi := l.o.Share.Rows(n)
	tasks := tasksOf(&b, lo, hi, l.keys)
	return l.parallel(ctx, len(tasks), func(w *worker, i int) error {
		t := tasks[i]
		image, id, err := l.views(w, epoch, images[t.image], t.views, t.keyViews)
		if err != nil || t.row < 0 {
			return err
		}
		if b.IDs != nil {
			b.IDs[t.row] = int32(id)
		}
		if b.Labels != nil {
			b.Labels[t.row] = int32(l.set.Label(image))
		}
		return nil
	})
}

// arrange finds the order of an epoch.
func (l *Loader) arrange(epoch int) {
	if epoch == l.epoch {
		return
	}
	r := rng.New(l.o.Seed, orderStream, uint64(epoch))
	l.order = slices.Grow(l.order[:0], l.set.Len())[:l.set.Len()]
	r.Perm(l.order)
	if l.o.Grouped {
		l.spread(epoch)
	}
	l.epoch = epoch
}

// shuffle finds the order in which the keys of a batch of n are encoded.
func (l *Loader) shuffle(epoch, step, n int, b *moco.Batch) {
	l.keys = slices.Grow(l.keys[:0], n)[:n]
	r := rng.New(l.o.Seed, shuffleStream, uint64(epoch), uint64(step))
	for i := range l.keys { // Fisher-Yates, on int32
		j := r.IntN(i + 1)
		l.keys[i] = l.keys[j]
		l.keys[j] = int32(i)
	}
	copy(b.Shuffle, l.keys)
	if b.Unshuffle != nil {
		for i, from := range l.keys {
			b.Unshuffle[from] = int32(i)
		}
	}
}

// task is the views of one image of a batch, where they go.
type task struct {
	image           int         // its place in the batch
	row             int         // its row in the share; -1 if it has none
	views, keyViews [][]float32 // its views, and again in the order of keys; nil: not wanted
}

// tasksOf lists the images of which a share has views: those of its rows, lo to hi of the batch, and
// those that come in its place in the order of keys.
func tasksOf(b *moco.Batch, lo, hi int, keys []int32) []task {
	n := hi - lo
	tasks := make([]task, n)
	rows := func(views [][]float32, i int) [][]float32 {
		of := make([][]float32, len(views))
		for v, x := range views {
			if x != nil {
				each := len(x) / n
				of[v] = x[i*each : (i+1)*each]
			}
		}
		return of
	}
	for i := range tasks {
		tasks[i] = task{image: lo + i, row: i, views: rows(b.Views, i)}
	}
	if b.KeyViews == nil {
		return tasks
	}
	for i, image := range keys[lo:hi] {
		t := task{image: int(image), row: -1}
		own := &t
		if at := int(image) - lo; at >= 0 && at < n { // read once for both
			own = &tasks[at]
		}
		own.keyViews = rows(b.KeyViews, i)
		if own == &t {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// views reads an image, or the next that can be, and draws views of it to each of the lists. It returns
// which image that is, and the id that a step knows it by.
func (l *Loader) views(w *worker, epoch, wanted int, lists ...[][]float32) (image, id int, err error) {
	image, first, err := l.read(wanted, &w.image)
	if err != nil {
		return 0, 0, err
	}
	id, second := image, first
	if l.o.Grouped {
		id = l.set.Group(image)
		partner, err := l.readPartner(epoch, image, &w.partner)
		if err != nil {
			return 0, 0, err
		}
		second = cmp.Or(partner, first)
	}
	for _, list := range lists {
		for view, x := range list {
			if x == nil {
				continue
			}
			r := rng.New(l.o.Seed, viewStream, uint64(epoch), uint64(image), uint64(view))
			policy := l.policies[view%2] // third views are drawn as first ones are
			if l.size != 0 {
				policy.Size = l.size
			}
			policy.View(x, []*data.Image{first, second}[view%2], &r, &w.scratch)
		}
	}
	return image, id, nil
}

// spread sorts the order so that the images of a group lie as far from each other in an epoch as
// they can: the j-th of n comes at (j + phase)/n of its length, the phase being the group's own. So
// a batch holds two of a group only where a group has more images than the epoch steps.
func (l *Loader) spread(epoch int) {
	seen := make([]int, l.set.Groups())
	phase := make([]float64, len(seen))
	for g := range phase {
		r := rng.New(l.o.Seed, phaseStream, uint64(epoch), uint64(g))
		phase[g] = r.Float64()
	}
	at := make([]float64, l.set.Len())
	for _, i := range l.order {
		g := l.set.Group(i)
		at[i] = (float64(seen[g]) + phase[g]) / float64(len(l.set.Members(g)))
		seen[g]++
	}
	slices.SortStableFunc(l.order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
}

// readPartner reads the image that is positive to image i in an epoch: one of the others of its
// group, within MaxGap. One that cannot be read gives its place to the next; where none can, it
// returns nil: image i is its own partner, as with views.
func (l *Loader) readPartner(epoch, i int, room *data.Image) (*data.Image, error) {
	members, at := l.set.Members(l.set.Group(i)), l.set.Place(i)
	from, to := 0, len(members)-1
	if l.o.MaxGap > 0 {
		from, to = max(from, at-l.o.MaxGap), min(to, at+l.o.MaxGap)
	}
	if others := to - from; others > 0 {
		r := rng.New(l.o.Seed, partnerStream, uint64(epoch), uint64(i))
		start := r.IntN(others)
		for k := range others {
			j := from + (start+k)%others
			if j >= at { // i itself is left out
				j++
			}
			m, err := l.try(members[j], room)
			if m != nil || err != nil {
				return m, err
			}
		}
	}
	return nil, nil
}

// try reads image i, to room where it is not kept in memory. It returns nil if the image is known, or
// found, to be unreadable. Too many of those are an error.
func (l *Loader) try(i int, room *data.Image) (*data.Image, error) {
	l.mu.Lock()
	_, known := l.bad[i]
	l.mu.Unlock()
	if known {
		return nil, nil
	}
	m, err := l.set.Borrow(i, l.o.Reading, room)
	if err == nil {
		return m, nil
	}
	return nil, l.note(i, err)
}

// read reads image i, or the next one that can be, and returns which.
func (l *Loader) read(i int, room *data.Image) (int, *data.Image, error) {
	for range l.set.Len() {
		if m, err := l.try(i, room); m != nil || err != nil {
			return i, m, err
		}
		i = (i + 1) % l.set.Len()
	}
	return 0, nil, fmt.Errorf("none of the %d images can be read", l.set.Len())
}

// note records an unreadable image; too many are an error.
func (l *Loader) note(i int, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.bad[i]; known {
		return nil
	}
	l.bad[i] = err.Error()
	l.o.Log.Warn("image skipped", "image", l.set.Name(i), "error", err)
	return l.tooMany()
}

// tooMany is an error where more images are unreadable than MaxBad allows.
func (l *Loader) tooMany() error {
	if allowed := int(l.o.MaxBad * float64(l.set.Len())); len(l.bad) > allowed {
		var some []string
		for i := range l.bad {
			some = append(some, l.bad[i])
		}
		slices.Sort(some)
		return fmt.Errorf("%d of %d images cannot be read, more than max_bad allows (%v): %s; remove them or raise max_bad",
			len(l.bad), l.set.Len(), l.o.MaxBad, strings.Join(some[:min(3, len(some))], "; "))
	}
	return nil
}

// parallel runs f for 0..n-1 on the workers and returns the first error.
func (l *Loader) parallel(ctx context.Context, n int, f func(w *worker, i int) error) error {
	return Parallel(ctx, n, len(l.workers), func(w, i int) error { return f(&l.workers[w], i) })
}

// Parallel runs f(worker, i) for every i below n on some goroutines, until one fails or the context
// ends, and returns the first error. It is not an errgroup, because each worker has memory of its own,
// which its number finds.
func Parallel(ctx context.Context, n, workers int, f func(worker, i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for w := range min(workers, n) {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = f(w, i)
				}
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
