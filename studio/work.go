package studio

import (
	"context"
	"sync"

	"moco/evaluate"
)

// progress is how far a part of the work is.
type progress struct {
	Done  int    `json:"done"`
	Total int    `json:"total"`
	State string `json:"state"` // none, running, done or failed
	Error string `json:"error"`
}

// parts are the parts of the work in the background, in their order.
var parts = []string{"encode", "neighbours", "layout", "clusters", "outliers", "duplicates", "doubtful"}

// work is what runs in the background.
type work struct {
	s  *Studio
	mu sync.Mutex
	at map[string]progress
}

func newWork(s *Studio) *work {
	w := &work{s: s, at: map[string]progress{}}
	for _, p := range parts {
		w.at[p] = progress{State: "none"}
	}
	return w
}

func (w *work) run(context.Context) {}

func (w *work) labelsChanged() {}

func (w *work) features() *evaluate.Embedded { return nil }

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
