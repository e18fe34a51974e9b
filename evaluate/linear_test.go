package evaluate

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/internal/rng"
	"moco/weights"
)

// clouds is n points of some classes around a direction for each class. The closer spread is to 0,
// the easier the task.
func clouds(n, dim, classes int, spread float64, seed uint64) *Embedded {
	e := &Embedded{Dim: dim}
	for c := range classes {
		e.Classes = append(e.Classes, string(rune('a'+c)))
	}
	random := rng.New(seed)
	for i := range n {
		label := i % classes
		center := rng.New(uint64(label), 77)
		row := make([]float32, dim)
		for j := range row {
			row[j] = float32(center.Normal() + spread*random.Normal())
		}
		e.Features, e.Labels = append(e.Features, encoder.Normalise(row)...), append(e.Labels, label)
	}
	return e
}

func TestLinear(t *testing.T) {
	e, err := cpu.New(cpu.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	train, test := clouds(700, 16, 7, 1.2, 1), clouds(300, 16, 7, 1.2, 2)
	l := Linear{Rates: []float64{1e-7, 0.01, 0.3, 1e30}, Epochs: 10, Milestones: []int{6, 8}, Batch: 64, HeldOut: 0.1}
	calls := 0
	r, err := l.Classify(context.Background(), e, train, test, func(Progress) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	// No classifier can do better than the nearest true centre.
	best := 0.0
	for i, label := range test.Labels {
		nearest, at := math.Inf(-1), -1
		for c := range 7 {
			center := rng.New(uint64(c), 77)
			var dot, norm float64
			for j := range 16 {
				v := center.Normal()
				dot += v * float64(test.Features[i*16+j])
				norm += v * v
			}
			if dot /= math.Sqrt(norm); dot > nearest {
				nearest, at = dot, c
			}
		}
		if at == label {
			best += 100.0 / 300
		}
	}
	if r.Top1 < best-6 || r.Top1 > best+6 || r.Top5 < r.Top1 || r.Top5 > 100 {
		t.Errorf("accuracy %.1f (top 5 %.1f), the nearest centre has %.1f", r.Top1, r.Top5, best)
	}
	for _, accuracy := range []float64{r.Top1, r.Top5, r.Rates[1].Test} {
		if images := math.Round(accuracy * 3); accuracy != 100*images/300 {
			t.Errorf("an accuracy of %v%% is not the share that %v of 300 images are", accuracy, images)
		}
	}
	if r.Rate != 0.01 && r.Rate != 0.3 {
		t.Errorf("the rate %v is chosen among %+v", r.Rate, r.Rates)
	}
	if r.Rates[0].HeldOut > r.Top1-20 && r.Rates[3].Test > r.Top1 {
		t.Errorf("a rate of almost nothing and one of 1e30 do as well: %+v", r.Rates)
	}
	if calls != 10 {
		t.Errorf("progress is told %d times in 10 epochs", calls)
	}
	one, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Classify(context.Background(), one, train, test, nil)
	if err != nil || again.Rates[2] != r.Rates[2] {
		t.Errorf("on one worker: %+v, %v; want %+v", again.Rates, err, r.Rates)
	}
	// A single rate must give the same as among others.
	l.Rates = []float64{0.3}
	if alone, err := l.Classify(context.Background(), e, train, test, nil); err != nil || alone.Rates[0] != r.Rates[2] {
		t.Errorf("alone: %+v, %v; want %+v", alone.Rates, err, r.Rates[2])
	}
}

func TestLinearRefuses(t *testing.T) {
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	set := clouds(40, 8, 2, 1, 1)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		ctx         context.Context
		change      func(l *Linear)
		train, test *Embedded
		want        string
	}{
		{context.Background(), func(l *Linear) { l.Rates = nil }, set, set, "positive learning rates"},
		{context.Background(), func(l *Linear) { l.Rates = []float64{-1} }, set, set, "positive learning rates"},
		{context.Background(), func(l *Linear) { l.Epochs = 0 }, set, set, "epochs"},
		{context.Background(), func(l *Linear) { l.HeldOut = 1 }, set, set, "held-out"},
		{context.Background(), func(*Linear) {}, set, clouds(10, 9, 2, 1, 1), "have 8 dimensions, the test features 9"},
		{context.Background(), func(*Linear) {}, clouds(10, 8, 1, 1, 1), set, "at least 2 classes"},
		{context.Background(), func(*Linear) {}, set, clouds(10, 8, 3, 1, 1), `class "c"`},
		{context.Background(), func(*Linear) {}, clouds(2, 8, 2, 1, 1), set, "too few"},
		{cancelled, func(*Linear) {}, set, set, "canceled"},
		{context.Background(), func(l *Linear) { l.Rates, l.Epochs = []float64{1e39, 1e300}, 2 }, set, set, "diverged at every rate"},
	} {
		l := DefaultLinear()
		c.change(&l)
		_, err := l.Classify(c.ctx, e, c.train, c.test, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.want == "canceled" && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestLinearViews: training on views follows from the seed alone, leaves the encoder unchanged, and
// the returned classifier has the accuracy that is reported.
func TestLinearViews(t *testing.T) {
	ctx := context.Background()
	path := saved(t, func(*weights.File) {})
	l := Linear{Rates: []float64{0.01, 0.3}, Epochs: 3, Milestones: []int{2}, Batch: 8, HeldOut: 0.2}
	open := func(name string) *data.Set {
		set, err := data.Open(ctx, name, data.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		return set
	}
	train, test := open("builtin:train?n=40&size=12"), open("builtin:test?n=30&size=12")
	run := func(ctx context.Context, workers int, l Linear, progress func(Progress)) (*LinearResult, *Embedded, error) {
		e, err := cpu.New(cpu.Options{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		m, err := encoder.OpenWith(context.Background(), path, encoder.Options{Engine: e, Batch: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		tested, err := Features(context.Background(), m, test, encoder.Backbone, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.ClassifyViews(ctx, e, m, encoder.Backbone, train, tested, progress)
		return r, tested, err
	}
	var told []Progress
	r, tested, err := run(ctx, 2, l, func(p Progress) { told = append(told, p) })
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 18 || told[5].Epoch != 1 || told[4].Epoch != 0 || told[17].Share != 1 || !r.Views ||
		r.Train != 40 || r.Test != 30 {
		t.Errorf("told %v; %+v", told, r)
	}
	right := 0
	for i, label := range tested.Labels {
		logits := make([]float32, len(r.Classes))
		for c := range logits {
			logits[c] = r.Probe.Bias.Float32s()[c]
			for j, v := range tested.Features[i*tested.Dim : (i+1)*tested.Dim] {
				logits[c] += r.Probe.Weight.Float32s()[c*tested.Dim+j] * r.Probe.Scale * v
			}
		}
		if rank(logits, label) == 0 {
			right++
		}
	}
	// Rounding may change one image.
	if math.Abs(100*float64(right)/30-r.Top1) > 3.4 {
		t.Errorf("the classifier that is given is right for %d of 30 images, the accuracy is %v", right, r.Top1)
	}
	again, _, err := run(ctx, 1, l, nil)
	if err != nil || again.Rates[0] != r.Rates[0] || !slices.Equal(again.Probe.Weight.Float32s(), r.Probe.Weight.Float32s()) {
		t.Errorf("on one worker: %+v, %v; want %+v", again.Rates, err, r.Rates)
	}
	l.Seed++
	if other, _, err := run(ctx, 2, l, nil); err != nil ||
		slices.Equal(other.Probe.Weight.Float32s(), r.Probe.Weight.Float32s()) {
		t.Errorf("another seed: %v, or the same classifier", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	if _, _, err := run(stopped, 1, l, func(Progress) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped after a batch, it says %v", err)
	}
}
