package studio

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"moco/classify"
)

// classifier follows the labels: after each change it is fitted again, from where it was.
type classifier struct {
	kick chan struct{} // holds one where labels have changed since the last fit began
	now  atomic.Pointer[fitted]
}

// fitted is a classifier of the labels of one version, with what it takes all pictures for.
type fitted struct {
	version  int64
	reason   string               // why there is none
	c        *classify.Classifier // nil: there is none
	of       []classify.Prediction
	estimate classify.Estimate // how accurate it is on all pictures
	random   int               // labelled pictures drawn at random that the estimate is of; 0: of all labelled ones
	next     []int             // pictures to label next
	ms       int64
}

// prediction is what a picture is taken for. It is false where nothing is predicted.
func (t *fitted) prediction(f *features, image int) (classify.Prediction, bool) {
	if t == nil || t.c == nil || f == nil || f.row[image] < 0 {
		return classify.Prediction{}, false
	}
	return t.of[f.row[image]], true
}

// labelsChanged lets the classifier follow.
func (w *work) labelsChanged() {
	select {
	case w.classifier.kick <- struct{}{}:
	default:
	}
}

// together is how long changes that come one after another are waited for: a person who holds a key
// down, or a bulk of requests.
const together = 20 * time.Millisecond

// classify fits the classifier whenever labels have changed. A fit is never given up for a newer
// one: else somebody who labels fast would never see a result.
func (w *work) classify(ctx context.Context) {
	for {
		t := w.fit(ctx)
		if ctx.Err() != nil {
			return
		}
		w.classifier.now.Store(t)
		w.s.hub.send("classifier", map[string]int64{"version": t.version})
		select {
		case <-ctx.Done():
			return
		case <-w.classifier.kick:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(together):
		}
		select {
		case <-w.classifier.kick:
		default:
		}
	}
}

// fit fits the classifier to the present labels.
func (w *work) fit(ctx context.Context) *fitted {
	began := time.Now()
	f, now := w.features(), w.s.board.snapshot()
	t := &fitted{version: now.version}
	set := *f.Embedded
	set.Classes, set.Labels = now.classes, make([]int, f.Len())
	for row, i := range f.Images {
		set.Labels[row] = int(now.marks[i].class)
	}
	if len(set.Classes) == 0 {
		set.Classes = nil
	}
	o := classify.Options{Engine: w.s.o.Engine}
	if last := w.classifier.now.Load(); last != nil {
		o.From = last.c
	}
	c, err := classify.Fit(ctx, &set, o)
	if err == nil {
		t.of, err = c.Predict(ctx, f.Embedded)
	}
	switch {
	case errors.Is(err, classify.ErrFewClasses):
		t.reason = "label pictures of at least two classes"
	case err != nil:
		t.reason = err.Error()
	default:
		t.c, t.estimate = c, c.Estimate
		if random := w.s.random(f, set.Labels); len(random) >= enoughRandom {
			t.random, t.estimate = len(random), c.Estimate.Among(func(row int) bool { return random[row] })
		}
	}
	t.next = w.s.next(toLabel(f, t, set.Labels), func(i int) bool { return now.marks[i].class >= 0 })
	t.ms = time.Since(began).Milliseconds()
	return t
}

// What is looked at to find pictures to label next.
const (
	nextPictures  = 200
	nextLookedAt  = 500  // the least certain ones
	nextLabelled  = 1000 // labelled pictures that they are compared with
	nextUncertain = 0.05 // the weight of a picture that the classifier is sure of
)

// next is what to label next: in turn a picture that teaches much, and one drawn at random. Those at
// random tell how accurate the classifier is on all pictures; the others are harder than most. They
// come in an order that is the same at each start.
func (s *Studio) next(teaching []int, labelled func(image int) bool) []int {
	next := make([]int, 0, nextPictures)
	taken := map[int]bool{}
	take := func(i int) {
		if !taken[i] && len(next) < nextPictures {
			taken[i] = true
			next = append(next, i)
		}
	}
	at := 0
	for _, i := range teaching {
		take(i)
		for at < len(s.order) {
			random := s.order[at]
			if at++; !labelled(random) {
				take(random)
				break
			}
		}
	}
	for ; at < len(s.order) && len(next) < nextPictures; at++ {
		if !labelled(s.order[at]) {
			take(s.order[at])
		}
	}
	return next
}

// Labelled pictures that were drawn at random.
const (
	enoughRandom = 30  // so many make an estimate
	mostLabelled = 0.9 // a part of the random order counts as drawn where this share of it is labelled
)

// random are the labelled rows that were drawn at random: those of the longest beginning of the
// random order of which nearly all are labelled. How they came to be labelled plays no part, so they
// need not be noted anywhere. Some may be left out because nobody knew what they are.
func (s *Studio) random(f *features, labels []int) map[int]bool {
	end, seen, labelled := 0, 0, 0
	for at, i := range s.order {
		row := f.row[i]
		if row < 0 {
			continue
		}
		if seen++; labels[row] >= 0 {
			labelled++
		}
		if float64(labelled) >= mostLabelled*float64(seen) {
			end = at + 1
		}
	}
	rows := map[int]bool{}
	for _, i := range s.order[:end] {
		if row := f.row[i]; row >= 0 && labels[row] >= 0 {
			rows[int(row)] = true
		}
	}
	return rows
}

// toLabel chooses rows that teach much: uncertain, and unlike what is labelled and unlike each
// other. It looks at the least certain ones, and takes again and again the one for which the product
// of its uncertainty and its distance from the nearest labelled or chosen row is largest.
func toLabel(f *features, t *fitted, labels []int) []int {
	var open, known []int
	for row, l := range labels {
		if l < 0 {
			open = append(open, row)
		} else {
			known = append(known, row)
		}
	}
	if t.c != nil {
		slices.SortStableFunc(open, func(a, b int) int { return cmp.Compare(t.unsure(b), t.unsure(a)) })
		open = open[:min(len(open), nextLookedAt)]
	} else {
		open = evenly(open, nextLookedAt)
	}
	known = evenly(known, nextLabelled)
	far := make([]float32, len(open)) // distance from the nearest labelled or chosen row; -1: chosen
	for i, row := range open {
		far[i] = 2
		for _, other := range known {
			far[i] = min(far[i], max(0, 1-dot(f.Row(row), f.Row(other))))
		}
	}
	next := make([]int, 0, nextPictures)
	for len(next) < min(nextPictures/2, len(open)) {
		best, most := -1, float32(-1)
		for i, row := range open {
			if v := t.unsure(row) * far[i]; far[i] >= 0 && v > most {
				best, most = i, v
			}
		}
		chosen := open[best]
		next = append(next, f.Images[chosen])
		for i, row := range open {
			if far[i] >= 0 {
				far[i] = min(far[i], max(0, 1-dot(f.Row(row), f.Row(chosen))))
			}
		}
		far[best] = -1
	}
	return next
}

// unsure is how uncertain a row is: how little the most likely class leads.
func (t *fitted) unsure(row int) float32 {
	if t.c == nil {
		return 1
	}
	return max(nextUncertain, 1-(t.of[row].Confidence-t.of[row].Doubt))
}

// evenly takes at most n of a list, evenly spread.
func evenly(list []int, n int) []int {
	if len(list) <= n {
		return list
	}
	some := make([]int, n)
	for i := range some {
		some[i] = list[i*len(list)/n]
	}
	return some
}

// classifierAnswer is what the page shows of the classifier.
type classifierAnswer struct {
	Version   int64       `json:"version"`
	Ready     bool        `json:"ready"`
	Reason    string      `json:"reason"`
	Accuracy  float64     `json:"accuracy"`
	Low       float64     `json:"low"`
	High      float64     `json:"high"`
	Enough    bool        `json:"enough"`
	Lacking   string      `json:"lacking"` // why the labels are too few to say
	HeldOut   int         `json:"held_out"`
	Random    int         `json:"random"` // the estimate is of so many pictures drawn at random; 0: of all labelled ones
	Classes   []string    `json:"classes"`
	PerClass  []classRate `json:"per_class"`
	Confusion [][]int     `json:"confusion"`
	Next      []int       `json:"next"`
	FitMS     int64       `json:"fit_ms"`
}

// classRate is the accuracy on one class.
type classRate struct {
	Name     string  `json:"name"`
	Accuracy float64 `json:"accuracy"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Labelled int     `json:"labelled"`
}

func (s *Studio) getClassifier(w http.ResponseWriter, _ *http.Request) error {
	t := s.work.classifier.now.Load()
	a := classifierAnswer{Classes: []string{}, PerClass: []classRate{}, Confusion: [][]int{}, Next: []int{}}
	if t == nil {
		a.Reason = "it needs the features of the pictures"
		now := s.board.snapshot()
		a.Version, a.Next = now.version, s.next(nil, func(i int) bool { return now.marks[i].class >= 0 })
		return send(w, a)
	}
	a.Version, a.FitMS, a.Reason, a.Next = t.version, t.ms, t.reason, t.next
	if t.c != nil {
		e := &t.estimate
		a.Ready, a.Enough, a.Lacking, a.HeldOut, a.Classes = true, e.Enough, e.Lacking(), e.HeldOut, t.c.Classes
		a.Random = t.random
		a.Accuracy, a.Low, a.High = e.Accuracy, e.Low, e.High
		for _, c := range e.PerClass {
			a.PerClass = append(a.PerClass, classRate{c.Class, c.Accuracy, c.Low, c.High, c.Labelled})
		}
		if e.Confusion != nil {
			a.Confusion = e.Confusion
		}
	}
	return send(w, a)
}

// postAccept labels pictures with what they are taken for. Those without a prediction stay as they
// are.
func (s *Studio) postAccept(w http.ResponseWriter, r *http.Request) error {
	c, err := s.readChange(w, r)
	if err != nil {
		return err
	}
	t, f := s.work.classifier.now.Load(), s.work.features()
	if t == nil || t.c == nil {
		return &refusal{http.StatusConflict, "there are no predictions yet: label pictures of at least two classes"}
	}
	var images []int32
	var classes []string
	for _, i := range c.Images {
		if p, ok := t.prediction(f, int(i)); ok {
			images, classes = append(images, i), append(classes, t.c.Classes[p.Label])
		}
	}
	return s.answerChange(w, s.board.labelEach(r.Context(), images, classes))
}

// predictionColumns are the predicted class of each picture, and how sure the classifier is.
func (s *Studio) predictionColumns() (classes []string, class []int32, confidence []float32, err error) {
	t, f := s.work.classifier.now.Load(), s.work.features()
	if t == nil || t.c == nil {
		return nil, nil, nil, errNotYet
	}
	class, confidence = make([]int32, len(s.names)), make([]float32, len(s.names))
	for i := range class {
		class[i], confidence[i] = -1, float32(math.NaN())
		if p, ok := t.prediction(f, i); ok {
			class[i], confidence[i] = int32(p.Label), p.Confidence
		}
	}
	return t.c.Classes, class, confidence, nil
}
