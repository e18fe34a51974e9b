package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"moco/internal/event"
	"moco/internal/lock"
)

// sum is the result of a job that adds.
type sum struct {
	Value int    `json:"value"`
	Terms string `json:"terms"`
	Rule  string `json:"rule,omitempty"`
}

func (s sum) Identity() Identity {
	return Identity{{Name: "terms", Value: s.Terms}, {Name: "rule", Value: s.Rule, Newer: true}}
}

// adding is a job in a folder, with the count of how often it works.
func adding(folder string, worked *int) Job[sum] {
	blank := sum{Terms: "a: 1\nb: 2", Rule: "plus"}
	return Job[sum]{
		Folder: folder, Identity: blank.Identity(),
		Work: func(context.Context, bool) (sum, error) {
			*worked++
			r := blank
			r.Value = 3
			return r, nil
		},
	}
}

// TestStates: what lies in a folder decides what is done there.
func TestStates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file    string // result.json; empty: none
		begun   func() (bool, error)
		state   State
		worked  int
		err     string
		damaged bool // rather than another job's
	}{
		"new":                            {state: New, worked: 1},
		"not begun":                      {begun: func() (bool, error) { return false, nil }, state: New, worked: 1},
		"begun":                          {begun: func() (bool, error) { return true, nil }, state: Partial, worked: 1},
		"begun as another":               {begun: func() (bool, error) { return true, &OtherError{Folder: "f", Changes: []string{"a is 1 and was 2"}} }, state: Other, err: "f holds another run: a is 1 and was 2"},
		"done":                           {file: `{"value": 3, "terms": "a: 1\nb: 2", "rule": "plus"}`, state: Done},
		"done before the rule was kept":  {file: `{"value": 3, "terms": "a: 1\nb: 2"}`, state: Done},
		"done, with a field of tomorrow": {file: `{"value": 3, "terms": "a: 1\nb: 2", "colour": "red"}`, state: Done},
		"a changed line":                 {file: `{"value": 9, "terms": "a: 7\nb: 2"}`, state: Other, err: "a is 1 and was 7"},
		"a line less":                    {file: `{"value": 9, "terms": "a: 1"}`, state: Other, err: "b is 2 and was not there"},
		"a line more":                    {file: `{"value": 9, "terms": "a: 1\nb: 2\nc: 3"}`, state: Other, err: "c was 3 and is not there"},
		"another order":                  {file: `{"value": 9, "terms": "b: 2\na: 1"}`, state: Other, err: "terms has its lines in another order"},
		"another rule":                   {file: `{"value": 2, "terms": "a: 1\nb: 2", "rule": "times"}`, state: Other, err: "rule is plus and was times"},
		"a result of something else":     {file: `{}`, state: Other, err: "terms was not kept"},
		"a damaged result":               {file: `{"value": 3,`, state: Other, err: "remove the file to have it made again", damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			worked := 0
			folder := t.TempDir()
			j := adding(folder, &worked)
			j.Begun = c.begun
			resumed := false
			work := j.Work
			j.Work = func(ctx context.Context, resume bool) (sum, error) {
				resumed = resume
				return work(ctx, resume)
			}
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(folder, File), []byte(c.file), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			state, _, err := j.State()
			if state != c.state || (c.err == "") != (err == nil) {
				t.Errorf("the state is %v (%v), want %v", state, err, c.state)
			}
			got, err := j.Do(context.Background())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || c.damaged == errors.As(err, new(*OtherError)) || worked > 0 {
					t.Errorf("the job worked %d times and ends with %v, want %q", worked, err, c.err)
				}
				return
			}
			if err != nil || got.Value != 3 || worked != c.worked || resumed != (c.state == Partial) {
				t.Errorf("the job worked %d times, resumed %v, and ends with %+v, %v", worked, resumed, got, err)
			}
			if state, again, err := j.State(); err != nil || state != Done || again.Value != 3 {
				t.Errorf("afterwards the state is %v with %+v, %v", state, again, err)
			}
			if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestAgain: a result that may be better another time is returned, and not kept.
func TestAgain(t *testing.T) {
	t.Parallel()
	worked := 0
	j := adding(filepath.Join(t.TempDir(), "deep", "down"), &worked)
	j.Again = func(s sum) bool { return s.Value == 3 }
	for range 2 {
		if got, err := j.Do(context.Background()); err != nil || got.Value != 3 {
			t.Errorf("the job ends with %+v, %v", got, err)
		}
	}
	if state, _, err := j.State(); worked != 2 || state != New || err != nil {
		t.Errorf("worked %d times, state %v, %v", worked, state, err)
	}
}

// TestLocked: a job's folder is its own while it works, but for what it does there itself.
func TestLocked(t *testing.T) {
	t.Parallel()
	worked := 0
	j := adding(t.TempDir(), &worked)
	work := j.Work
	j.Work = func(ctx context.Context, resume bool) (sum, error) {
		if _, err := adding(j.Folder, &worked).Do(context.Background()); !errors.As(err, new(*lock.LockedError)) {
			t.Errorf("from outside: %v", err)
		}
		_, release, err := Hold(ctx, j.Folder)
		if err != nil {
			t.Errorf("from inside: %v", err)
		} else {
			release()
		}
		return work(ctx, resume)
	}
	if _, err := j.Do(context.Background()); err != nil || worked != 1 {
		t.Errorf("worked %d times, %v", worked, err)
	}
}

// told is what a list tells, a line each.
type told []string

func (w *told) watch() Watch[string, sum] {
	return Watch[string, sum]{
		Started: func(p string, at Place) {
			*w = append(*w, fmt.Sprintf("%s starts: %d of %d, before %v", p, at.Number, at.Of, at.Before))
		},
		Events: func(p string, e event.Event) { *w = append(*w, p+" tells "+e.Kind()) },
		Ended:  func(p string, _ Place, r sum) { *w = append(*w, fmt.Sprintf("%s ends: %d", p, r.Value)) },
	}
}

type happened struct{}

func (happened) Kind() string { return "something" }

func TestList(t *testing.T) {
	t.Parallel()
	dir, worked := t.TempDir(), 0
	list := func(w Watch[string, sum]) (l List[string, sum], after *[]int) {
		after = new([]int)
		l = List[string, sum]{Watch: w, After: func(done []sum) error { *after = append(*after, len(done)); return nil }}
		for _, name := range []string{"a", "b", "c"} {
			j := adding(filepath.Join(dir, name), &worked)
			work := j.Work
			j.Work = func(ctx context.Context, resume bool) (sum, error) {
				w.Tell(name)(happened{})
				return work(ctx, resume)
			}
			l.Tasks = append(l.Tasks, Task[string, sum]{Part: name, Job: j})
		}
		return l, after
	}
	// b is done already; c fails.
	first, _ := list(Watch[string, sum]{})
	if _, err := first.Tasks[1].Job.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	var said told
	l, after := list(said.watch())
	mine := errors.New("mine")
	l.Tasks[2].Job.Work = func(context.Context, bool) (sum, error) { return sum{}, mine }
	got, err := l.Do(context.Background())
	want := told{"a starts: 1 of 3, before false", "a tells something", "a ends: 3", "b starts: 2 of 3, before true", "b ends: 3", "c starts: 3 of 3, before false"}
	if !errors.Is(err, mine) || len(got) != 2 || !slices.Equal(said, want) || !reflect.DeepEqual(*after, []int{2, 2}) {
		t.Errorf("%d results, %v; told %q, want %q; tables of %v", len(got), err, said, want, *after)
	}
	// What is left is done, and nobody need watch.
	worked = 0
	l, _ = list(Watch[string, sum]{})
	if got, err = l.Do(context.Background()); err != nil || len(got) != 3 || worked != 1 {
		t.Errorf("%d results, worked %d times, %v", len(got), worked, err)
	}
	// A folder with another job stops the list before anything is done.
	os.Remove(filepath.Join(dir, "a", File))
	if err := os.WriteFile(filepath.Join(dir, "c", File), []byte(`{"terms":"a: 0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	worked = 0
	l, _ = list(Watch[string, sum]{})
	var other *OtherError
	if got, err = l.Do(context.Background()); !errors.As(err, &other) || len(got) > 0 || worked > 0 || len(other.Changes) != 2 {
		t.Errorf("%d results, worked %d times, %v", len(got), worked, err)
	}
}

func TestSetError(t *testing.T) {
	t.Parallel()
	err := &SetError{Setting: "seed=9", By: "the study", Values: "0, 1, ..."}
	if err.Key() != "seed" || err.Error() != "the setting seed=9: the study itself sets seed to 0, 1, ..." {
		t.Errorf("%s: %v", err.Key(), err)
	}
}

// FuzzResult: whatever stands in result.json, it is a result, or an error.
// TestFree: a file that is there before any job has begun is somebody else's.
func TestFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	free := func() error { return Free(dir, []string{"a", "b"}, []string{"table", "rows"}) }
	if err := free(); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	rows := filepath.Join(dir, "rows")
	if err := os.WriteFile(rows, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	var occupied *OccupiedError
	if err := free(); !errors.As(err, &occupied) || occupied.Path != rows {
		t.Errorf("a foreign file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := free(); err != nil {
		t.Errorf("the job's own file: %v", err)
	}
}

func FuzzResult(f *testing.F) {
	f.Add([]byte(`{"value": 3, "terms": "a: 1\nb: 2"}`))
	f.Add([]byte(`{"value": 3, "terms": "a\n\n: \nb"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		worked := 0
		j := adding(t.TempDir(), &worked)
		if err := os.WriteFile(j.path(), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if state, r, err := j.State(); (state == Done) != (err == nil) || state == Done && r.Terms != "a: 1\nb: 2" {
			t.Errorf("state %v with %+v, %v", state, r, err)
		}
	})
}
