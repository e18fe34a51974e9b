package classify

import (
	"context"
	"math"

	"moco/encoder"
	"moco/engine"
	"moco/tensor"
)

// Sizes of the search.
const (
	// sampleRows is how many rows choose C: more choose the same one within the noise.
	sampleRows = 2048
	// foldRows is up to how many rows all are held out in turn, for temperature and estimate; of
	// more, one fold is enough.
	foldRows = 20_000
	// manyFolds are dealt to few rows, where each that a fit lacks counts.
	manyFolds, manyFoldsRows = 10, 200
	fewFolds                 = 5
)

// Strengths are C times the spread of the features. Those that are tried rise from weakest by
// factors of the root of ten.
const (
	weakest, strongest = 1.0, 1e6
	defaultStrength    = 100.0
	smallestSpread     = 1e-12
)

var ratio = math.Sqrt(10)

// What a fit stops at: the fall that is left of the mean loss, and iterations.
const (
	roughly, closely = 1e-5, 1e-7
	iterations       = 200
)

// fitter fits a classifier.
type fitter struct {
	engine engine.Engine
	rows   *rows
	from   *Classifier
	mean   []float32 // of the features
	spread float64
}

// fit chooses C, calibrates, estimates and fits all rows.
func (f *fitter) fit(ctx context.Context, c *Classifier, given float64) error {
	f.mean, f.spread = f.rows.centre()
	start := f.start()
	counts := f.rows.counts()
	h := &heldOut{classes: len(c.Classes)}
	c.C, c.Temperature = given, 1
	if given == 0 {
		c.C = DefaultC(f.spread)
	}
	single := true
	for _, n := range counts {
		single = single && n == 1
	}
	if !single {
		var err error
		if given == 0 {
			if c.C, h, err = f.choose(ctx, start); err != nil {
				return err
			}
		}
		if given != 0 || f.rows.len() > sampleRows {
			if h, err = f.holdOut(ctx, start, c.C); err != nil {
				return err
			}
		}
		c.Temperature, _ = h.temperature()
	}
	c.Estimate = estimate(h, c.Classes, counts)
	all, err := newObjective(f.engine, f.rows, f.mean)
	if err != nil {
		return err
	}
	defer all.close()
	if err := all.minimise(ctx, start, c.C, closely); err != nil {
		return err
	}
	f.finish(c, start)
	return nil
}

// start is where a fit begins: weights of zero and intercepts by the classes' shares, or the earlier
// classifier.
func (f *fitter) start() []float64 {
	classes, dim := len(f.rows.classes), f.rows.dim
	w := make([]float64, classes*(dim+1))
	for c, n := range f.rows.counts() {
		w[classes*dim+c] = math.Log(float64(n) / float64(f.rows.len()))
	}
	if f.from == nil || f.from.Dim != dim {
		return w
	}
	for c, name := range f.rows.classes {
		for old, other := range f.from.Classes {
			if other != name {
				continue
			}
			sum := float64(f.from.bias[old])
			for j, v := range f.from.weight[old*dim : (old+1)*dim] {
				w[c*dim+j] = f.from.Temperature * float64(v)
				sum += float64(v) * float64(f.mean[j]) // the fit's features are less their mean
			}
			w[classes*dim+c] = f.from.Temperature * sum
		}
	}
	return w
}

// finish makes the classifier of fitted weights: for features with their mean, and calibrated.
func (f *fitter) finish(c *Classifier, w []float64) {
	classes, dim := len(c.Classes), c.Dim
	c.weight, c.bias = make([]float32, classes*dim), make([]float32, classes)
	for k := range classes {
		b := w[classes*dim+k]
		for j, m := range f.mean {
			c.weight[k*dim+j] = float32(w[k*dim+j] / c.Temperature)
			b -= w[k*dim+j] * float64(m)
		}
		c.bias[k] = float32(b / c.Temperature)
	}
}

// fold is a fit without some rows, which it predicts.
type fold struct {
	objective *objective
	logits    engine.Program // of the rows held out
	out       []int          // the rows held out
	w         []float64
}

// newFold puts the rows of a list on the engine, apart those held out.
func (f *fitter) newFold(r *rows, rest, out []int, start []float64) (*fold, error) {
	o, err := newObjective(f.engine, r.part(rest), f.mean)
	if err != nil {
		return nil, err
	}
	d := &fold{objective: o, out: out, w: append([]float64(nil), start...)}
	if d.logits, err = o.logits(f.engine, r.part(out), f.mean); err != nil {
		o.close()
		return nil, err
	}
	return d, nil
}

func (d *fold) close() {
	d.logits.Close()
	d.objective.close()
}

// predict fits with a C, and writes the logits of the rows held out to where h has room for them.
func (d *fold) predict(ctx context.Context, c float64, h *heldOut) error {
	if err := d.objective.minimise(ctx, d.w, c, roughly); err != nil {
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
		copy(h.row(i), logits[k*h.classes:(k+1)*h.classes])
	}
	return nil
}

// foldsOf is how many folds rows are dealt to: no more than the largest class has rows.
func foldsOf(r *rows) int {
	k, largest := fewFolds, 0
	if r.len() <= manyFoldsRows {
		k = manyFolds
	}
	for _, n := range r.counts() {
		largest = max(largest, n)
	}
	return min(k, largest)
}

// choose tries strengths on a sample of the rows, weakest first, until it gets worse twice in a row.
// It returns the best C and what that C's fits make of the rows held out.
func (f *fitter) choose(ctx context.Context, start []float64) (best float64, of *heldOut, err error) {
	r := f.rows
	if r.len() > sampleRows {
		r = r.part(sample(r.labels, len(r.classes), sampleRows))
	}
	part := folds(r.labels, len(r.classes), foldsOf(r))
	var all []*fold
	defer func() {
		for _, d := range all {
			d.close()
		}
	}()
	for k := range foldsOf(r) {
		rest, out := split(part, k)
		d, err := f.newFold(r, rest, out, start)
		if err != nil {
			return 0, nil, err
		}
		all = append(all, d)
	}
	least, worse := math.Inf(1), 0
	for _, c := range f.grid() {
		h := &heldOut{logits: make([]float32, r.len()*len(r.classes)), labels: r.labels, classes: len(r.classes)}
		for _, d := range all {
			if err := d.predict(ctx, c, h); err != nil {
				return 0, nil, err
			}
		}
		h = h.only(part)
		_, loss := h.temperature()
		if loss < least {
			best, of, least, worse = c, h, loss, 0
		} else if worse++; worse == 2 {
			break
		}
	}
	return best, of, nil
}

// grid is the Cs that are tried, rising.
func (f *fitter) grid() (list []float64) {
	if o := f.from; o != nil && o.Dim == f.rows.dim && f.rows.len() < 2*o.Estimate.Labelled {
		return []float64{o.C / ratio, o.C, o.C * ratio}
	}
	spread := math.Max(f.spread, smallestSpread)
	for s := weakest; s < strongest*1.1; s *= ratio {
		list = append(list, s/spread)
	}
	return list
}

// holdOut predicts rows by fits that have not seen them: all rows in turn, or of many rows one fold.
func (f *fitter) holdOut(ctx context.Context, start []float64, c float64) (*heldOut, error) {
	r := f.rows
	k := foldsOf(r)
	part := folds(r.labels, len(r.classes), k)
	h := &heldOut{logits: make([]float32, r.len()*len(r.classes)), labels: r.labels, classes: len(r.classes)}
	for held := range k {
		rest, out := split(part, held)
		d, err := f.newFold(r, rest, out, start)
		if err != nil {
			return nil, err
		}
		err = d.predict(ctx, c, h)
		d.close()
		if err != nil {
			return nil, err
		}
		copy(start, d.w) // the next fit is near
		if r.len() > foldRows {
			for i, p := range part {
				if p != held {
					part[i] = -1
				}
			}
			break
		}
	}
	return h.only(part), nil
}

// only keeps rows that are in a part.
func (h *heldOut) only(part []int) *heldOut {
	kept := &heldOut{classes: h.classes}
	for i, p := range part {
		if p >= 0 {
			kept.logits, kept.labels = append(kept.logits, h.row(i)...), append(kept.labels, h.labels[i])
		}
	}
	return kept
}

// Probe is the classifier as a linear probe, whose logits are calibrated: their softmax is what
// Probabilities gives.
func (c *Classifier) Probe() *encoder.Probe {
	p := &encoder.Probe{Weight: tensor.New(tensor.Float32, len(c.Classes), c.Dim),
		Bias: tensor.New(tensor.Float32, len(c.Classes)), Scale: 1, Features: c.Layer, Classes: c.Classes, Encoder: c.Encoder}
	copy(p.Weight.Float32s(), c.weight)
	copy(p.Bias.Float32s(), c.bias)
	return p
}
