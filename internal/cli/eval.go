package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/vectors"
)

func (a *app) evalKNN() *cobra.Command {
	var f evalFlags
	var ks []int
	var ts []float64
	c := &cobra.Command{
		Use:   "knn --model DIR|FILE --train PATH --test PATH",
		Short: "Classify images by their nearest neighbours",
		Long: `Classify each test image by the training images whose features are most similar (Wu et al. 2018): the k nearest vote for their
class with weight exp(similarity/t). Nothing is trained, so the accuracy tells what the features alone know.

--k, --t and --features take lists: the images are encoded once, each query is searched once, and the table has a row for each combination. The
accuracy to report is that of values chosen beforehand, which come first; the best row of the table is chosen on the test images themselves, and so a little too good.

The model is the folder of a run, an encoder.safetensors or a checkpoint of PyTorch. Features are those that the loss saw ("head"), or those before the head
("backbone"), which usually do better. With --model pixels there is no encoder: the pixels themselves are compared, at --size.`,
		Example: `  moco eval knn --model run --train cifar10/train.tar --test cifar10/test.tar
  moco eval knn --model run --train cifar10/train.tar --test cifar10/test.tar --features head,backbone --k 20,200 --t 0.07,0.1
  moco eval knn --model run/encoder.safetensors --train train/ --test test/ --features backbone --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var all []evaluate.KNN
			for _, k := range ks {
				for _, t := range ts {
					one := evaluate.KNN{K: k, T: t}
					if err := one.Check(); err != nil {
						return usageError{fmt.Errorf("--k and --t: %w", err)}
					}
					all = append(all, one)
				}
			}
			if len(all) == 0 {
				return usageError{errors.New("--k and --t: give at least one of each")}
			}
			if err := f.check(c); err != nil {
				return err
			}
			ctx := c.Context()
			e, err := a.engine()
			if err != nil {
				return err
			}
			pairs, err := f.embed(ctx, a, e)
			if err != nil {
				return err
			}
			var rows []knnRow
			var first *evaluate.Result
			for _, p := range pairs {
				done, clear := a.progress(p.test.Len(), "neighbours")
				results, err := evaluate.ClassifyAll(ctx, e, all, p.train, p.test, done)
				clear()
				if err != nil {
					return err
				}
				if first == nil {
					first = results[0]
				}
				for _, r := range results {
					rows = append(rows, knnRow{p.features, r.K, r.T, r.Top1, r.Top5})
				}
			}
			return a.tellKNN(first, rows, pairs[0].train.Bad+pairs[0].test.Bad)
		},
	}
	f.add(a, c, "head")
	c.Flags().IntSliceVar(&ks, "k", []int{200}, "neighbours that vote; at most the size of the training set; a list compares several")
	c.Flags().Float64SliceVar(&ts, "t", []float64{0.1}, "temperature of the votes; a list compares several")
	return c
}

// knnRow is one combination of features, k and t.
type knnRow struct {
	Features string  `json:"features"`
	K        int     `json:"k"`
	T        float64 `json:"t"`
	Top1     float64 `json:"top1"`
	Top5     float64 `json:"top5,omitempty"`
}

// tellKNN shows the result of the first combination, and all of them beside it.
func (a *app) tellKNN(r *evaluate.Result, rows []knnRow, bad int) error {
	if a.json {
		return a.print(struct {
			Event string `json:"event"`
			*evaluate.Result
			KNNTop1  float64  `json:"knn_top1"`
			Features string   `json:"features"`
			Bad      int      `json:"bad_images"`
			Results  []knnRow `json:"results"`
		}{"done", r, r.Top1, rows[0].Features, bad, rows})
	}
	top5 := ""
	if r.Top5 > 0 {
		top5 = fmt.Sprintf("top 5: %.2f%%; ", r.Top5)
	}
	a.say("kNN accuracy %.2f%% on %d images (%sbank of %d, %s features, k %d, t %v)%s", r.Top1, r.Queries, top5, r.Bank, rows[0].Features, r.K, r.T, badImages(bad))
	if len(rows) > 1 {
		best := 0
		for i := range rows {
			if rows[i].Top1 > rows[best].Top1 {
				best = i
			}
		}
		a.say("")
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(w, "features\tk\tt\ttop 1\ttop 5\t\n")
		for i, row := range rows {
			mark := ""
			if i == best {
				mark = " *"
			}
			five := "-"
			if row.Top5 > 0 {
				five = fmt.Sprintf("%.2f%%", row.Top5)
			}
			fmt.Fprintf(w, "%s\t%d\t%v\t%.2f%%\t%s\t%s\n", row.Features, row.K, row.T, row.Top1, five, mark)
		}
		w.Flush()
		a.say("* the best here, chosen on the test images: a number to report is one whose k and t were chosen without them.")
	}
	a.sayConfusion(r.Score)
	return nil
}

// sayConfusion writes the table of true and predicted classes, if it is not too wide to read.
func (a *app) sayConfusion(s evaluate.Score) {
	if len(s.Classes) > 20 {
		return
	}
	a.say("\nRows are the true classes, columns the predicted ones:")
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, row := range s.Confusion {
		fmt.Fprintf(w, "%s\t", s.Classes[i])
		for _, n := range row {
			fmt.Fprintf(w, "%d\t", n)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// evalFlags say which features are evaluated, and on what.
type evalFlags struct {
	model, train, test, precision string
	trainVectors, testVectors     string
	features                      []string
	batch, size                   int

	encoder string // the SHA-256 of the encoder's file, once it was opened
}

// add declares the flags; layer is the default of --features.
func (f *evalFlags) add(a *app, c *cobra.Command, layer string) {
	c.Flags().StringVar(&f.model, "model", "", "folder of a run, an encoder.safetensors, a checkpoint of PyTorch, or pixels (required, but for vectors)")
	c.Flags().StringVar(&f.train, "train", "", "labelled images to learn from (required)")
	c.Flags().StringVar(&f.test, "test", "", "labelled images to classify (required)")
	c.Flags().StringSliceVar(&f.features, "features", []string{layer}, "head or backbone")
	c.Flags().StringVar(&f.trainVectors, "train-vectors", "", "features of the --train images from a file that moco embed wrote, instead of a model")
	c.Flags().StringVar(&f.testVectors, "test-vectors", "", "the same for the --test images")
	c.Flags().IntVar(&f.size, "size", 32, "pixels a side, for --model pixels")
	c.Flags().StringVar(&f.precision, "precision", "", "fp32 or bf16; the encoder's own if not given")
	c.Flags().IntVar(&f.batch, "batch", 128, "images encoded at once")
	a.threadsFlag(c)
	for _, name := range []string{"train", "test"} {
		c.MarkFlagRequired(name)
	}
	c.MarkFlagsRequiredTogether("train-vectors", "test-vectors")
	c.MarkFlagsMutuallyExclusive("model", "train-vectors")
	c.MarkFlagsOneRequired("model", "train-vectors")
}

// check says what is wrong with the flags before anything is opened.
func (f *evalFlags) check(c *cobra.Command) error {
	if f.batch < 1 || f.size < 1 {
		return usageError{fmt.Errorf("--batch and --size must be at least 1, and are %d and %d", f.batch, f.size)}
	}
	if f.trainVectors != "" {
		if c.Flags().Changed("features") {
			return usageError{errors.New("--features: vectors are of one layer already; leave it out")}
		}
		for _, path := range []string{f.trainVectors, f.testVectors} {
			if err := vectors.Check(path); err != nil {
				return usageError{err}
			}
		}
		f.features = []string{"vectors"}
		return nil
	}
	if f.model == "pixels" {
		f.features = []string{"pixels"}
		return nil
	}
	for i, layer := range f.features {
		if layer != string(encoder.Head) && layer != string(encoder.Backbone) || slices.Contains(f.features[:i], layer) {
			return usageError{fmt.Errorf("--features %q: there are head and backbone, each once", layer)}
		}
	}
	if len(f.features) == 0 {
		return usageError{errors.New("--features: give head, backbone, or both")}
	}
	return nil
}

// evalPair is the features of the training and of the test images.
type evalPair struct {
	features    string
	train, test *evaluate.Embedded
}

// openLabelled opens the images to learn from and those to classify, both of which need labels.
func (a *app) openLabelled(ctx context.Context, train, test string) (sets [2]*data.Set, closer func(), err error) {
	closer = func() {
		for _, set := range sets {
			if set != nil {
				set.Close()
			}
		}
	}
	for i, path := range []string{train, test} {
		set, err := a.open(ctx, path, []data.Part{data.Train, data.Test}[i])
		if err != nil {
			closer()
			return sets, nil, err
		}
		sets[i] = set
		if set.Classes() == nil {
			closer()
			return sets, nil, fmt.Errorf("%s holds no labelled images: give class folders", path)
		}
	}
	return sets, closer, nil
}

// embed makes the features of the training and the test images: a pair for each of --features.
func (f *evalFlags) embed(ctx context.Context, a *app, e engine.Engine) ([]evalPair, error) {
	sources := [2]func(*data.Set) ([]*evaluate.Embedded, error){}
	switch {
	case f.trainVectors != "":
		for i, path := range []string{f.trainVectors, f.testVectors} {
			sources[i] = func(set *data.Set) ([]*evaluate.Embedded, error) {
				one, err := a.vectors(ctx, path, set)
				return []*evaluate.Embedded{one}, err
			}
		}
	case f.model == "pixels":
		sources[0] = func(set *data.Set) ([]*evaluate.Embedded, error) {
			one, err := evaluate.Pixels(ctx, set, moco.Views{Policy: "cifar", Size: f.size})
			return []*evaluate.Embedded{one}, err
		}
		sources[1] = sources[0]
	default:
		m, err := a.openModel(f.model, e, f.batch, f.precision)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		f.encoder = m.SHA256
		var layers []encoder.Layer
		for _, l := range f.features {
			layers = append(layers, encoder.Layer(l))
		}
		sources[0] = func(set *data.Set) ([]*evaluate.Embedded, error) { return a.embed(ctx, m, set, layers...) }
		sources[1] = sources[0]
	}
	sets, closer, err := a.openLabelled(ctx, f.train, f.test)
	if err != nil {
		return nil, err
	}
	defer closer()
	pairs := make([]evalPair, len(f.features))
	for i, set := range sets {
		all, err := sources[i](set)
		if err != nil {
			return nil, err
		}
		for l, one := range all {
			pairs[l].features = f.features[l]
			if i == 0 {
				pairs[l].train = one
			} else {
				pairs[l].test = one
			}
		}
	}
	return pairs, nil
}

// progress returns what shows how many of total are done, on a terminal, and what takes it away.
func (a *app) progress(total int, of string) (done func(int), clear func()) {
	if !a.onTerminal() || a.json {
		return nil, func() {}
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(), progressbar.OptionSetDescription(of),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("images"), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(n int) { bar.Set(n) }, func() { bar.Clear() }
}

// embed makes features with a progress bar.
func (a *app) embed(ctx context.Context, m *encoder.Encoder, set *data.Set, layers ...encoder.Layer) ([]*evaluate.Embedded, error) {
	done, clear := a.progress(set.Len(), "features")
	defer clear()
	return evaluate.FeaturesOf(ctx, m, set, layers, done)
}

// vectors reads the features of a set's images from a file, and tells what does not match.
func (a *app) vectors(ctx context.Context, path string, set *data.Set) (*evaluate.Embedded, error) {
	e, extra, err := evaluate.FromVectors(ctx, path, set)
	if err != nil {
		return nil, err
	}
	if e.Bad > 0 {
		a.warn("%d of %d images have no row in %s and are left out.", e.Bad, set.Len(), path)
	}
	if extra > 0 {
		a.warn("%d rows of %s are of no image here and are left out.", extra, path)
	}
	return e, nil
}
