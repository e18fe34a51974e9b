package classify

import (
	"context"
	"math"
	"slices"

	"moco/engine"
)

// What a fit stops at: how much of the mean loss is left to gain, and iterations. Fits that are
// only compared with each other need not be close. Of very many rows what is left is far less than
// what other rows would change, and stopping there does not make other rows' losses worse.
const (
	closely, roughly, loosely = 1e-6, 3e-5, 3e-4
	iterations                = 200
)

// fitter fits a classifier to rows.
type fitter struct {
	engine engine.Engine
	rows   *rows
	from   *Classifier
	mean   []float32  // of the features
	spread float64    // of the features around it
	shape  *curvature // of a sample of them
}

// fit chooses C unless one is given, calibrates, estimates, and fits to all rows; of very many, a
// part that is held out for temperature and estimate is left out, since a second fit would gain
// nothing.
func (f *fitter) fit(ctx context.Context, c *Classifier, given float64) (err error) {
	f.mean, f.spread = f.rows.centre()
	if f.shape, err = newCurvature(f.engine, f.sample(), f.mean, f.spread); err != nil {
		return err
	}
	// Fits that are tested must not begin at the earlier classifier, which has seen all rows.
	w, h := f.start(), &heldOut{classes: len(c.Classes)}
	testable := testable(f.rows.counts())
	switch c.C = given; {
	case given == 0 && testable:
		if c.C, h, err = f.choose(ctx, w); err != nil {
			return err
		}
	case given == 0:
		c.C = DefaultC(f.spread)
	}
	many := f.rows.len() > foldRows
	if testable && (many || given != 0 || f.rows.len() > sampleRows) {
		if h, err = f.holdOut(ctx, w, c.C); err != nil {
			return err
		}
	}
	if !many || !testable {
		f.begin(w)
		if err := f.all(ctx, w, c.C); err != nil {
			return err
		}
	}
	c.Temperature = 1
	if testable {
		c.Temperature, _ = h.temperature()
	}
	c.Estimate = estimate(h, c.Classes, f.rows.counts())
	f.finish(c, w)
	return nil
}

// testable tells whether rows can be held out to choose by: two classes have more than one. With one
// such class, what is held out is always of that class, and a fit that knows no other looks best.
func testable(counts []int) bool {
	several := 0
	for _, n := range counts {
		if n > 1 {
			several++
		}
	}
	return several > 1
}

// all fits to all rows.
func (f *fitter) all(ctx context.Context, w []float64, c float64) error {
	o, err := newObjective(f.engine, f.rows, f.mean)
	if err != nil {
		return err
	}
	defer o.close()
	return o.minimise(ctx, w, c, closely, f.shape)
}

// start is where fits begin: weights of zero, and intercepts by the classes' shares.
func (f *fitter) start() []float64 {
	classes, dim := len(f.rows.classes), f.rows.dim
	w := make([]float64, classes*(dim+1))
	for c, n := range f.rows.counts() {
		w[classes*dim+c] = math.Log(float64(n) / float64(f.rows.len()))
	}
	return w
}

// begin moves w to the earlier classifier, where there is one.
func (f *fitter) begin(w []float64) {
	classes, dim := len(f.rows.classes), f.rows.dim
	if !f.warm() {
		return
	}
	for c, name := range f.rows.classes {
		old := slices.Index(f.from.Classes, name)
		if old < 0 {
			continue
		}
		sum := float64(f.from.bias[old])
		for j, v := range f.from.weight[old*dim : (old+1)*dim] {
			w[c*dim+j] = f.from.Temperature * float64(v)
			sum += float64(v) * float64(f.mean[j]) // fits see features less their mean
		}
		w[classes*dim+c] = f.from.Temperature * sum
	}
}

// warm tells whether there is an earlier classifier to start from.
func (f *fitter) warm() bool { return f.from != nil && f.from.Dim == f.rows.dim }

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
