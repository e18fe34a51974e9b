package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
)

// demoOptions are those of `moco demo`.
type demoOptions struct {
	machine
	out   string
	steps int
}

func init() { register("", (*app).demoCommand) }

func (a *app) demoCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:   "demo",
		Short: "See it work in a minute or two, from nothing",
		Long: `Draw a set of small pictures (ten classes of shapes and textures, in random colours, places, sizes
and angles), learn from them without their labels, and measure what was learned: the accuracy of a
nearest-neighbour classifier on raw pixels, on the features of the untrained encoder, and on those
of the trained one.

Writes a folder with the run and report.html: curves, and pictures with their nearest neighbours
before and after.`,
		Example: `  moco demo
  moco demo --out /tmp/demo --json`,
	}, &demoOptions{}, runDemo)
}

func (o *demoOptions) bind(c *cobra.Command) {
	c.Flags().StringVar(&o.out, "out", "moco-demo", "folder to write; it must not hold anything yet")
	c.Flags().IntVar(&o.steps, "steps", 0, "stop after so many steps (the table is then worth little)")
	o.machine.bind(c)
}

func (o *demoOptions) parse(*cobra.Command, []string) error {
	if entries, err := os.ReadDir(o.out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; give another folder with --out", o.out)
	}
	return nil
}

// demo is the demonstration at work.
type demo struct {
	app         *app
	engine      *cpu.Engine
	recipe      moco.Recipe
	train, test *data.Set
	knn         evaluate.KNN
}

// embeddedDemo is the set as one encoder, or the pixels, see it, and how well that tells classes
// apart.
type embeddedDemo struct {
	bank, queries *evaluate.Embedded
	top1          float64 // percent
}

func runDemo(ctx context.Context, a *app, o *demoOptions) (result, error) {
	d := &demo{app: a, knn: evaluate.KNN{K: 200, T: 0.1}}
	var err error
	if d.recipe, err = recipe.Load("demo", nil); err != nil {
		return nil, err
	}
	if d.engine, err = o.engine(a); err != nil {
		return nil, err
	}
	if d.train, err = a.open(ctx, "builtin:train", data.Train); err != nil {
		return nil, err
	}
	defer d.train.Close()
	if d.test, err = a.open(ctx, "builtin:test", data.Test); err != nil {
		return nil, err
	}
	defer d.test.Close()
	a.say("A drawn set: %d pictures to learn from, %d to test, %d classes. Their labels are used for measuring only.",
		d.train.Len(), d.test.Len(), len(d.train.Classes()))
	return d.run(ctx, o)
}

func (d *demo) run(ctx context.Context, o *demoOptions) (result, error) {
	pixels, err := d.pixels(ctx)
	if err != nil {
		return nil, err
	}
	before, err := d.embed(ctx, func(o encoder.Options) (*encoder.Encoder, error) {
		return encoder.Untrained(d.recipe, nil, o)
	})
	if err != nil {
		return nil, err
	}
	run := filepath.Join(o.out, "run")
	var curves demoCurves
	done, err := d.app.pretrain(ctx, pretrain.Options{
		Recipe: d.recipe, Data: d.train, DataPath: "builtin:train", Out: run, Steps: o.steps,
		Monitor: pretrain.MonitorOptions{Train: d.train, Test: d.test},
		Engine:  d.engine, Workers: o.workers(), Log: d.app.logger(),
	}, curves.event)
	if err != nil {
		return nil, err
	}
	after, err := d.embed(ctx, func(o encoder.Options) (*encoder.Encoder, error) {
		return encoder.OpenWith(ctx, run, o)
	})
	if err != nil {
		return nil, err
	}
	page, err := d.page(ctx, demoFound{pixels: pixels, before: before, after: after, done: done, curves: &curves})
	if err != nil {
		return nil, err
	}
	if err := page.Save(o.out); err != nil {
		return nil, err
	}
	return &demoDone{Pixels: pixels.top1, Untrained: before.top1, Trained: after.top1, Seconds: done.Seconds,
		Report: filepath.Join(o.out, "report.html"), Run: run}, nil
}

// pixels measures the raw pixels.
func (d *demo) pixels(ctx context.Context) (*embeddedDemo, error) {
	return d.measure(ctx, func(set *data.Set) (*evaluate.Embedded, error) {
		return evaluate.Pixels(ctx, set, d.recipe.Views)
	})
}

// embed measures an encoder's features.
func (d *demo) embed(ctx context.Context, open func(encoder.Options) (*encoder.Encoder, error)) (*embeddedDemo, error) {
	e, err := open(encoder.Options{Engine: d.engine, Batch: 128})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return d.measure(ctx, func(set *data.Set) (*evaluate.Embedded, error) {
		return evaluate.Features(ctx, e, set, encoder.Head, nil)
	})
}

func (d *demo) measure(ctx context.Context, features func(*data.Set) (*evaluate.Embedded, error)) (*embeddedDemo, error) {
	bank, err := features(d.train)
	if err != nil {
		return nil, err
	}
	queries, err := features(d.test)
	if err != nil {
		return nil, err
	}
	r, err := d.knn.Classify(ctx, d.engine, bank, queries)
	if err != nil {
		return nil, err
	}
	return &embeddedDemo{bank: bank, queries: queries, top1: r.Top1}, nil
}

func (r *demoDone) event() event.Event { return r }

// rows are the demo's table.
func (r *demoDone) rows() [][]string {
	return [][]string{
		{"raw pixels", percent(r.Pixels)},
		{"untrained encoder", percent(r.Untrained)},
		{"trained encoder", percent(r.Trained)},
	}
}

func (r *demoDone) text(s *screen) error {
	s.say("")
	w := s.table(false)
	fmt.Fprintln(w, "features\tkNN accuracy")
	for _, row := range r.rows() {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	w.Flush()
	s.say("\nThe report, with curves and neighbours: %s\n"+
		"Look around in it:      moco studio --data builtin:test --model %s\n"+
		"Next, your own images:  moco train --data FOLDER --time 1h --out run   (moco train --help tells more)", r.Report, r.Run)
	return nil
}
