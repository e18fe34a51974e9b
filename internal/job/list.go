package job

import (
	"context"
	"errors"
	"time"

	"moco/internal/event"
)

// Watch is told how the jobs of a list go, in order. Any of its functions may be nil.
type Watch[P, R any] struct {
	Started func(part P, at Place)
	Events  func(part P, e event.Event) // of the training in a job
	Ended   func(part P, at Place, result R)
}

// Place is where in a list a job stands.
type Place struct {
	Number, Of int
	Before     bool          // it was done before
	Left       time.Duration // an estimate for all that is not done; 0: there is none yet
}

// Begin tells that a job begins.
func (w Watch[P, R]) Begin(part P, at Place) {
	if w.Started != nil {
		w.Started(part, at)
	}
}

// Tell passes a job's events on.
func (w Watch[P, R]) Tell(part P) func(event.Event) {
	return func(e event.Event) {
		if w.Events != nil {
			w.Events(part, e)
		}
	}
}

// End tells that a job is done.
func (w Watch[P, R]) End(part P, at Place, result R) {
	if w.Ended != nil {
		w.Ended(part, at, result)
	}
}

// Task is a job with the part of the whole that it is.
type Task[P any, T Result] struct {
	Part P
	Job  Job[T]
}

// List is jobs that are done one after the other.
type List[P any, T Result] struct {
	Tasks []Task[P, T]
	Watch Watch[P, T]
	// After makes something of the results so far, in the order of the tasks: after each job that
	// was done now, and when one cannot be done. May be nil.
	After func(done []T) error
}

// Do does what of the list is not done yet, and returns all results. Before it does anything it
// looks at every folder, and refuses the list where one holds another job. With an error it returns
// the results so far.
func (l List[P, T]) Do(ctx context.Context) ([]T, error) {
	results := make([]*T, len(l.Tasks))
	c := clock{began: time.Now()}
	for i, t := range l.Tasks {
		state, old, err := t.Job.State()
		switch {
		case err != nil:
			return nil, err
		case state == Done:
			results[i] = &old
		default:
			c.todo++
		}
	}
	for i, t := range l.Tasks {
		at := Place{Number: i + 1, Of: len(l.Tasks), Before: results[i] != nil, Left: c.left()}
		l.Watch.Begin(t.Part, at)
		if !at.Before {
			result, err := t.Job.Do(ctx)
			if err != nil {
				return have(results), errors.Join(err, l.after(results))
			}
			c.done++
			results[i] = &result
		}
		l.Watch.End(t.Part, at, *results[i])
		if at.Before {
			continue
		}
		if err := l.after(results); err != nil {
			return have(results), err
		}
	}
	return have(results), nil
}

func (l List[P, T]) after(results []*T) error {
	if l.After == nil {
		return nil
	}
	return l.After(have(results))
}

// have is the results that there are.
func have[T any](results []*T) (all []T) {
	for _, r := range results {
		if r != nil {
			all = append(all, *r)
		}
	}
	return all
}

// clock guesses how long a list takes, from the jobs that it has done.
type clock struct {
	began      time.Time
	done, todo int
}

func (c clock) left() time.Duration {
	if c.done == 0 {
		return 0
	}
	return time.Since(c.began) / time.Duration(c.done) * time.Duration(c.todo-c.done)
}
