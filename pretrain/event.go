package pretrain

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"moco/internal/atomicfile"
	"moco/internal/event"
)

// Event is something that happened in a run: one of the types below.
type Event = event.Event

// Start is the first event of a run.
type Start struct {
	Out           string  `json:"out"`
	Engine        string  `json:"engine"`
	Images        int     `json:"images"`
	Arch          string  `json:"arch"`
	Parameters    int     `json:"parameters"` // of one encoder
	Batch         int     `json:"batch"`
	Mechanism     string  `json:"objective"` // for people: "info_nce with queue", ..., or "supervised"
	Keys          int     `json:"keys"`      // negatives of a query, K, or classes
	Filling       int     `json:"filling"`   // steps until the queue holds no key of its random start; 0: no queue
	Labels        bool    `json:"labels"`    // the encoder learns from labels
	StepsPerEpoch int     `json:"steps_per_epoch"`
	Steps         int     `json:"steps"` // of the whole run
	FirstStep     int     `json:"first_step"`
	ChanceLoss    float64 `json:"chance_loss"` // of an encoder that tells nothing apart
	FLOPs         int64   `json:"flops_per_step"`
	PeakBytes     int64   `json:"peak_bytes"` // planned, of each process
	Processes     int     `json:"processes"`
	SentBytes     int64   `json:"sent_bytes_per_step"` // by each process to others
}

// Step is one step done.
type Step struct {
	Step     int     `json:"step"`  // counted from 1
	Epoch    int     `json:"epoch"` // counted from 1
	Loss     float64 `json:"loss"`
	Accuracy float64 `json:"accuracy"` // share of queries nearest to their positive key
	LR       float64 `json:"lr"`
	// Spread is the standard deviation of the queries' features over that of points spread evenly on
	// a sphere: 1 is the best, near 0 all features point one way. It is measured in the first and in
	// every 50th step.
	Spread *float64 `json:"spread,omitempty"`
	// ImagesPerSecond is over the run so far, views included, without compilation, the first step,
	// monitors and checkpoints. In a process's first step it is 0: not known yet.
	ImagesPerSecond float64 `json:"images_per_second"`
	// SecondsLeft is how long the steps that are left take, if their operations go as fast as those
	// before did. In a process's first step it is 0, too.
	SecondsLeft float64 `json:"seconds_left"`
}

// Epoch is the end of an epoch.
type Epoch struct {
	Epoch           int     `json:"epoch"`
	Step            int     `json:"step"`
	Loss            float64 `json:"loss"`     // mean over the epoch's steps in this process
	Accuracy        float64 `json:"accuracy"` // likewise
	ImagesPerSecond float64 `json:"images_per_second"`
	BadImages       int     `json:"bad_images"`
}

// Monitor is a kNN evaluation; epoch 0 is the encoder before training.
type Monitor struct {
	Epoch   int     `json:"epoch"`
	Step    int     `json:"step"`
	KNNTop1 float64 `json:"knn_top1"` // percent
	K       int     `json:"k"`
	T       float64 `json:"t"`
	Seconds float64 `json:"seconds"`
}

// Consistency is how alike a dictionary's keys are to the same views encoded now: the mean cosine
// by age, in steps (0: the last step's).
type Consistency struct {
	Epoch  int       `json:"epoch"`
	Step   int       `json:"step"`
	Age    []int     `json:"age"`
	Cosine []float64 `json:"cosine"`
	Others float64   `json:"others"` // the mean cosine of keys of different images, encoded now: what a cosine says by itself
}

// Reason names what a warning is about, for programs.
type Reason string

// The reasons of warnings about what a run learns.
const (
	LongQueue   Reason = "long_queue"   // the queue has more keys than the set has images
	AtChance    Reason = "at_chance"    // the loss stays at chance
	AboveChance Reason = "above_chance" // the loss stays far above chance
	Collapse    Reason = "collapse"     // all features point one way
)

// Warning is something that the user should know; the run goes on.
type Warning struct {
	Step int `json:"step"`
	// Reason is one of long_queue, at_chance (the loss stays there), above_chance (it stays far above
	// chance), collapse (of the features); other warnings have none.
	Reason  Reason `json:"reason,omitempty"`
	Message string `json:"message"`
}

// Saved is a checkpoint written.
type Saved struct {
	Step int    `json:"step"`
	File string `json:"file"`
}

// Done is the last event.
type Done struct {
	Step            int     `json:"step"`
	Epoch           int     `json:"epoch"`
	Loss            float64 `json:"loss"`
	Accuracy        float64 `json:"accuracy"`
	ImagesPerSecond float64 `json:"images_per_second"`
	KNNTop1         float64 `json:"knn_top1,omitempty"` // of the last monitor
	BadImages       int     `json:"bad_images"`
	Seconds         float64 `json:"seconds"`
	Checkpoint      string  `json:"checkpoint"`
	SHA256          string  `json:"sha256"` // of the checkpoint
	Encoder         string  `json:"encoder"`
	Interrupted     bool    `json:"interrupted,omitempty"`
}

// Kind is the event's name under "event", as for the other types.
func (Start) Kind() string       { return "start" }
func (Step) Kind() string        { return "step" }        // see Start
func (Epoch) Kind() string       { return "epoch" }       // see Start
func (Monitor) Kind() string     { return "monitor" }     // see Start
func (Warning) Kind() string     { return "warning" }     // see Start
func (Saved) Kind() string       { return "checkpoint" }  // see Start
func (Consistency) Kind() string { return "consistency" } // see Start
func (Done) Kind() string        { return "done" }        // see Start

// kinds makes an empty event of each kind, to read a log into.
var kinds = map[string]func() event.Event{
	Start{}.Kind():       func() event.Event { return new(Start) },
	Step{}.Kind():        func() event.Event { return new(Step) },
	Epoch{}.Kind():       func() event.Event { return new(Epoch) },
	Monitor{}.Kind():     func() event.Event { return new(Monitor) },
	Warning{}.Kind():     func() event.Event { return new(Warning) },
	Saved{}.Kind():       func() event.Event { return new(Saved) },
	Consistency{}.Kind(): func() event.Event { return new(Consistency) },
	Done{}.Kind():        func() event.Event { return new(Done) },
}

// ReadLog reads the events of a run's log, each as a pointer to its type (*Step, ...). A log that
// is not there has none; lines that are no events, cut short by a kill or written by another
// version, are passed over.
func ReadLog(path string) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			yield(nil, fmt.Errorf("read the log: %w", err))
			return
		}
		defer f.Close()
		for line, err := range event.Lines(f) {
			if err != nil {
				yield(nil, fmt.Errorf("read the log %s: %w", path, err))
				return
			}
			if of := kinds[line.Kind]; of != nil {
				if e := of(); line.Into(e) == nil && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// recorder writes a run's events to its log and passes them on. That the log cannot be written must
// not stop a run that can be saved, so its errors are dropped.
type recorder struct {
	told    func(event.Event) // may be nil
	log     atomicfile.File
	board   *board        // nil: none
	pending []event.Event // from before the log was open
}

// open opens the log for appending, and a file for TensorBoard, of a run that goes on after a step.
// A line that a kill cut short is closed.
func (r *recorder) open(system files, path string, step int) error {
	torn, err := tornEnd(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the log: %w", err)
	}
	made := err != nil
	if r.log, err = system.Append(path); err != nil {
		r.log = nil
		return fmt.Errorf("open the log: %w", err)
	}
	if made {
		if err := system.SyncDir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
	}
	if torn {
		io.WriteString(r.log, "\n")
	}
	r.board, err = openBoard(system, filepath.Dir(path), step)
	return err
}

// tornEnd tells whether a file ends in the middle of a line.
func tornEnd(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, size-1)
	return last[0] != '\n', err
}

// sync waits until the events so far would last over a power cut.
func (r *recorder) sync() {
	if r.log != nil {
		r.log.Sync()
	}
	if r.board != nil {
		r.board.file.Sync()
	}
}

// tell logs an event and passes it on.
func (r *recorder) tell(e event.Event) {
	if r.log != nil {
		event.Write(r.log, e)
	}
	if r.board != nil {
		r.board.tell(e)
	}
	if r.told != nil {
		r.told(e)
	}
}

// later keeps an event until release.
func (r *recorder) later(e event.Event) { r.pending = append(r.pending, e) }

// release tells what was kept.
func (r *recorder) release() {
	for _, e := range r.pending {
		r.tell(e)
	}
	r.pending = nil
}

func (r *recorder) close() {
	if r.log != nil {
		r.log.Close()
	}
	if r.board != nil {
		r.board.file.Close()
	}
}
