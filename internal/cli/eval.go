package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/evaluate"
)

func (a *app) evalKNN() *cobra.Command {
	var f evalFlags
	var k evaluate.KNN
	c := &cobra.Command{
		Use:   "knn --model DIR|FILE --train PATH --test PATH",
		Short: "Classify images by their nearest neighbours",
		Long: `Classify each test image by the training images whose features are most similar (Wu et al. 2018): the k nearest vote for their
class with weight exp(similarity/t). Nothing is trained, so the accuracy tells what the features alone know.

The model is the folder of a run or an encoder.safetensors. Features are those that the loss saw ("head"), or those before the head
("backbone"), which usually do better. With --model pixels there is no encoder: the pixels themselves are compared, at --size.`,
		Example: `  moco eval knn --model run --train cifar10/train.tar --test cifar10/test.tar
  moco eval knn --model run/encoder.safetensors --train train/ --test test/ --features backbone --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			sets, err := f.embed(ctx, a, e)
			if err != nil {
				return err
			}
			r, err := k.Classify(ctx, e, sets[0], sets[1])
			if err != nil {
				return err
			}
			if a.json {
				return a.print(struct {
					Event string `json:"event"`
					*evaluate.Result
					KNNTop1  float64 `json:"knn_top1"`
					Features string  `json:"features"`
					Bad      int     `json:"bad_images"`
				}{"done", r, r.Top1, f.features, sets[0].Bad + sets[1].Bad})
			}
			a.say("kNN accuracy %.2f%% on %d images (top 5: %.2f%%; bank of %d, %s features, k %d, t %v)%s", r.Top1, r.Queries, r.Top5, r.Bank, f.features, r.K, r.T, badImages(sets[0].Bad+sets[1].Bad))
			if len(r.Classes) <= 20 {
				a.say("\nRows are the true classes, columns the predicted ones:")
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
				for i, row := range r.Confusion {
					fmt.Fprintf(w, "%s\t", r.Classes[i])
					for _, n := range row {
						fmt.Fprintf(w, "%d\t", n)
					}
					fmt.Fprintln(w)
				}
				w.Flush()
			}
			return nil
		},
	}
	f.add(a, c, "head")
	c.Flags().IntVar(&k.K, "k", 200, "neighbours that vote; at most the size of the training set")
	c.Flags().Float64Var(&k.T, "t", 0.1, "temperature of the votes")
	return c
}

// evalFlags say which features are evaluated, and on what.
type evalFlags struct {
	model, train, test, features, precision string
	batch, size                             int
}

// add declares the flags; layer is the default of --features.
func (f *evalFlags) add(a *app, c *cobra.Command, layer string) {
	c.Flags().StringVar(&f.model, "model", "", "folder of a run, an encoder.safetensors, a checkpoint of PyTorch, or pixels (required)")
	c.Flags().StringVar(&f.train, "train", "", "labelled images to learn from (required)")
	c.Flags().StringVar(&f.test, "test", "", "labelled images to classify (required)")
	c.Flags().StringVar(&f.features, "features", layer, "head or backbone")
	c.Flags().IntVar(&f.size, "size", 32, "pixels a side, for --model pixels")
	c.Flags().StringVar(&f.precision, "precision", "", "fp32 or bf16; the encoder's own if not given")
	c.Flags().IntVar(&f.batch, "batch", 128, "images encoded at once")
	a.threadsFlag(c)
	for _, name := range []string{"model", "train", "test"} {
		c.MarkFlagRequired(name)
	}
}

// embed makes the features of the training and the test images.
func (f *evalFlags) embed(ctx context.Context, a *app, e engine.Engine) (sets [2]*evaluate.Embedded, err error) {
	embed := func(set *data.Set) (*evaluate.Embedded, error) {
		return evaluate.Pixels(ctx, set, moco.Views{Policy: "cifar", Size: f.size})
	}
	if f.model == "pixels" {
		f.features = "pixels"
	} else {
		m, err := evaluate.OpenModel(f.model, e, f.batch, f.precision)
		if err != nil {
			return sets, err
		}
		defer m.Close()
		a.imported(f.model, m.Encoder)
		embed = func(set *data.Set) (*evaluate.Embedded, error) {
			return a.embed(ctx, m, set, evaluate.Layer(f.features))
		}
	}
	for i, path := range []string{f.train, f.test} {
		set, err := a.open(ctx, path, []data.Part{data.Train, data.Test}[i])
		if err != nil {
			return sets, err
		}
		defer set.Close()
		if set.Classes() == nil {
			return sets, fmt.Errorf("%s holds no labelled images: give class folders", path)
		}
		if sets[i], err = embed(set); err != nil {
			return sets, err
		}
	}
	return sets, nil
}

// embed makes features with a progress bar.
func (a *app) embed(ctx context.Context, m *evaluate.Model, set *data.Set, layer evaluate.Layer) (*evaluate.Embedded, error) {
	var progress func(int)
	if a.onTerminal() && !a.json {
		bar := progressbar.NewOptions(set.Len(), progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("images"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		progress = func(done int) { bar.Set(done) }
		defer bar.Clear()
	}
	return m.Embed(ctx, set, layer, progress)
}
