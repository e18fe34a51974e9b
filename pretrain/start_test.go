package pretrain

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/encoder"
	"moco/internal/event"
	"moco/recipe"
	"moco/weights"
)

// trained is an encoder after three steps of other images, and its file.
func trained(t *testing.T, settings ...string) (*encoder.Encoder, *weights.File) {
	t.Helper()
	o := options(t, 1, append([]string{"seed=5"}, settings...)...)
	o.Steps = 3
	done := finish(t, o)
	e, err := encoder.OpenWith(context.Background(), done.Encoder, encoder.Options{Batch: 1, Engine: o.Engine})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	f, err := weights.Load(t.Context(), done.Encoder)
	if err != nil {
		t.Fatal(err)
	}
	return e, f
}

// TestStart: a run begins with the weights and statistics of the encoder that it starts from; with
// a head where that fits, never with a classifier's.
func TestStart(t *testing.T) {
	start, file := trained(t)
	for name, c := range map[string]struct {
		settings []string
		head     bool
		prefixes []string
	}{
		"MoCo":          {nil, true, []string{"encoder_q.", "encoder_k."}},
		"another head":  {[]string{"encoder.dim=9"}, false, []string{"encoder_q.", "encoder_k."}},
		"an MLP head":   {[]string{"encoder.head=mlp"}, false, []string{"encoder_q.", "encoder_k."}},
		"end to end":    {[]string{"dictionary=batch", "symmetric=false"}, true, []string{"encoder_q."}},
		"a bank":        {[]string{"dictionary=bank", "symmetric=false", "mask_same_image=false", "queue=0"}, true, []string{"encoder_q."}},
		"with labels":   {[]string{"objective=supervised"}, false, []string{"encoder_q."}},
		"eight classes": {[]string{"objective=supervised", "encoder.dim=8"}, false, []string{"encoder_q."}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, 1, c.settings...)
			o.Start = start
			r := newRun(o)
			defer r.close()
			if err := r.prepare(); err != nil {
				t.Fatal(err)
			}
			if err := r.begin(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, n := range file.Tensors {
				if strings.HasSuffix(n.Name, "num_batches_tracked") || strings.HasPrefix(n.Name, "fc.") && !c.head {
					continue
				}
				for _, prefix := range c.prefixes {
					got, err := r.state.Read(prefix + n.Name)
					if err != nil || !slices.Equal(got.Float32s(), n.Tensor.Float32s()) {
						t.Errorf("%s%s is not the start's: %v", prefix, n.Name, err)
					}
				}
			}
			if head, err := r.state.Read("encoder_q.fc.weight"); !c.head && err == nil && slices.Equal(head.Float32s(), file.Get("fc.weight").Float32s()) {
				t.Error("the head is the start's")
			}
		})
	}
}

// TestStartResumes: a run that starts from an encoder ends with the same bits after interruptions,
// knows where it came from, and refuses another start.
func TestStartResumes(t *testing.T) {
	start, _ := trained(t)
	other, _ := trained(t, "seed=6")
	with := func(settings ...string) Options {
		o := options(t, 2, append([]string{"objective=supervised"}, settings...)...)
		o.Start, o.SaveEvery = start, 3
		return o
	}
	want := finish(t, with())
	if scratch := finish(t, options(t, 1, "objective=supervised")); scratch.SHA256 == want.SHA256 {
		t.Error("from scratch a run ends with the same bits")
	}
	began, err := folder(filepath.Dir(want.Encoder)).recipe()
	if err != nil {
		t.Fatal(err)
	}
	if encoder, err := weights.Load(t.Context(), want.Encoder); err != nil || began.Start != start.SHA256 || encoder.Metadata["start"] != start.SHA256 || !strings.HasPrefix(encoder.Metadata["classes"], `["`) {
		t.Errorf("the run says that it started from %q, its encoder %q: %v", began.Start, encoder.Metadata, err)
	}

	o := with()
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(context.Background())
		o.Events = func(e event.Event) {
			if _, step := e.(Step); step {
				cancel()
			}
		}
		done, err := Run(ctx, o)
		cancel()
		if err == nil {
			if done.SHA256 != want.SHA256 {
				t.Errorf("SHA-256 %s after %d stops, want %s", done.SHA256, stop-1, want.SHA256)
			}
			break
		}
		if !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		o.Resume, o.Start = true, nil // the checkpoint has it all
		o.Recipe.Start = start.SHA256
	}
	o.Events, o.Start = nil, other
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "start") {
		t.Errorf("another start for a run that has begun gives %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"a start that is missing": {func(o *Options) { o.Start, o.Recipe.Start = nil, start.SHA256 }, "which is not given"},
		"another start":           {func(o *Options) { o.Recipe.Start = other.SHA256 }, "the recipe starts from"},
		"another width":           {func(o *Options) { o.Recipe.Encoder.Width = 0.25 }, "width 0.125"},
	} {
		o := with()
		c.change(&o)
		var recipe *recipe.Error
		if _, err := Run(context.Background(), o); !errors.As(err, &recipe) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}
