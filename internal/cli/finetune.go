package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/internal/event"
	"moco/pretrain"
	"moco/transfer"
)

// tuningFlags are the flags that change how labels are learned from.
type tuningFlags struct {
	epochs, batch int
	lr, decay     float64
}

func (f *tuningFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.epochs, "epochs", 0, "passes over the labelled images; by their number if not given")
	c.Flags().IntVar(&f.batch, "batch", 0, "images a step; 64 if not given")
	c.Flags().Float64Var(&f.lr, "lr", 0, "learning rate at the start of the cosine")
	c.Flags().Float64Var(&f.decay, "weight-decay", 0, "weight decay")
}

// settings are the flags that were given as settings of the recipe.
func (f *tuningFlags) settings(c *cobra.Command) []string {
	var set []string
	for _, one := range []struct{ flag, set string }{{"epochs", fmt.Sprint("epochs=", f.epochs)}, {"batch", fmt.Sprint("batch=", f.batch)},
		{"lr", fmt.Sprint("lr=", f.lr)}, {"weight-decay", fmt.Sprint("weight_decay=", f.decay)}} {
		if c.Flags().Changed(one.flag) {
			set = append(set, one.set)
		}
	}
	return set
}

// finetune runs the seeds and tells of each.
func (a *app) finetune(ctx context.Context, t transfer.Tuning) ([]transfer.Tuned, error) {
	show := &trainView{app: a, part: true}
	t.Started = func(seed int) {
		if a.json {
			a.print(struct {
				Event string `json:"event"`
				Seed  int    `json:"seed"`
			}{"run", seed})
		}
	}
	t.Events = func(seed int, e event.Event) {
		switch e := e.(type) {
		case pretrain.Start:
			if seed == 0 || e.FirstStep > 0 {
				show.event(e)
			}
		case pretrain.Step, pretrain.Warning:
			show.event(e)
		}
	}
	t.Ended = func(r transfer.Tuned) {
		show.clear()
		if a.json {
			a.print(struct {
				Event string `json:"event"`
				transfer.Tuned
			}{"seed", r})
			return
		}
		top5 := ""
		if r.Top5 > 0 {
			top5 = fmt.Sprintf(" (top 5: %.2f%%)", r.Top5)
		}
		a.say("seed %d: fine-tuned accuracy %.2f%%%s on %d images, from %d labelled ones (%s), %d epochs, %d steps, %.0f s%s",
			r.Seed, r.Top1, top5, r.TestImages, r.Images, r.Labels, r.Epochs, r.Steps, r.Seconds, badImages(r.Bad))
	}
	return transfer.Finetune(ctx, t)
}
