package classify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"moco/encoder"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/tensor"
)

// fitted fits a set.
func fitted(t testing.TB, set *evaluate.Embedded, o Options) *Classifier {
	t.Helper()
	c, err := Fit(t.Context(), set, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// accuracy is the share of a set's rows that a classifier gets right.
func accuracy(t testing.TB, c *Classifier, set *evaluate.Embedded) float64 {
	t.Helper()
	p, err := c.Predict(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for i, l := range set.Labels {
		if c.Classes[p[i].Label] == set.Classes[l] {
			right++
		}
	}
	return float64(right) / float64(set.Len())
}

// TestScikitLearn compares weights and probabilities with those of scikit-learn's
// LogisticRegression (testdata/make_reference.py).
func TestScikitLearn(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		X, Test [][]float32
		Labels  []int
		Cases   []struct {
			C             float64
			Two           bool
			Weight        [][]float64
			Bias          []float64
			Probabilities [][]float64
		}
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for _, one := range want.Cases {
		set := &evaluate.Embedded{Dim: 4, Features: slices.Concat(want.X...), Labels: slices.Clone(want.Labels),
			Classes: []string{"a", "b", "c"}}
		if one.Two {
			for i, l := range set.Labels {
				if l == 2 {
					set.Labels[i] = -1
				}
			}
		}
		c := fitted(t, set, Options{C: one.C})
		for k := range one.Weight {
			for j, w := range one.Weight[k] {
				if got := c.Temperature * float64(c.weight[k*4+j]); math.Abs(got-w) > 0.01*(1+math.Abs(w)) {
					t.Errorf("C %v: weight %d of class %d is %.4f, want %.4f", one.C, j, k, got, w)
				}
			}
		}
		for i := range c.weight { // as it was before calibration
			c.weight[i] *= float32(c.Temperature)
		}
		for i := range c.bias {
			c.bias[i] *= float32(c.Temperature)
		}
		test := &evaluate.Embedded{Dim: 4, Features: slices.Concat(want.Test...), Labels: make([]int, len(want.Test))}
		got, err := c.Probabilities(t.Context(), test)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range slices.Concat(one.Probabilities...) {
			if math.Abs(float64(got[i])-p) > 2e-3 {
				t.Errorf("C %v: probability %d is %.4f, want %.4f", one.C, i, got[i], p)
			}
		}
	}
}

// TestFit: with more labels it gets better, and it is as good as it expects to be, and as sure.
func TestFit(t *testing.T) {
	t.Parallel()
	test, before := made(4000, 32, 5, 1), 0.0
	for _, n := range []int{5, 50, 1000, 12_000} {
		c := fitted(t, made(n, 32, 5, 2), Options{})
		got, e := accuracy(t, c, test), c.Estimate
		if got <= before {
			t.Errorf("%d labels: %v of the rows are right, and %v with fewer labels", n, got, before)
		}
		before = got
		if e.Labelled != n || len(e.PerClass) != 5 || e.PerClass[0].Labelled != n/5 || e.Enough != (n >= 1000) ||
			e.Enough != (e.Lacking() == "") {
			t.Errorf("%d labels: the estimate is %+v", n, e)
		}
		if n == 5 {
			if e.HeldOut != 0 || e.Low != 0 || e.High != 1 || c.Temperature != 1 {
				t.Errorf("one label a class: the estimate is %+v, the temperature %v", e, c.Temperature)
			}
			continue
		}
		if got < e.Low-0.02 || got > e.High+0.05 {
			t.Errorf("%d labels: %v are right, and %v to %v were expected", n, got, e.Low, e.High)
		}
		p, err := c.Predict(t.Context(), test)
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for _, q := range p {
			mean += float64(q.Confidence) / float64(len(p))
		}
		if n >= 1000 && math.Abs(mean-got) > 0.03 {
			t.Errorf("%d labels: the mean confidence is %v, and %v are right", n, mean, got)
		}
	}
}

// TestWarm: from an earlier classifier comes the same one, and the same estimate of it: what is
// tested must not begin where the tested rows are known.
func TestWarm(t *testing.T) {
	t.Parallel()
	set := made(300, 32, 5, 2)
	cold := fitted(t, set, Options{})
	warm := fitted(t, set, Options{From: cold})
	if warm.C != cold.C || warm.Estimate.HeldOut != cold.Estimate.HeldOut ||
		math.Abs(warm.Estimate.Accuracy-cold.Estimate.Accuracy) > 0.02 {
		t.Errorf("C %v and %v, estimates %v and %v", warm.C, cold.C, warm.Estimate.Interval, cold.Estimate.Interval)
	}
	test := made(500, 32, 5, 3)
	p, err := cold.Probabilities(t.Context(), test)
	if err != nil {
		t.Fatal(err)
	}
	q, err := warm.Probabilities(t.Context(), test)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p {
		if math.Abs(float64(p[i]-q[i])) > 0.05 {
			t.Fatalf("a probability is %v, and %v from a warm start", p[i], q[i])
		}
	}
	other := made(300, 16, 5, 2)
	if c := fitted(t, other, Options{From: cold}); c.Dim != 16 {
		t.Errorf("a classifier of other features gives one of %d", c.Dim)
	}
}

// TestBits: the same bits come of any number of workers, and of a row whatever stands beside it.
func TestBits(t *testing.T) {
	t.Parallel()
	set, test := made(2500, 20, 3, 2), made(1500, 20, 3, 1)
	var weights []float32
	var all []float32
	for _, workers := range []int{1, 3} {
		e, err := cpu.New(cpu.Options{Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		c := fitted(t, set, Options{Engine: e})
		p, err := c.Probabilities(t.Context(), test)
		if err != nil {
			t.Fatal(err)
		}
		if weights != nil && (!slices.Equal(weights, c.weight) || !slices.Equal(all, p)) {
			t.Errorf("%d workers give other bits", workers)
		}
		weights, all = c.weight, p
		one, err := c.Probabilities(t.Context(), test.Part(1400, 1401))
		if err != nil || !slices.Equal(one, p[1400*3:1401*3]) {
			t.Errorf("a row alone gives %v, %v; among others %v", one, err, p[1400*3:1401*3])
		}
	}
}

// TestRefused: what cannot be fitted or predicted is a typed error.
func TestRefused(t *testing.T) {
	t.Parallel()
	good := func() *evaluate.Embedded { return made(20, 8, 2, 0) }
	c := fitted(t, good(), Options{})
	var not *encoder.FeaturesError
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		set := good()
		set.Features[8*7+3], set.Features[8*19] = bad, bad
		if _, err := Fit(t.Context(), set, Options{}); !errors.As(err, &not) || not.First != "row 7" || not.Images != 2 {
			t.Errorf("Fit with %v: %v", bad, err)
		}
		if _, err := c.Predict(t.Context(), set); !errors.As(err, &not) || not.First != "row 7" || not.Images != 2 {
			t.Errorf("Predict with %v: %v", bad, err)
		}
		set.Labels[7], set.Labels[19] = -1, -1 // plays no part
		if _, err := Fit(t.Context(), set, Options{}); err != nil {
			t.Errorf("%v in a row without a label: %v", bad, err)
		}
	}
	for _, c := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, err := Fit(t.Context(), good(), Options{C: c}); err == nil {
			t.Errorf("C may be %v", c)
		}
	}
	one := good()
	for i := range one.Labels {
		one.Labels[i] = 0
	}
	if _, err := Fit(t.Context(), one, Options{}); !errors.Is(err, ErrFewClasses) {
		t.Errorf("one class: %v", err)
	}
	short := good()
	short.Features = short.Features[1:]
	if _, err := Fit(t.Context(), short, Options{}); !errors.Is(err, ErrNoFeatures) {
		t.Errorf("features that are cut: %v", err)
	}
	strange := good()
	strange.Labels[3] = 2
	if _, err := Fit(t.Context(), strange, Options{}); err == nil || !strings.Contains(err.Error(), "row 3 has label 2") {
		t.Errorf("a label without a class: %v", err)
	}
	var dim *DimError
	if _, err := c.Predict(t.Context(), made(5, 9, 2, 0)); !errors.As(err, &dim) || dim.Features != 9 || dim.Classifier != 8 {
		t.Errorf("features of another length: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Fit(ended, good(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// TestOdd: rows that are all the same, classes without rows, and names in two Unicode forms do no
// harm.
func TestOdd(t *testing.T) {
	t.Parallel()
	same := &evaluate.Embedded{Dim: 3, Features: slices.Repeat([]float32{1, 0, 0}, 8), Labels: []int{0, 0, 0, 0, 0, 0, 1, 1},
		Classes: []string{"a", "b"}}
	c := fitted(t, same, Options{})
	p, err := c.Predict(t.Context(), same)
	if err != nil || p[7].Label != 0 || p[7].Confidence < 0.5 || p[7].Confidence > 0.95 {
		t.Errorf("rows that are all the same: %+v, %v", p[7], err)
	}
	set := made(60, 8, 3, 0)
	set.Classes = []string{"nobody", "caf\u00e9", "nobody either", "cafe\u0301", "dog"}
	for i, l := range set.Labels {
		set.Labels[i] = []int{1, 4, 3}[l]
	}
	c = fitted(t, set, Options{})
	if !slices.Equal(c.Classes, []string{"caf\u00e9", "dog"}) || c.Estimate.PerClass[0].Labelled != 40 {
		t.Errorf("the classes are %q, the first with %d labels", c.Classes, c.Estimate.PerClass[0].Labelled)
	}
}

// TestFile: a classifier comes back from its file, which is a probe's, and knows its encoder.
func TestFile(t *testing.T) {
	t.Parallel()
	test := made(50, 8, 3, 1)
	c := fitted(t, made(60, 8, 3, 0), Options{Layer: encoder.Backbone, Encoder: "abc"})
	path := filepath.Join(t.TempDir(), "classifier.safetensors")
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	back, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Estimate.rows = nil // which are not kept
	if !reflect.DeepEqual(back.Estimate, c.Estimate) || back.C != c.C || back.Temperature != c.Temperature ||
		back.Encoder != "abc" || back.Layer != encoder.Backbone {
		t.Errorf("it comes back as %+v", back)
	}
	want, err := c.Probabilities(t.Context(), test)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := back.Probabilities(t.Context(), test); err != nil || !slices.Equal(got, want) {
		t.Errorf("it gives other probabilities, %v", err)
	}
	var other *encoder.OtherProbeError
	if err := back.Check(&encoder.Encoder{SHA256: "def"}); !errors.As(err, &other) || other.Probe != "abc" {
		t.Errorf("another encoder: %v", err)
	}
	homeless := fitted(t, made(60, 8, 3, 0), Options{})
	if err := homeless.Save(path); !errors.Is(err, ErrNoEncoder) {
		t.Errorf("saved without an encoder: %v", err)
	}
}

// probe is a probe as moco eval linear makes them.
func probe() *encoder.Probe {
	p := &encoder.Probe{Weight: tensor.New(tensor.Float32, 2, 3), Bias: tensor.New(tensor.Float32, 2), Scale: 2,
		Features: encoder.Head, Classes: []string{"a", "b"}, Encoder: "abc"}
	p.Weight.Float32s()[0] = 1
	return p
}

// TestProbe: a linear probe is a classifier without an estimate.
func TestProbe(t *testing.T) {
	t.Parallel()
	c, err := fromProbe(probe())
	if err != nil {
		t.Fatal(err)
	}
	if e := c.Estimate; e.Enough || e.High != 1 || !strings.Contains(e.Lacking(), "does not tell") {
		t.Errorf("its estimate is %+v: %s", e, e.Lacking())
	}
	p, err := c.Predict(t.Context(), &evaluate.Embedded{Dim: 3, Features: []float32{1, 0, 0}, Labels: []int{-1}})
	want := float32(1 / (1 + math.Exp(-2)))
	if err != nil || p[0].Label != 0 || math.Abs(float64(p[0].Confidence-want)) > 1e-6 ||
		math.Abs(float64(p[0].Confidence+p[0].Doubt-1)) > 1e-6 {
		t.Errorf("it predicts %+v, %v; want a confidence of %v", p, err, want)
	}
	for want, change := range map[string]func(p *encoder.Probe){
		"its temperature": func(p *encoder.Probe) { p.Notes = map[string]string{temperatureNote: "-1"} },
		"its c":           func(p *encoder.Probe) { p.Notes = map[string]string{strengthNote: "NaN"} },
		"its estimate":    func(p *encoder.Probe) { p.Notes = map[string]string{estimateNote: "{"} },
		"not finite":      func(p *encoder.Probe) { p.Bias.Float32s()[0] = float32(math.NaN()) },
		"at least 2":      func(p *encoder.Probe) { p.Classes = p.Classes[:1] },
	} {
		p := probe()
		change(p)
		if _, err := fromProbe(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// FuzzNotes: whatever the metadata of a file say, it is refused or the classifier works.
func FuzzNotes(f *testing.F) {
	f.Add("1", "1", `{"accuracy":0.5,"per_class":[{"class":"a"}]}`)
	f.Add("1e-400", "Inf", `{"held_out":-1}`)
	f.Fuzz(func(t *testing.T, temperature, c, estimate string) {
		p := probe()
		p.Notes = map[string]string{temperatureNote: temperature, strengthNote: c, estimateNote: estimate}
		got, err := fromProbe(p)
		if err != nil {
			return
		}
		if !(got.Temperature > 0) || !(got.C > 0) {
			t.Errorf("temperature %v, C %v", got.Temperature, got.C)
		}
		_ = got.Estimate.Lacking()
	})
}

// TestRows: predictions become rows, and those that are not sure enough unknown ones.
func TestRows(t *testing.T) {
	t.Parallel()
	c := &Classifier{Classes: []string{"a", "b"}}
	rows := []Row{
		c.RowOf("x,1.jpg", Prediction{Label: 1, Confidence: 0.75, Second: 0}, 0.5),
		c.RowOf("y.jpg", Prediction{Label: 1, Confidence: 0.4375, Second: 0}, 0.5),
	}
	for name, want := range map[string]string{
		"t.csv": "path,label,confidence,second\n\"x,1.jpg\",b,0.7500,a\ny.jpg,unknown,0.4375,b\n",
		"t.jsonl": `{"path":"x,1.jpg","label":"b","confidence":0.75,"second":"a"}` + "\n" +
			`{"path":"y.jpg","label":"unknown","confidence":0.4375,"second":"b"}` + "\n",
	} {
		var b bytes.Buffer
		if err := WriteTable(&b, name, rows); err != nil || b.String() != want {
			t.Errorf("%s is %q, %v", name, b.String(), err)
		}
	}
	if err := SaveTable(filepath.Join(t.TempDir(), "t.xlsx"), rows); err == nil || !strings.Contains(err.Error(), ".parquet") {
		t.Errorf("a file of another ending: %v", err)
	}
}

// TestInterval compares with Wilson's interval as published tables and statsmodels have it.
func TestInterval(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		right, n  int
		low, high float64
	}{{0, 10, 0, 0.2775}, {5, 10, 0.2366, 0.7634}, {10, 10, 0.7225, 1}, {81, 263, 0.2553, 0.3662}, {0, 0, 0, 1}} {
		i := interval(one.right, one.n)
		if math.Abs(i.Low-one.low) > 1e-4 || math.Abs(i.High-one.high) > 1e-4 {
			t.Errorf("%d of %d: %v to %v, want %v to %v", one.right, one.n, i.Low, i.High, one.low, one.high)
		}
	}
}

// TestDeal: folds have nearly the same number of each class, and rows alone in theirs are in none.
func TestDeal(t *testing.T) {
	t.Parallel()
	labels := append(slices.Repeat([]int{0, 1, 1, 1}, 10), 2)
	part := deal(labels, 3, 4)
	counts := map[string]int{}
	for i, p := range part {
		counts[fmt.Sprint(labels[i], " in ", p)]++
	}
	want := map[string]int{"2 in -1": 1, "0 in 0": 3, "0 in 1": 3, "0 in 2": 2, "0 in 3": 2,
		"1 in 0": 7, "1 in 1": 7, "1 in 2": 8, "1 in 3": 8}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("the folds are %v", counts)
	}
	rest, out := split(part, 0)
	if len(out) != 10 || len(rest) != 31 {
		t.Errorf("a fold holds %d rows out and leaves %d", len(out), len(rest))
	}
	some := sample(labels, 3, 8)
	by := make([]int, 3)
	for _, i := range some {
		by[labels[i]]++
	}
	if !slices.Equal(by, []int{2, 6, 1}) {
		t.Errorf("a sample has %v of each class", by)
	}
}

// TestAmong: an estimate of some rows counts those alone, and a class with several labels does not
// decide for one that has a single one.
func TestAmong(t *testing.T) {
	t.Parallel()
	set := made(60, 8, 3, 0)
	all := fitted(t, set, Options{}).Estimate
	if same := all.Among(func(int) bool { return true }); !reflect.DeepEqual(same, all) {
		t.Errorf("of all rows it is %+v, want %+v", same, all)
	}
	first := func(row int) bool { return row < 12 }
	some, rest := all.Among(first), all.Among(func(row int) bool { return !first(row) })
	if some.HeldOut != 12 || some.Labelled != 60 || rest.HeldOut != 48 {
		t.Fatalf("of 12 rows it is %+v", some)
	}
	for k := range all.Confusion {
		for j, n := range all.Confusion[k] {
			if some.Confusion[k][j]+rest.Confusion[k][j] != n {
				t.Errorf("of class %d taken for %d there are %d, in parts %d and %d", k, j, n, some.Confusion[k][j], rest.Confusion[k][j])
			}
		}
	}
	few := &evaluate.Embedded{Dim: 2, Classes: []string{"a", "b"}, Labels: []int{0, 0, 1},
		Features: []float32{1, 0, 0.96, 0.28, 0, 1}}
	p, err := fitted(t, few, Options{}).Predict(t.Context(), few)
	if err != nil || p[0].Label != 0 || p[2].Label != 1 {
		t.Errorf("two rows of one class and one of another are taken for %+v (%v)", p, err)
	}
}

// TestIsTable: a table is known for one in each format, and files of others are not.
func TestIsTable(t *testing.T) {
	t.Parallel()
	rows := []Row{{Path: "a.png", Label: "cat", Confidence: 0.75, Second: "dog"}}
	for ending, foreign := range map[string][]string{
		".csv":     {"", "path,label\na,b\n", "path,label,confidence,second", "a,b,c,d\n"},
		".jsonl":   {"", "{}\n", `{"path":"a","label":"b"}` + "\n", `{"path":"a","label":"b","confidence":1,"second":"c","x":1}` + "\n", "no JSON\n"},
		".parquet": {"", "PAR1PAR1", "moco version 1 path label confidence second\xff\xff\xff\xffPAR1", "moco version 1 path label confidence second"},
	} {
		path := filepath.Join(t.TempDir(), "t"+ending)
		if err := SaveTable(path, rows); err != nil {
			t.Fatal(err)
		}
		if !IsTable(path) {
			t.Errorf("a table in %s is none", ending)
		}
		for _, content := range foreign {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			if IsTable(path) {
				t.Errorf("%s: %q is a table", ending, content)
			}
		}
	}
	if dir := t.TempDir(); IsTable(dir) || IsTable(filepath.Join(dir, "x.csv")) {
		t.Error("what is no file is a table")
	}
}
