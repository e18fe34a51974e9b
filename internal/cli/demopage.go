package cli

import (
	"context"
	"fmt"

	"moco/data"
	"moco/evaluate"
	"moco/internal/event"
	"moco/internal/report"
	"moco/pretrain"
)

// demoFound is what the demo's page shows.
type demoFound struct {
	pixels, before, after *embeddedDemo
	done                  *pretrain.Done
	curves                *demoCurves
}

// page is the demo's report.
func (d *demo) page(ctx context.Context, f demoFound) (*report.Page, error) {
	r, done, curves := d.recipe, f.done, f.curves
	page := &report.Page{
		Title: "Momentum contrast on drawn pictures",
		Lead: fmt.Sprintf("An encoder learned from %d unlabelled pictures in %s. A nearest-neighbour classifier that compares "+
			"its features names the class of %s of %d new ones; on raw pixels it is %s.",
			d.train.Len(), left(done.Seconds), percent(f.after.top1), d.test.Len(), percent(f.pixels.top1)),
		Facts: [][2]string{
			{"encoder", fmt.Sprintf("%s, %s head of %d", r.Encoder.Describe(), r.Encoder.Head, r.Encoder.Dim)},
			{"queue", fmt.Sprintf("%d keys, momentum %v, temperature %v", r.Queue, r.Momentum, r.Temperature)},
			{"training", fmt.Sprintf("%d steps of %d pictures, %.0f pictures/s on %s",
				done.Step, r.Batch, done.ImagesPerSecond, d.engine.Name())},
		},
		Table: report.Table{
			Header: []string{"features", "kNN accuracy"},
			Rows:   (&demoDone{Pixels: f.pixels.top1, Untrained: f.before.top1, Trained: f.after.top1}).rows(),
		},
		Plots: []report.Plot{
			{Title: "Contrastive loss", XLabel: "step", YLabel: "InfoNCE", Curves: []report.Curve{curves.loss},
				Lines: []report.Level{{Name: "chance", Y: curves.chance}}},
			{Title: "kNN accuracy", XLabel: "epoch", YLabel: "percent", Curves: []report.Curve{curves.knn},
				Lines: []report.Level{{Name: "raw pixels", Y: f.pixels.top1}, {Name: "untrained", Y: f.before.top1}}},
		},
		Command: "moco demo",
		Notes:   []string{"Neighbours of the query's class are outlined in green, others in red."},
	}
	for _, g := range []struct {
		title string
		by    *embeddedDemo
	}{{"Nearest neighbours before training", f.before}, {"Nearest neighbours after training", f.after}} {
		gallery, err := d.gallery(ctx, g.title, g.by)
		if err != nil {
			return nil, err
		}
		page.Galleries = append(page.Galleries, gallery)
	}
	return page, nil
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

// gallery shows one test picture of each of some classes with its nearest pictures of the training
// set.
func (d *demo) gallery(ctx context.Context, title string, by *embeddedDemo) (report.Gallery, error) {
	const rows, neighbours = 8, 7
	g := report.Gallery{Title: title}
	picked, places := firstOfClasses(by.queries, rows)
	lists, err := evaluate.Neighbours(ctx, d.engine, by.bank, picked, neighbours)
	if err != nil {
		return g, err
	}
	for q, list := range lists {
		var row report.GalleryRow
		if row.Query, err = classPicture(d.test, places[q], false); err != nil {
			return g, err
		}
		for _, n := range list {
			p, err := classPicture(d.train, n.Row, by.bank.Labels[n.Row] == picked.Labels[q])
			if err != nil {
				return g, err
			}
			row.Neighbours = append(row.Neighbours, p)
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}

// firstOfClasses picks the first row of each of the first classes.
func firstOfClasses(e *evaluate.Embedded, most int) (picked *evaluate.Embedded, places []int) {
	shown := map[int]bool{}
	picked = &evaluate.Embedded{Dim: e.Dim}
	for i, label := range e.Labels {
		if shown[label] || len(places) == most {
			continue
		}
		shown[label] = true
		places = append(places, i)
		picked.Labels = append(picked.Labels, label)
		picked.Features = append(picked.Features, e.Features[i*e.Dim:(i+1)*e.Dim]...)
	}
	return picked, places
}

// classPicture is an image with its class.
func classPicture(set *data.Set, i int, good bool) (report.Picture, error) {
	img := &data.Image{}
	err := set.Read(i, img)
	return report.Picture{Image: img, Caption: set.Classes()[set.Label(i)], Good: good}, err
}
