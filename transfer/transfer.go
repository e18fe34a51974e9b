package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/pretrain"
	"moco/recipe"
	"moco/tensor"
)

// The arms of a comparison: how an encoder was come by.
const (
	MoCo       = "moco"       // pretrained without labels
	Supervised = "supervised" // pretrained with the labels of the same images
	Scratch    = "scratch"    // not at all: random weights
)

// Arms lists them in the order of the table.
func Arms() []string { return []string{MoCo, Supervised, Scratch} }

// Comparison is the paper's question: encoders are pretrained on some images, and linear classifiers and fine-tuning on others tell what that was worth.
type Comparison struct {
	Arms  []string // some of Arms, in its order
	Seeds int      // each pretrains, draws labels and trains anew

	Recipe             moco.Recipe      // of MoCo's pretraining, seed apart; its encoder, views and precision are those of all arms
	Model              *encoder.Encoder // stands for MoCo's pretraining with every seed; may be nil. The recipe's encoder must be its
	SupervisedSettings []string         // change the recipe of supervised pretraining: TuningRecipe's, with as many epochs as Recipe
	Linear             evaluate.Linear
	Labels             []data.Share // with which each arm is fine-tuned
	TuningSettings     []string     // change the recipe of fine-tuning

	Pretraining     *data.Set // labelled, for the supervised arm
	PretrainingPath string
	Train, Test     *data.Set // labelled
	TrainPath       string
	Out             string // gets ARM/WHAT/seed-N/ for each part, results.json and table.md

	Engine  engine.Engine
	Workers int
	Started func(p Part, number, of int)       // may be nil
	Events  func(p Part, e event.Event)        // of the runs; may be nil
	Probing func(p Part, at evaluate.Progress) // of the linear classifiers; may be nil
	Ended   func(p Part, top1 float64)         // a classifier was measured, or had been before; may be nil
	Log     *slog.Logger
}

// Part is one thing to do in a comparison.
type Part struct {
	Arm  string `json:"arm"`
	Seed int    `json:"seed"`
	What string `json:"what"` // pretrain, linear, or labels-1% and so on: fine-tuning with that share
}

// String is the part for people.
func (p Part) String() string { return fmt.Sprintf("%s, %s, seed %d", p.Arm, p.What, p.Seed) }

// Outcome is what came of one arm with one seed.
type Outcome struct {
	Arm    string  `json:"arm"`
	Seed   int     `json:"seed"`
	Linear Linear  `json:"linear"`
	Tuned  []Tuned `json:"finetuned"` // in the order of Comparison.Labels
}

// Linear is how a linear classifier on an arm's frozen features did.
type Linear struct {
	evaluate.LinearResult
	Holds string `json:"holds"` // what the result holds for: encoder, images and settings
}

// Check says before anything is trained what cannot be.
func (c *Comparison) Check() error {
	if len(c.Arms) == 0 || c.Seeds < 1 || len(c.Labels) == 0 {
		return fmt.Errorf("a comparison needs arms, seeds and shares of labels, not %v, %d and %v", c.Arms, c.Seeds, c.Labels)
	}
	for _, arm := range c.Arms {
		if !slices.Contains(Arms(), arm) {
			return &recipe.Error{Err: fmt.Errorf("arm %q is not known; there are %s", arm, strings.Join(Arms(), ", "))}
		}
		if _, err := c.recipe(arm, 0); err != nil {
			return err
		}
		for i := range c.Labels {
			if err := c.tuning(arm, i, nil).Check(); err != nil {
				return err
			}
		}
	}
	if len(c.Pretraining.Classes()) < 2 && slices.Contains(c.Arms, Supervised) {
		return fmt.Errorf("supervised pretraining needs labelled images, and %s holds none: give class folders, or leave that arm out", c.PretrainingPath)
	}
	if c.Model != nil {
		if err := c.Model.CheckStart(&c.Recipe); err != nil {
			return &recipe.Error{Err: err}
		}
	}
	return c.Linear.Check()
}

// recipe is how an arm is pretrained with a seed; from scratch, that it is not.
func (c *Comparison) recipe(arm string, seed int) (moco.Recipe, error) {
	r := c.Recipe
	if arm != MoCo {
		r = TuningRecipe(c.Recipe, c.Pretraining.Len())
		r.Epochs = c.Recipe.Epochs
		r.Encoder.Dim = max(1, len(c.Pretraining.Classes()))
	}
	r.Seed = uint64(seed)
	if arm != Supervised {
		return r, nil
	}
	return recipe.Change(r, c.SupervisedSettings)
}

// tuning is how an arm is fine-tuned with one of the shares, from an encoder or, if that is nil, from scratch.
func (c *Comparison) tuning(arm string, labels int, start *encoder.Encoder) *Tuning {
	return &Tuning{Start: start, Like: c.Recipe, Settings: c.TuningSettings, Labels: c.Labels[labels], Train: c.Train, Test: c.Test, TrainPath: c.TrainPath,
		Out: filepath.Join(c.Out, arm, c.what(labels)), Engine: c.Engine, Workers: c.Workers, Log: c.Log}
}

func (c *Comparison) what(labels int) string { return "labels-" + c.Labels[labels].String() }

// Compare does what of the comparison is not done yet, seed by seed, so that one that is stopped early has the first seed of everything; after each arm it
// writes results.json and table.md anew. When the context ends, the run in progress is saved, and what there is is returned with pretrain.ErrInterrupted.
func Compare(ctx context.Context, c Comparison) ([]Outcome, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	var all []Outcome
	number, of := 0, 0
	for _, arm := range c.Arms {
		of += c.Seeds * (1 + len(c.Labels))
		if c.pretrains(arm) {
			of += c.Seeds
		}
	}
	began := func(p Part) {
		number++
		if c.Started != nil {
			c.Started(p, number, of)
		}
	}
	for seed := range c.Seeds {
		for _, arm := range c.Arms {
			one, err := c.arm(ctx, arm, seed, began)
			if err != nil && ctx.Err() != nil {
				err = pretrain.ErrInterrupted
			}
			if err == nil {
				all = append(all, *one)
				err = c.write(all)
			}
			if err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// arm pretrains and measures one arm with one seed.
func (c *Comparison) arm(ctx context.Context, arm string, seed int, began func(Part)) (*Outcome, error) {
	part := Part{arm, seed, "pretrain"}
	var start *encoder.Encoder
	if arm == MoCo {
		start = c.Model
	}
	if c.pretrains(arm) {
		began(part)
		var err error
		if start, err = c.pretrain(ctx, part); err != nil {
			return nil, fmt.Errorf("%v: %w", part, err)
		}
		defer start.Close()
	}
	one := &Outcome{Arm: arm, Seed: seed}
	part.What = "linear"
	began(part)
	if err := c.linear(ctx, part, start, &one.Linear); err != nil {
		return nil, fmt.Errorf("%v: %w", part, err)
	}
	if c.Ended != nil {
		c.Ended(part, one.Linear.Top1)
	}
	for i := range c.Labels {
		part.What = c.what(i)
		began(part)
		t := c.tuning(arm, i, start)
		t.Events = func(_ int, e event.Event) {
			if c.Events != nil {
				c.Events(part, e)
			}
		}
		tuned, err := t.one(ctx, seed)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", part, err)
		}
		one.Tuned = append(one.Tuned, *tuned)
		if c.Ended != nil {
			c.Ended(part, tuned.Top1)
		}
	}
	return one, nil
}

func (c *Comparison) folder(p Part) string {
	return filepath.Join(c.Out, p.Arm, p.What, fmt.Sprint("seed-", p.Seed))
}

// pretrains tells whether an arm's encoder has to be trained.
func (c *Comparison) pretrains(arm string) bool {
	return arm == Supervised || arm == MoCo && c.Model == nil
}

// pretrain runs an arm's pretraining, or goes on with it, and opens the encoder.
func (c *Comparison) pretrain(ctx context.Context, p Part) (*encoder.Encoder, error) {
	recipe, err := c.recipe(p.Arm, p.Seed)
	if err != nil {
		return nil, err
	}
	folder := c.folder(p)
	before, resume := pretrain.Began(folder)
	if resume && before.Epochs != recipe.Epochs {
		return nil, fmt.Errorf("%s began as a run of %d epochs, not %d; give another --out, or remove that folder to run it anew", folder, before.Epochs, recipe.Epochs)
	}
	done, err := pretrain.Run(ctx, pretrain.Options{Recipe: recipe, Data: c.Pretraining, DataPath: c.PretrainingPath, Out: folder, Resume: resume,
		Engine: c.Engine, Workers: c.Workers, Log: c.Log,
		Events: func(e event.Event) {
			if c.Events != nil {
				c.Events(p, e)
			}
		}})
	if err != nil {
		return nil, err
	}
	return encoder.OpenWith(done.Encoder, encoder.Options{Engine: c.Engine, Batch: 1})
}

// embeddingBatch is how many images are encoded at once for linear classifiers.
const embeddingBatch = 256

// linear trains linear classifiers on the features of an encoder, or of random weights if that is nil, unless that is done.
func (c *Comparison) linear(ctx context.Context, p Part, start *encoder.Encoder, result *Linear) error {
	learned, err := c.recipe(p.Arm, p.Seed)
	if err != nil {
		return err
	}
	if start != nil {
		learned = start.Recipe
		learned.Start = start.SHA256
	}
	l := c.Linear
	l.Seed = uint64(p.Seed)
	settings, err := json.Marshal(l)
	if err != nil {
		return err
	}
	holds := strings.Join([]string{recipe.Write(learned), string(settings), c.Train.Fingerprint(), c.Test.Fingerprint()}, "\n")
	folder := c.folder(p)
	if done, err := readResult(folder, result); err != nil {
		return err
	} else if done && result.Holds == holds {
		return nil
	} else if done {
		return fmt.Errorf("%s holds the result of another encoder or other images; give another --out, or remove that folder to have it measured again", folder)
	}
	var trained map[string]*tensor.Tensor // nil: random weights
	if start != nil {
		if trained, err = start.Start(&learned); err != nil {
			return err
		}
	}
	model, err := encoder.Untrained(learned, trained, encoder.Options{Engine: c.Engine, Batch: embeddingBatch})
	if err != nil {
		return err
	}
	defer model.Close()
	var sets [2]*evaluate.Embedded
	for i, set := range []*data.Set{c.Train, c.Test} {
		if sets[i], err = evaluate.Features(ctx, model, set, encoder.Backbone, nil); err != nil {
			return err
		}
	}
	r, err := l.Classify(ctx, c.Engine, sets[0], sets[1], func(at evaluate.Progress) {
		if c.Probing != nil {
			c.Probing(p, at)
		}
	})
	if err != nil {
		return err
	}
	*result = Linear{*r, holds}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of a result: %w", err)
	}
	return writeResult(folder, result)
}

// Row is an arm over its seeds.
type Row struct {
	Arm       string            `json:"arm"`
	Linear    evaluate.Spread   `json:"linear_top1"`   // percent
	Finetuned []evaluate.Spread `json:"finetune_top1"` // for each share of the labels
}

// Table joins the seeds of each arm.
func (c *Comparison) Table(outcomes []Outcome) []Row {
	var rows []Row
	for _, arm := range c.Arms {
		var linear []float64
		tuned := make([][]float64, len(c.Labels))
		for _, o := range outcomes {
			if o.Arm != arm {
				continue
			}
			linear = append(linear, o.Linear.Top1)
			for i, t := range o.Tuned {
				tuned[i] = append(tuned[i], t.Top1)
			}
		}
		row := Row{Arm: arm, Linear: evaluate.SpreadOf(linear)}
		for _, values := range tuned {
			row.Finetuned = append(row.Finetuned, evaluate.SpreadOf(values))
		}
		rows = append(rows, row)
	}
	return rows
}

// Markdown writes the table.
func (c *Comparison) Markdown(w io.Writer, rows []Row) error {
	var b strings.Builder
	b.WriteString("| encoder | linear classifier |")
	for _, l := range c.Labels {
		fmt.Fprintf(&b, " fine-tuned, labels: %s |", l)
	}
	b.WriteString(" seeds |\n|---|---|" + strings.Repeat("---|", len(c.Labels)) + "---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %v |", r.Arm, r.Linear)
		for _, f := range r.Finetuned {
			fmt.Fprintf(&b, " %v |", f)
		}
		fmt.Fprintf(&b, " %d |\n", r.Linear.Runs)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Files are what Compare writes beside the runs.
var Files = []string{"results.json", "table.md"}

// write puts the results and the table into the folder.
func (c *Comparison) write(outcomes []Outcome) error {
	rows := c.Table(outcomes)
	raw, err := json.MarshalIndent(struct {
		Table    []Row     `json:"table"`
		Outcomes []Outcome `json:"outcomes"`
	}{rows, outcomes}, "", " ")
	if err != nil {
		return err
	}
	contents := []func(io.Writer) error{
		func(w io.Writer) error { _, err := w.Write(append(raw, '\n')); return err },
		func(w io.Writer) error { return c.Markdown(w, rows) },
	}
	for i, name := range Files {
		_, failed := atomicfile.Save(filepath.Join(c.Out, name), contents[i])
		err = errors.Join(err, failed)
	}
	return err
}
