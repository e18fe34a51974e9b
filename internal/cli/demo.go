package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/internal/event"
	"moco/internal/report"
	"moco/pretrain"
	"moco/recipe"
)

func (a *app) demo() *cobra.Command {
	var out string
	var steps int
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work in two minutes, from nothing",
		Long: `Draw a set of small pictures (ten classes of shapes and textures, in random colours, places, sizes and angles), learn from them without
their labels, and measure what was learned: the accuracy of a nearest-neighbour classifier on raw pixels, on the features of the untrained
encoder, and on those of the trained one.

Writes a folder with the run and report.html: curves, and pictures with their nearest neighbours before and after.`,
		Example: `  moco demo
  moco demo --out /tmp/demo --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runDemo(c.Context(), out, steps) },
	}
	c.Flags().StringVar(&out, "out", "moco-demo", "folder to write; it must not hold anything yet")
	c.Flags().IntVar(&steps, "steps", 0, "stop after so many steps (the table is then worth little)")
	a.threadsFlag(c)
	return c
}

// demoResult is the demo's table.
type demoResult struct {
	Event     string  `json:"event"`
	Pixels    float64 `json:"knn_pixels"` // percent
	Untrained float64 `json:"knn_untrained"`
	Trained   float64 `json:"knn_top1"`
	Seconds   float64 `json:"seconds"`
	Report    string  `json:"report"`
	Run       string  `json:"run"`
}

func (a *app) runDemo(ctx context.Context, out string, steps int) error {
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; give another folder with --out", out)
	}
	recipe, err := recipe.Load("demo", nil)
	if err != nil {
		return err
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	train, err := a.open(ctx, "builtin:train", data.Train)
	if err != nil {
		return err
	}
	defer train.Close()
	test, err := a.open(ctx, "builtin:test", data.Test)
	if err != nil {
		return err
	}
	defer test.Close()
	a.say("A drawn set: %d pictures to learn from, %d to test, %d classes. Their labels are used for measuring only.", train.Len(), test.Len(), len(train.Classes()))

	bankPixels, err := evaluate.Pixels(ctx, train, recipe.Views)
	if err != nil {
		return err
	}
	testPixels, err := evaluate.Pixels(ctx, test, recipe.Views)
	if err != nil {
		return err
	}
	knn := evaluate.KNN{K: 200, T: 0.1}
	pixels, err := knn.Classify(ctx, e, bankPixels, testPixels)
	if err != nil {
		return err
	}

	run := filepath.Join(out, "run")
	before, beforeBank, beforeTest, err := demoFeatures(ctx, e, knn, train, test, func() (*encoder.Encoder, error) {
		return encoder.Untrained(recipe, nil, encoder.Options{Engine: e, Batch: 128})
	})
	if err != nil {
		return err
	}
	var curves demoCurves
	o := pretrain.Options{Recipe: recipe, Data: train, DataPath: "builtin:train", Out: run, Steps: steps, Monitor: pretrain.MonitorOptions{Train: train, Test: test},
		Engine: e, Workers: a.workers(), Log: a.logger()}
	done, err := a.pretrain(ctx, o, curves.event)
	if err != nil {
		return err
	}
	after, afterBank, afterTest, err := demoFeatures(ctx, e, knn, train, test, func() (*encoder.Encoder, error) { return encoder.OpenWith(run, encoder.Options{Engine: e, Batch: 128}) })
	if err != nil {
		return err
	}

	rows := [][2]string{{"raw pixels", percent(pixels.Top1)}, {"untrained encoder", percent(before.Top1)}, {"trained encoder", percent(after.Top1)}}
	page := &report.Page{
		Title: "Momentum contrast on drawn pictures",
		Lead: fmt.Sprintf("An encoder learned from %d unlabelled pictures in %s. A nearest-neighbour classifier that compares its features names the class of %s of %d new ones; on raw pixels it is %s.",
			train.Len(), left(done.Seconds), percent(after.Top1), test.Len(), percent(pixels.Top1)),
		Facts: [][2]string{{"encoder", fmt.Sprintf("%s, width %v, %s head of %d", recipe.Encoder.Arch, recipe.Encoder.Width, recipe.Encoder.Head, recipe.Encoder.Dim)},
			{"queue", fmt.Sprintf("%d keys, momentum %v, temperature %v", recipe.Queue, recipe.Momentum, recipe.Temperature)},
			{"training", fmt.Sprintf("%d steps of %d pictures, %.0f pictures/s on %s", done.Step, recipe.Batch, done.ImagesPerSecond, e.Name())}},
		Table: report.Table{Header: []string{"features", "kNN accuracy"}},
		Plots: []report.Plot{
			{Title: "Contrastive loss", XLabel: "step", YLabel: "InfoNCE", Curves: []report.Curve{curves.loss}, Lines: []report.Level{{Name: "chance", Y: curves.chance}}},
			{Title: "kNN accuracy", XLabel: "epoch", YLabel: "percent", Curves: []report.Curve{curves.knn}, Lines: []report.Level{{Name: "raw pixels", Y: pixels.Top1}, {Name: "untrained", Y: before.Top1}}},
		},
		Command: "moco demo",
		Notes:   []string{"Neighbours of the query's class are outlined in green, others in red."},
	}
	for _, r := range rows {
		page.Table.Rows = append(page.Table.Rows, r[:])
	}
	for _, g := range []struct {
		title         string
		bank, queries *evaluate.Embedded
	}{{"Nearest neighbours before training", beforeBank, beforeTest}, {"Nearest neighbours after training", afterBank, afterTest}} {
		gallery, err := demoGallery(ctx, e, g.title, g.bank, g.queries, train, test)
		if err != nil {
			return err
		}
		page.Galleries = append(page.Galleries, gallery)
	}
	if err := page.Save(out); err != nil {
		return err
	}
	result := demoResult{"done", pixels.Top1, before.Top1, after.Top1, done.Seconds, filepath.Join(out, "report.html"), run}
	if a.json {
		return a.print(result)
	}
	a.say("")
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "features\tkNN accuracy")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\n", r[0], r[1])
	}
	w.Flush()
	a.say("\nThe report, with curves and neighbours: %s\nNext, your own images: moco train --data FOLDER --recipe cifar --out run   (moco train --help tells more)", result.Report)
	return nil
}

func percent(x float64) string { return fmt.Sprintf("%.1f%%", x) }

// demoFeatures embeds both sets with a model and classifies.
func demoFeatures(ctx context.Context, e engine.Engine, knn evaluate.KNN, train, test *data.Set, open func() (*encoder.Encoder, error)) (*evaluate.Result, *evaluate.Embedded, *evaluate.Embedded, error) {
	m, err := open()
	if err != nil {
		return nil, nil, nil, err
	}
	defer m.Close()
	bank, err := evaluate.Features(ctx, m, train, encoder.Head, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	queries, err := evaluate.Features(ctx, m, test, encoder.Head, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := knn.Classify(ctx, e, bank, queries)
	return r, bank, queries, err
}

// demoCurves collects what the report plots.
type demoCurves struct {
	loss, knn report.Curve
	chance    float64
}

func (d *demoCurves) event(e event.Event) {
	switch e := e.(type) {
	case pretrain.Start:
		d.chance = e.ChanceLoss
	case pretrain.Step:
		d.loss.Name = "loss"
		d.loss.X, d.loss.Y = append(d.loss.X, float64(e.Step)), append(d.loss.Y, e.Loss)
	case pretrain.Monitor:
		d.knn.Name = "trained"
		d.knn.X, d.knn.Y = append(d.knn.X, float64(e.Epoch)), append(d.knn.Y, e.KNNTop1)
	}
}

// demoGallery shows one test picture of each of some classes with its nearest pictures of the training set.
func demoGallery(ctx context.Context, e engine.Engine, title string, bank, queries *evaluate.Embedded, train, test *data.Set) (report.Gallery, error) {
	const rows, neighbours = 8, 7
	g := report.Gallery{Title: title}
	shown := map[int]bool{}
	picked := &evaluate.Embedded{Dim: queries.Dim}
	var places []int
	for i, label := range queries.Labels {
		if !shown[label] && len(places) < rows {
			shown[label] = true
			places = append(places, i)
			picked.Labels = append(picked.Labels, label)
			picked.Features = append(picked.Features, queries.Features[i*queries.Dim:(i+1)*queries.Dim]...)
		}
	}
	lists, err := evaluate.Neighbours(ctx, e, bank, picked, neighbours)
	if err != nil {
		return g, err
	}
	picture := func(set *data.Set, i int, good bool) (report.Picture, error) {
		img := &data.Image{}
		err := set.Read(i, img)
		return report.Picture{Image: img, Caption: set.Classes()[set.Label(i)], Good: good}, err
	}
	for q, list := range lists {
		var row report.GalleryRow
		if row.Query, err = picture(test, places[q], false); err != nil {
			return g, err
		}
		for _, n := range list {
			p, err := picture(train, n.Row, bank.Labels[n.Row] == picked.Labels[q])
			if err != nil {
				return g, err
			}
			row.Neighbours = append(row.Neighbours, p)
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}
