package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"moco/evaluate"
	"moco/internal/event"
)

const knnHelp = `Classify each test image by the training images whose features are most similar (Wu et al. 2018):
the k nearest vote for their class with weight exp(similarity/t). Nothing is trained, so the
accuracy tells what the features alone know.

--k, --t and --features take lists: the images are encoded once, each query is searched once, and
the table has a row for each combination. The accuracy to report is that of values chosen
beforehand, which come first; the best row of the table is chosen on the test images themselves,
and so a little too good.

The model is the folder of a run, an encoder.safetensors or a checkpoint of PyTorch. Features are
those that the loss saw ("head"), or those before the head ("backbone"), which usually do better.
With --model pixels there is no encoder: the pixels themselves are compared, at --size.`

const knnExample = `  moco eval knn --model run --train cifar10/train.tar --test cifar10/test.tar
  moco eval knn --model run --train cifar10/train.tar --test cifar10/test.tar \
       --features head,backbone --k 20,200 --t 0.07,0.1
  moco eval knn --model run --train train/ --test test/ --features backbone --json`

// knnOptions are those of `moco eval knn`.
type knnOptions struct {
	evalOptions
	ks []int
	ts []float64

	all []evaluate.KNN // each combination
}

func init() { register("eval", (*app).knnCommand) }

func (a *app) knnCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "knn --model DIR|FILE --train PATH --test PATH",
		Short:   "Classify images by their nearest neighbours",
		Long:    knnHelp,
		Example: knnExample,
	}
	return subcommand(a, c, &knnOptions{}, runKNN)
}

func (o *knnOptions) bind(c *cobra.Command) {
	o.bindLayers(c)
	o.evalOptions.bind(c)
	c.Flags().IntSliceVar(&o.ks, "k", []int{200},
		"neighbours that vote; at most the size of the training set; a list compares several")
	c.Flags().Float64SliceVar(&o.ts, "t", []float64{0.1}, "temperature of the votes; a list compares several")
}

func (o *knnOptions) parse(c *cobra.Command, _ []string) error {
	for _, k := range o.ks {
		for _, t := range o.ts {
			one := evaluate.KNN{K: k, T: t}
			if err := one.Check(); err != nil {
				return usagef("--k and --t: %w", err)
			}
			o.all = append(o.all, one)
		}
	}
	if len(o.all) == 0 {
		return usagef("--k and --t: give at least one of each")
	}
	return o.evalOptions.parse(c)
}

func runKNN(ctx context.Context, a *app, o *knnOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	pairs, err := o.embedBoth(ctx, a, e)
	if err != nil {
		return nil, err
	}
	r := &knnDone{Features: pairs[0].name, Bad: pairs[0].bad()}
	for _, p := range pairs {
		done, clear := a.images(p.test.Len(), "neighbours")
		results, err := evaluate.ClassifyAll(ctx, e, o.all, p.train, p.test, done)
		clear()
		if err != nil {
			return nil, err
		}
		if r.Result == nil {
			r.Result, r.KNNTop1 = results[0], results[0].Top1
		}
		for _, one := range results {
			r.Results = append(r.Results, knnRow{Features: p.name, K: one.K, T: one.T, Top1: one.Top1, Top5: one.Top5})
		}
	}
	return r, nil
}

func (r *knnDone) event() event.Event { return r }

func (r *knnDone) text(s *screen) error {
	top5 := ""
	if r.Top5 > 0 {
		top5 = fmt.Sprintf("top 5: %.2f%%; ", r.Top5)
	}
	s.say("kNN accuracy %.2f%% on %d images (%sbank of %d, %s features, k %d, t %v)%s",
		r.Top1, r.Queries, top5, r.Bank, r.Features, r.K, r.T, badImages(r.Bad))
	if len(r.Results) > 1 {
		r.table(s)
	}
	confusion(s, r.Score)
	return nil
}

// table shows all combinations.
func (r *knnDone) table(s *screen) {
	best := 0
	for i := range r.Results {
		if r.Results[i].Top1 > r.Results[best].Top1 {
			best = i
		}
	}
	s.say("")
	w := s.table(true)
	fmt.Fprint(w, "features\tk\tt\ttop 1\ttop 5\t\n")
	for i, row := range r.Results {
		mark, five := "", "-"
		if i == best {
			mark = " *"
		}
		if row.Top5 > 0 {
			five = fmt.Sprintf("%.2f%%", row.Top5)
		}
		fmt.Fprintf(w, "%s\t%d\t%v\t%.2f%%\t%s\t%s\n", row.Features, row.K, row.T, row.Top1, five, mark)
	}
	w.Flush()
	s.say("* the best here, chosen on the test images: a number to report is one whose k and t were chosen without them.")
}

// confusion shows the table of true and predicted classes, if it is not too wide to read.
func confusion(s *screen, score evaluate.Score) {
	if len(score.Classes) > 20 {
		return
	}
	s.say("\nRows are the true classes, columns the predicted ones:")
	w := s.table(true)
	for i, row := range score.Confusion {
		cells := []string{score.Classes[i]}
		for _, n := range row {
			cells = append(cells, strconv.Itoa(n))
		}
		w.row(append(cells, "")...)
	}
	w.Flush()
}

// badImages is the end of a sentence.
func badImages(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d unreadable images skipped", n)
}
