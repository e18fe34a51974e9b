package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/vectors"
)

// evalOptions are what eval knn and eval linear share: features of labelled images to learn from,
// and of others to classify.
type evalOptions struct {
	source
	machine
	train, test               string
	trainVectors, testVectors string
}

func (o *evalOptions) bind(c *cobra.Command) {
	pathsFlag(c, &o.train, "train", "labelled images to learn from (required)")
	pathsFlag(c, &o.test, "test", "labelled images to classify (required)")
	c.Flags().StringVar(&o.trainVectors, "train-vectors", "",
		"features of the --train images from a file that moco embed wrote, instead of a model")
	c.Flags().StringVar(&o.testVectors, "test-vectors", "", "the same for the --test images")
	o.bindAny(c, "train-vectors")
	o.machine.bind(c)
	required(c, "train", "test")
	c.MarkFlagsRequiredTogether("train-vectors", "test-vectors")
	c.MarkFlagsMutuallyExclusive("model", "train-vectors")
}

func (o *evalOptions) parse(c *cobra.Command) error {
	if o.trainVectors != "" {
		if c.Flags().Changed("features") {
			return usagef("--features: vectors are of one layer already; leave it out")
		}
		for _, path := range []string{o.trainVectors, o.testVectors} {
			if err := vectors.CheckSource(path); err != nil {
				return usageError{err}
			}
		}
	}
	return o.source.parse()
}

// pair is the features of the training and of the test images.
type pair struct {
	name        encoder.Layer
	train, test *evaluate.Embedded
}

// bad is the number of unreadable images.
func (p *pair) bad() int { return p.train.Bad + p.test.Bad }

// embedBoth gives the features of the training and the test images: a pair for each layer.
func (o *evalOptions) embedBoth(ctx context.Context, a *app, e engine.Engine) ([]pair, error) {
	f, err := o.source.open(ctx, a, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return o.embedWith(ctx, a, f)
}

func (o *evalOptions) embedWith(ctx context.Context, a *app, f *features) ([]pair, error) {
	train, test, err := a.openLabelled(ctx, o.train, o.test)
	if err != nil {
		return nil, err
	}
	defer train.Close()
	defer test.Close()
	bank, err := f.of(ctx, train, o.trainVectors)
	if err != nil {
		return nil, err
	}
	queries, err := f.of(ctx, test, o.testVectors)
	if err != nil {
		return nil, err
	}
	var pairs []pair
	for i, name := range o.names() {
		pairs = append(pairs, pair{name: name, train: bank[i], test: queries[i]})
	}
	return pairs, nil
}

// openLabelled opens the images to learn from and those to classify, both of which need labels.
func (a *app) openLabelled(ctx context.Context, train, test string) (learned, classified *data.Set, err error) {
	if learned, err = a.openWithLabels(ctx, train, data.Train); err != nil {
		return nil, nil, err
	}
	if classified, err = a.openWithLabels(ctx, test, data.Test); err != nil {
		learned.Close()
		return nil, nil, err
	}
	return learned, classified, nil
}

func (a *app) openWithLabels(ctx context.Context, path string, part data.Part) (*data.Set, error) {
	set, err := a.open(ctx, path, part)
	if err != nil {
		return nil, err
	}
	if set.Classes() == nil {
		set.Close()
		return nil, fmt.Errorf("%s holds no labelled images: give class folders", path)
	}
	return set, nil
}
