package classify

import (
	"context"
	"math"
	"slices"

	"moco/engine"
)

// Sizes of the search for C.
const (
	// sampleRows is how many rows choose C: more choose the same one within the noise.
	sampleRows = 2048
	// foldRows is up to how many rows all are held out in turn, for temperature and estimate. Of
	// more, one of manyFolds is enough.
	foldRows, manyFolds = 10_000, 10
	// Of few rows a fit must not lack many, so there are more folds.
	folds, foldsOfFew, few = 5, 10, 500
)

// Strengths are C times the spread of the features. Those from weakest are tried by coarse factors,
// then those beside the best by fine ones.
const (
	weakest, strongest = 0.1, 1e6
	coarse             = 10.0
	defaultStrength    = 3.0
	smallestSpread     = 1e-12
	// clearly is how much more loss than the least ends the search. Less than that may be chance.
	clearly = 1.01
)

var fine = math.Sqrt(coarse)

// DefaultC is the C of a classifier for which nothing can be held out, for features of the given
// spread: the mean squared distance of a row from the mean of all. Losses and penalty do not
// change when features are scaled and C with the inverse square of that.
func DefaultC(spread float64) float64 { return defaultStrength / math.Max(spread, smallestSpread) }

// fold is a fit without some rows, which it then predicts. It goes on from where it was when it is
// fitted again.
type fold struct {
	objective *objective
	shape     *curvature
	logits    engine.Program // of the rows held out
	out       []int          // the rows held out
	w         []float64
}

// newFold puts rows on the engine, and apart from them those of a part that is held out.
func (f *fitter) newFold(r *rows, part []int, held int, start []float64) (*fold, error) {
	rest, out := split(part, held)
	o, err := newObjective(f.engine, r.part(rest), f.mean)
	if err != nil {
		return nil, err
	}
	d := &fold{objective: o, shape: f.shape, out: out, w: slices.Clone(start)}
	if d.logits, err = o.logits(r.part(out), f.mean); err != nil {
		o.close()
		return nil, err
	}
	return d, nil
}

func (d *fold) close() {
	d.logits.Close()
	d.objective.close()
}

// predict fits with a C, and writes the logits of the rows held out to their places in h.
func (d *fold) predict(ctx context.Context, c, tolerance float64, h *heldOut) error {
	if err := d.objective.minimise(ctx, d.w, c, tolerance, d.shape); err != nil {
		return err
	}
	if err := d.objective.load(d.w); err != nil {
		return err
	}
	if err := d.logits.Run(); err != nil {
		return err
	}
	logits := d.logits.Output("logits").Float32s()
	for k, i := range d.out {
		copy(h.row(i), logits[k*d.objective.padded:])
	}
	return nil
}

// foldsOf is how many folds rows are dealt to: no more than the largest class has rows.
func foldsOf(r *rows) int {
	k := folds
	switch {
	case r.len() <= few:
		k = foldsOfFew
	case r.len() > foldRows:
		k = manyFolds
	}
	return min(k, slices.Max(r.counts()))
}

// sample is the rows that choose C.
func (f *fitter) sample() *rows {
	if f.rows.len() <= sampleRows {
		return f.rows
	}
	return f.rows.part(sample(f.rows.labels, len(f.rows.classes), sampleRows))
}

// search tries Cs on folds of rows.
type search struct {
	rows  *rows
	part  []int // of each row
	folds []*fold
	best  float64
	least float64  // the loss with it
	of    *heldOut // what fits with it make of the rows held out
}

// choose finds the C whose held-out rows have the least loss once they are calibrated. It returns
// their logits too. Fits begin at start. Weak Cs come first, since these are quick and the next
// begins where they end, until it gets clearly worse. With an earlier classifier only that one's C
// and those beside it are tried.
func (f *fitter) choose(ctx context.Context, start []float64) (c float64, of *heldOut, err error) {
	s := &search{rows: f.sample(), least: math.Inf(1)}
	s.part = deal(s.rows.labels, len(s.rows.classes), foldsOf(s.rows))
	defer func() {
		for _, d := range s.folds {
			d.close()
		}
	}()
	for held := range foldsOf(s.rows) {
		d, err := f.newFold(s.rows, s.part, held, start)
		if err != nil {
			return 0, nil, err
		}
		s.folds = append(s.folds, d)
	}
	spread := math.Max(f.spread, smallestSpread)
	list := []float64{}
	if f.warm() && f.rows.len() < 2*f.from.Estimate.Labelled && f.from.C > 0 {
		list = append(list, f.from.C)
	} else {
		for strength := weakest; strength <= strongest; strength *= coarse {
			list = append(list, strength/spread)
		}
	}
	for _, c := range list {
		loss, err := s.try(ctx, c)
		if err != nil {
			return 0, nil, err
		}
		if loss > clearly*s.least {
			break
		}
	}
	for _, c := range []float64{s.best * fine, s.best / fine} {
		if _, err := s.try(ctx, c); err != nil {
			return 0, nil, err
		}
	}
	return s.best, s.of, nil
}

// try fits all folds with a C, and keeps it if it is the best so far.
func (s *search) try(ctx context.Context, c float64) (loss float64, err error) {
	h := newHeldOut(s.rows)
	for _, d := range s.folds {
		if err := d.predict(ctx, c, roughly, h); err != nil {
			return 0, err
		}
	}
	h = h.only(s.part)
	if _, loss = h.temperature(); loss < s.least {
		s.best, s.least, s.of = c, loss, h
	}
	return loss, nil
}

// holdOut predicts rows by fits that have not seen them: all rows in turn, or of many rows one
// fold. It moves w to the last fit. Each fit begins at w: where another one ended it would know the
// rows that are held out from it.
func (f *fitter) holdOut(ctx context.Context, w []float64, c float64) (*heldOut, error) {
	r := f.rows
	k := foldsOf(r)
	part := deal(r.labels, len(r.classes), k)
	h, last, tolerance := newHeldOut(r), w, roughly
	if r.len() > foldRows {
		for i, p := range part {
			if p > 0 { // the first fold alone is held out
				part[i] = -1
			}
		}
		k, tolerance = 1, loosely
	}
	for held := range k {
		d, err := f.newFold(r, part, held, w)
		if err != nil {
			return nil, err
		}
		err = d.predict(ctx, c, tolerance, h)
		d.close()
		if err != nil {
			return nil, err
		}
		last = d.w
	}
	copy(w, last)
	return h.only(part), nil
}
