package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"moco/embed"
	"moco/encoder"
	"moco/exchange"
	"moco/explore"
	"moco/internal/bench"
	"moco/internal/event"
	"moco/internal/job"
	"moco/pretrain"
	"moco/recipe"
)

// shown is a result of one event and one line.
type shown struct{ finetuneRun }

func (r shown) event() event.Event   { return r.finetuneRun }
func (r shown) text(s *screen) error { s.say("seed %d", r.Seed); return nil }

// TestScreen: programs see events and nothing else, people see text and no event.
func TestScreen(t *testing.T) {
	t.Parallel()
	for json, want := range map[bool]string{
		true:  `{"event":"run","seed":1}` + "\n" + `{"event":"run","seed":1}` + "\n" + `{"event":"run","seed":2}` + "\n",
		false: "begins\nonly for people\na  b\nseed 2\n",
	} {
		var out, err strings.Builder
		s := &screen{out: &out, err: &err, json: json}
		s.tell(finetuneRun{Seed: 1}, func() { s.say("begins") })
		s.tell(finetuneRun{Seed: 1}, nil)
		s.tell(nil, func() { s.say("only for people") })
		w := s.table(false)
		fmt.Fprintln(w, "a\tb")
		w.Flush()
		if e := s.show(shown{finetuneRun{Seed: 2}}); e != nil {
			t.Fatal(e)
		}
		if e := s.show(nil); e != nil {
			t.Fatal(e)
		}
		s.warn("careful")
		if out.String() != want || err.String() != "careful\n" {
			t.Errorf("json %v: out %q, want %q; err %q", json, out.String(), want, err.String())
		}
	}
}

// TestProgress: a line now and then where there is no terminal, nothing beside JSON.
func TestProgress(t *testing.T) {
	t.Parallel()
	var err strings.Builder
	s := &screen{err: &err}
	p := s.progress(10, "step")
	p.at(1, "soon")
	p.last = p.last.Add(-betweenLines)
	p.at(2, "later")
	p.at(3, "at once")
	p.clear()
	q := s.progress(1000, "")
	q.last = time.Time{}
	q.at(500, "half")
	if want := "step 2 of 10  later\nhalf\n"; err.String() != want {
		t.Errorf("it says %q, want %q", err.String(), want)
	}
	silent := &screen{err: &err, json: true}
	none := silent.progress(10, "step")
	none.at(1, none.pace(1))
	none.clear()
	if none != nil {
		t.Error("there is progress beside JSON")
	}
	if done, clear := silent.images(3, "features"); done != nil {
		t.Error("images are counted beside JSON")
	} else {
		clear()
	}
}

// TestAdvice: what a person reads of an error says what to do in flags, which its own text does not
// know.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{&pretrain.MemoryError{Batch: 9, Fits: 4, Need: 1, Limit: 1}, "use --batch 4 or less"},
		{&pretrain.BatchError{Batch: 9, Images: 5}, "use --batch 5 or less"},
		{&pretrain.NotEmptyError{Folder: "x"}, "--resume"},
		{&pretrain.StartError{SHA256: "x"}, "--init"},
		{&pretrain.SaveError{Kept: 3, Err: fs.ErrInvalid}, "--resume"},
		{pretrain.ErrNoCheckpoint, "--resume"},
		{&pretrain.OtherError{Folder: "x", Changes: []string{"t is 0.1 and was 0.2"}}, "another --out, or remove that folder to run it anew"},
		{&pretrain.LockedError{Path: "x"}, "wait until it ends, or stop it"},
		{&job.SetError{Setting: "seed=9", By: "the study", Values: "0, 1, ..."}, "--seeds"},
		{&job.SetError{Setting: "queue=9", By: "the study", Values: "what it compares"}, "leave --set queue=9 out"},
		{&recipe.SettingError{Setting: "lr", Reason: "want key=value"}, "--set encoder.width=0.25"},
		{&embed.StoppedError{Done: 1, Images: 2, Kept: true}, "--resume"},
		{&embed.StoppedError{Done: 1, Images: 2}, "the same command again"},
		{&embed.UnfinishedError{Journal: "x.part"}, "--resume goes on with it, or remove it"},
		{&embed.ExistsError{Path: "x"}, "--force"},
		{&job.OccupiedError{Path: "x"}, "another --out"},
		{&embed.BadImagesError{Bad: 2, Images: 3, Kept: true, Last: fs.ErrInvalid}, "--max-bad, and go on with --resume"},
		{&embed.BadImagesError{Bad: 2, Images: 3, Last: fs.ErrInvalid}, "--max-bad"},
		{&encoder.ChoiceError{Asked: "encoder of the key side", Prefixes: []string{""}}, "--side or --strip"},
		{encoder.ErrNoProbe, "`moco eval linear --save`"},
		{&exchange.HeadError{Head: "mlp"}, "--probe"},
		{&encoder.OtherProbeError{Probe: "a", Encoder: "b"}, "`moco eval linear --save`"},
		{&explore.OtherEncoderError{Dim: 3, Makes: 4}, "--features"},
		{&bench.MemoryError{Batch: 9}, "a smaller --batch"},
	} {
		if text := c.err.Error(); strings.Contains(text, "--") || strings.Contains(text, "`moco") {
			t.Errorf("%T speaks in flags: %s", c.err, text)
		}
		got := told(fmt.Errorf("while at work: %w", c.err))
		if !strings.HasSuffix(got, c.want) && !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%T is told as %q, want %q", c.err, got, c.want)
		}
	}
	if got := told(errors.Join(errors.New("a"), errors.New("b"))); got != "a; b" {
		t.Errorf("two errors are told as %q", got)
	}
}

// TestExitCodes: what scripts go by.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitDone}, {errors.New("x"), exitFailed}, {usagef("x"), exitUsage},
		{fmt.Errorf("y: %w", &recipe.Error{Err: errors.New("x")}), exitUsage},
		{pretrain.ErrInterrupted, exitInterrupted}, {fmt.Errorf("y: %w", context.Canceled), exitInterrupted},
		{&embed.StoppedError{}, exitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v gives %d, want %d", c.err, got, c.want)
		}
	}
}
