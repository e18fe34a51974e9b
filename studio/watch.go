package studio

import (
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"moco"
	"moco/encoder"
	"moco/evaluate"
	"moco/explore"
	"moco/pretrain"
)

// runNow is how far a training run is.
type runNow struct {
	Step     int          `json:"step"`
	Steps    int          `json:"steps"`
	Epoch    int          `json:"epoch"`
	Epochs   float64      `json:"epochs"`
	Loss     [][2]float64 `json:"loss"`     // step, loss
	Chance   float64      `json:"chance"`   // the loss of an encoder that tells nothing apart
	Accuracy [][2]float64 `json:"accuracy"` // step, share of queries nearest to their positive key
	KNN      [][2]float64 `json:"knn"`      // step, percent: what the run's monitor says
	// Spread has the step and the standard deviation of the features of some pictures, beside that
	// of features spread evenly over a sphere: near 0, they have collapsed.
	Spread   [][2]float64 `json:"spread"`
	Rate     float64      `json:"rate"` // images a second
	Left     float64      `json:"left_s"`
	Probes   []probe      `json:"probes"`
	Warnings []string     `json:"warnings"`
	State    string       `json:"state"` // none, running, done or stopped
}

// probe is a picture with those that the encoder holds for most like it.
type probe struct {
	Image      int   `json:"image"`
	Neighbours []int `json:"neighbours"`
}

// What a run's encoder is asked for after each checkpoint.
const (
	watchPictures   = 512
	watchProbes     = 6
	watchNeighbours = 8
)

// patience is how long a run that works may say nothing: it also compiles, monitors and saves.
const patience = 3 * time.Minute

// curvePoints is the most points of a curve: more than a screen has columns.
const curvePoints = 2000

// watcher follows a training run.
type watcher struct {
	s   *Studio
	now atomic.Pointer[runNow]

	size   int64     // of the log when it was read
	read   time.Time // when that was
	made   time.Time // of the encoder that was asked last
	spread [][2]float64
	probes []probe
}

// run follows the run until the studio closes. The log is read anew as it grows, and seldom where
// that takes long.
func (w *watcher) run(ctx context.Context) {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		if w.look(ctx) {
			w.s.hub.send("run", w.brief())
		}
		wait = max(time.Second, 20*time.Since(began))
	}
}

// brief is how far the run is, without its curves.
func (w *watcher) brief() runNow {
	brief := *w.now.Load()
	for _, curve := range []*[][2]float64{&brief.Loss, &brief.Accuracy, &brief.KNN, &brief.Spread} {
		*curve = (*curve)[max(0, len(*curve)-1):]
	}
	return brief
}

// look reads what is new, and tells whether something is.
func (w *watcher) look(ctx context.Context) bool {
	path := pretrain.LogPath(w.s.o.Run)
	info, err := os.Stat(path)
	grown := err == nil && info.Size() != w.size
	file, err := os.Stat(filepath.Join(w.s.o.Run, encoder.File))
	newer := err == nil && file.ModTime() != w.made
	last := w.now.Load()
	if !grown && !newer && last != nil && !(last.State == "running" && time.Since(w.read) > patience) {
		return false
	}
	now := readRun(path)
	if grown {
		w.size, w.read = info.Size(), time.Now()
	}
	if now.State == "running" && info != nil && time.Since(info.ModTime()) > patience {
		now.State = "stopped" // or killed: it says nothing any more
	}
	if newer {
		w.made = file.ModTime()
		if err := w.ask(ctx, now.Step); err != nil && ctx.Err() == nil {
			w.s.log.Warn("the encoder of the run cannot be asked", "error", err)
		}
	}
	now.Spread, now.Probes = w.spread, w.probes
	if now.Spread == nil {
		now.Spread = [][2]float64{}
	}
	if now.Probes == nil {
		now.Probes = []probe{}
	}
	w.now.Store(now)
	return true
}

// readRun reads a run's log. Where a run was resumed from an earlier step, what came after that step
// is forgotten.
func readRun(path string) *runNow {
	now := &runNow{State: "none", Loss: [][2]float64{}, Accuracy: [][2]float64{}, KNN: [][2]float64{}, Warnings: []string{}}
	perEpoch := 1
	for e, err := range pretrain.ReadLog(path) {
		if err != nil {
			break
		}
		switch e := e.(type) {
		case *pretrain.Start:
			now.State, now.Steps, now.Chance, perEpoch = "running", e.Steps, e.ChanceLoss, max(1, e.StepsPerEpoch)
			now.Epochs = float64(e.Steps) / float64(perEpoch)
			for _, curve := range []*[][2]float64{&now.Loss, &now.Accuracy, &now.KNN} {
				*curve = before(*curve, e.FirstStep)
			}
		case *pretrain.Step:
			now.State, now.Step, now.Epoch, now.Rate, now.Left = "running", e.Step, e.Epoch, e.ImagesPerSecond, e.SecondsLeft
			now.Loss = appendPoint(now.Loss, e.Step, e.Loss)
			now.Accuracy = appendPoint(now.Accuracy, e.Step, e.Accuracy)
		case *pretrain.Monitor:
			now.KNN = appendPoint(now.KNN, e.Step, e.KNNTop1)
		case *pretrain.Warning:
			now.Warnings = append(now.Warnings[max(0, len(now.Warnings)-9):], e.Message)
		case *pretrain.Done:
			if now.State = "done"; e.Interrupted {
				now.State = "stopped"
			}
			now.Left = 0
		}
	}
	now.Loss, now.Accuracy = thinned(now.Loss), thinned(now.Accuracy)
	return now
}

// appendPoint adds a point, unless its value is no finite number, which JSON does not have.
func appendPoint(curve [][2]float64, step int, v float64) [][2]float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return curve
	}
	return append(curve, [2]float64{float64(step), v})
}

// before is the part of a curve before a step.
func before(curve [][2]float64, step int) [][2]float64 {
	for len(curve) > 0 && curve[len(curve)-1][0] >= float64(max(1, step)) {
		curve = curve[:len(curve)-1]
	}
	return curve
}

// thinned takes means of neighbouring points of a long curve.
func thinned(curve [][2]float64) [][2]float64 {
	each := (len(curve) + curvePoints - 1) / curvePoints
	if each <= 1 {
		return curve
	}
	thin := make([][2]float64, 0, curvePoints)
	for at := 0; at < len(curve); at += each {
		part := curve[at:min(len(curve), at+each)]
		var sum float64
		for _, p := range part {
			sum += p[1]
		}
		thin = append(thin, [2]float64{part[len(part)-1][0], sum / float64(len(part))})
	}
	return thin
}

// ask opens the run's encoder as of its last checkpoint, and asks it for the neighbours of a few
// pictures among some.
func (w *watcher) ask(ctx context.Context, step int) error {
	e, err := encoder.OpenWith(ctx, w.s.o.Run, encoder.Options{Engine: w.s.o.Engine})
	if err != nil {
		return err
	}
	defer e.Close()
	all := make([]int, len(w.s.names))
	for i := range all {
		all[i] = i
	}
	places := evenly(all, watchPictures)
	some, err := w.s.o.Data.Subset(places)
	if err != nil {
		return err
	}
	f, err := evaluate.Features(ctx, e, some, e.Layer(), nil)
	if err != nil {
		return err
	}
	w.spread = appendPoint(before(w.spread, step), step, moco.Spread(f.Features, f.Dim)*math.Sqrt(float64(f.Dim)))
	w.probes = nil
	for p := range min(watchProbes, f.Len()) {
		row := p * f.Len() / min(watchProbes, f.Len())
		near, err := explore.Explorer{Engine: w.s.o.Engine}.Near(ctx, f, row, min(watchNeighbours, f.Len()-1))
		if err != nil {
			return err
		}
		next := probe{Image: places[f.Images[row]], Neighbours: []int{}}
		for _, n := range near {
			next.Neighbours = append(next.Neighbours, places[f.Images[n.Row]])
		}
		w.probes = append(w.probes, next)
	}
	return nil
}

// getRun sends how far the run is.
func (s *Studio) getRun(w http.ResponseWriter, _ *http.Request) error {
	if s.watch == nil {
		return &refusal{http.StatusNotFound, "no run is watched; give the folder of one"}
	}
	now := s.watch.now.Load()
	if now == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	return send(w, now)
}
