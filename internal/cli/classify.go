package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"moco/classify"
	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/event"
	"moco/internal/report"
	"moco/vectors"
)

const classifyHelp = `Say what pictures are, from a few that are labelled: a linear classifier on the features of the
encoder. One labelled picture a class is enough to begin with.

The labels come from class folders (--train) or from a list (--labels), a CSV or Parquet file with
the columns path and label, whose paths are relative to --train, or without it to --data. Of
several rows of a picture the last counts, and an empty label takes an earlier one back. Labelled
pictures of --data itself are not predicted: --with-labelled adds them with the label that they
were given, a confidence of 1 and no second choice.

How strongly the classifier is held back is chosen by cross-validation, and its confidences are
calibrated on pictures that it did not see: of those with a confidence of 0.8, about 80% are right.
Before anything is written it says what accuracy to expect, as a whole and of each class, with 95%
intervals, and whether the labels are enough to say. That is the accuracy on pictures like the
labelled ones: label some at random, not the easy ones.

--out has a row a picture, in the order of the data, with the columns path, label, confidence and
second (the second choice). With --min-confidence the pictures below it are labelled unknown, and
second is then the most likely class. --links makes a folder a class of symbolic links to the
pictures, which stay where they are; only links that an earlier command made are ever replaced.
--html writes a page with the least certain pictures first.

--save keeps the classifier and --classifier uses it again, with the encoder that it was made with.
It is also what moco export --probe takes for an ONNX model, whose logits are then calibrated.`

const classifyExample = `  moco classify --model run --train labelled/ --data photos/ --out photos.csv
  moco classify --model run --labels some.csv --data photos/ --out photos.parquet --html review.html
  moco classify --model run --labels some.csv --data photos/ --links sorted/ --min-confidence 0.8
  moco classify --model run --train labelled/ --data photos/ --save pets.safetensors
  moco classify --model run --classifier pets.safetensors --data more/ --out more.jsonl`

// classifyOptions are those of `moco classify`.
type classifyOptions struct {
	source
	machine
	train, labels, data   string
	trainVectors, vectors string
	classifier, save      string
	out, html, links      string
	leastConfidence       float64
	withLabelled, force   bool
	show                  int

	chosenLayer bool   // --features was given
	line        string // the command as it was given
}

func init() { register("", (*app).classifyCommand) }

func (a *app) classifyCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:     "classify --model DIR|FILE (--train PATH | --labels FILE) --data PATH --out FILE",
		Short:   "Say what pictures are, from a few labelled ones",
		Long:    classifyHelp,
		Example: classifyExample,
	}, &classifyOptions{}, runClassify)
}

func (o *classifyOptions) bind(c *cobra.Command) {
	f := c.Flags()
	pathsFlag(c, &o.data, "data", "pictures to classify (required)")
	pathsFlag(c, &o.train, "train", "pictures to learn from, in class folders or with --labels")
	f.StringVar(&o.labels, "labels", "", "a CSV or Parquet file of path,label for pictures of --train, or else of --data")
	f.StringVar(&o.classifier, "classifier", "", "use a classifier that --save wrote, instead of learning one")
	f.StringVar(&o.save, "save", "", "write the classifier to this safetensors file")
	f.StringVar(&o.out, "out", "", "file of the predictions to write: .csv, .parquet or .jsonl")
	f.StringVar(&o.html, "html", "", "write a page with the pictures, least certain first, to this file; it needs nothing else")
	f.StringVar(&o.links, "links", "", "make a folder a class of links to the pictures in this folder")
	f.Float64Var(&o.leastConfidence, "min-confidence", 0, "label pictures below this confidence unknown")
	f.BoolVar(&o.withLabelled, "with-labelled", false, "add the labelled pictures of --data, with their labels")
	forceFlag(c, &o.force)
	f.IntVar(&o.show, "show", 200, "pictures on the page")
	f.StringVar(&o.vectors, "vectors", "",
		"features of the --data pictures from a file that moco embed wrote, instead of encoding them")
	f.StringVar(&o.trainVectors, "train-vectors", "", "the same for the --train pictures")
	o.bindLayer(c)
	o.bindAny(c, "vectors")
	o.machine.bind(c)
	required(c, "data")
	c.MarkFlagsOneRequired("train", "labels", "classifier")
	c.MarkFlagsMutuallyExclusive("classifier", "train")
	c.MarkFlagsMutuallyExclusive("classifier", "labels")
	c.MarkFlagsMutuallyExclusive("classifier", "save")
	c.MarkFlagsOneRequired("out", "html", "links", "save")
}

func (o *classifyOptions) parse(c *cobra.Command, _ []string) error {
	if o.out != "" {
		if err := classify.CheckTable(o.out); err != nil {
			return usagef("--out %w", err)
		}
	}
	switch {
	case !(o.leastConfidence >= 0 && o.leastConfidence < 1):
		return usagef("--min-confidence must be at least 0 and less than 1, and is %v", o.leastConfidence)
	case o.show < 0:
		return usagef("--show must not be negative, and is %d", o.show)
	case (o.save != "" || o.classifier != "") && o.model == string(pixels):
		return usagef("--save and --classifier need an encoder: give --model a run or an encoder.safetensors")
	case o.save != "" && o.model == "":
		return usagef("--save needs the --model beside --vectors: the file says which encoder the classifier belongs to")
	case o.train != "" && (o.vectors == "") != (o.trainVectors == ""):
		return usagef("--vectors and --train-vectors go together: both have to be features of one encoder")
	case o.vectors != "" && o.model == string(pixels):
		return usagef("give --model pixels or --vectors, not both: vectors are features already")
	case o.train == "" && o.trainVectors != "":
		return usagef("--train-vectors are the features of --train, which is not given")
	}
	for _, path := range []string{o.vectors, o.trainVectors} {
		if path == "" {
			continue
		}
		if err := vectors.Check(path); err != nil {
			return usageError{err}
		}
	}
	if err := folderFor("--links", o.links); err != nil {
		return err
	}
	o.chosenLayer = c.Flags().Changed("features")
	o.line = commandLine(c)
	return o.source.parse()
}

func (o *classifyOptions) outputs() []output {
	return []output{
		{flag: "--out", path: o.out, force: o.force, own: classify.IsTable},
		{flag: "--html", path: o.html, force: o.force, own: report.IsPage},
		{flag: "--save", path: o.save, force: o.force, own: encoder.IsProbe},
	}
}

// classification is `moco classify` at work.
type classification struct {
	app        *app
	o          *classifyOptions
	engine     engine.Engine
	from       *features
	classifier *classify.Classifier
	pile       *explore.Collection // the pictures of --data
	labels     []string            // of the set's pictures by --labels; nil without
}

func runClassify(ctx context.Context, a *app, o *classifyOptions) (result, error) {
	start := time.Now()
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	k := &classification{app: a, o: o, engine: e}
	if o.classifier != "" {
		if err := k.reuse(ctx); err != nil {
			return nil, err
		}
	}
	if k.from, err = o.source.open(ctx, a, e); err != nil {
		return nil, err
	}
	defer k.from.Close()
	if k.from.encoder != nil && k.classifier != nil {
		if err := k.classifier.Check(k.from.encoder); err != nil {
			return nil, err
		}
	}
	set, err := a.open(ctx, o.data, data.Any)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	if o.links != "" { // before anything is encoded
		for i := range set.Len() {
			if _, err := linkable(set, i); err != nil {
				return nil, err
			}
		}
	}
	if k.classifier == nil {
		if err := k.learn(ctx, set); err != nil {
			return nil, err
		}
	}
	if err := k.gather(ctx, set); err != nil {
		return nil, err
	}
	sorted, err := k.sort(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.tell(sorted); err != nil {
		return nil, err
	}
	if err := k.write(sorted); err != nil {
		return nil, err
	}
	return k.done(sorted, time.Since(start)), nil
}

// reuse opens the classifier of --classifier, and takes the layer that it was made for.
func (k *classification) reuse(ctx context.Context) error {
	c, err := classify.Open(ctx, k.o.classifier)
	if err != nil {
		return err
	}
	c.Use(k.engine)
	k.classifier = c
	if k.o.chosenLayer && k.o.layers[0] != c.Layer {
		return usagef("--features %s: the classifier takes the %s's; leave it out", k.o.layers[0], c.Layer)
	}
	k.o.layers[0] = c.Layer
	if k.o.model == "" {
		k.app.warn("%s does not say which encoder made its vectors; it has to be that of the classifier.", k.o.vectors)
	}
	return nil
}

// learn fits the classifier to labelled pictures.
func (k *classification) learn(ctx context.Context, pile *data.Set) error {
	set, root, vectors := pile, k.o.data, k.o.vectors
	if k.o.train != "" {
		var err error
		if set, err = k.app.open(ctx, k.o.train, data.Train); err != nil {
			return err
		}
		defer set.Close()
		root, vectors = k.o.train, k.o.trainVectors
	}
	var list *data.LabelList
	if k.o.labels != "" {
		var err error
		if list, err = set.ReadLabels(k.o.labels, root); err != nil {
			return err
		}
		if list.Foreign > 0 {
			k.app.warn("%d rows of %s are of no picture here and are left out, the first of them %s.",
				list.Foreign, k.o.labels, data.Text(list.First))
		}
	} else if set.Classes() == nil {
		return fmt.Errorf("%s holds no labelled pictures: give class folders, or a list of path,label", root)
	}
	known, err := k.features(ctx, set, list, vectors)
	if err != nil {
		return err
	}
	if set == pile {
		k.labels = list.Labels
	}
	o := classify.Options{Engine: k.engine}
	if e := k.from.encoder; e != nil {
		o.Layer, o.Encoder = k.o.layers[0], e.SHA256
	}
	if k.classifier, err = classify.Fit(ctx, known, o); err != nil {
		return err
	}
	if k.o.save != "" {
		if err := k.classifier.Save(k.o.save); err != nil {
			return fmt.Errorf("--save: %w", err)
		}
	}
	return nil
}

// features makes or reads the features of the labelled pictures of a set: of those that a list
// labels, or with a nil list of all.
func (k *classification) features(ctx context.Context, set *data.Set, list *data.LabelList, vectors string) (*evaluate.Embedded, error) {
	if list == nil {
		all, err := k.from.of(ctx, set, vectors)
		if err != nil {
			return nil, err
		}
		return all[0], nil
	}
	var labelled []int
	for i, label := range list.Labels {
		if label != "" {
			labelled = append(labelled, i)
		}
	}
	some := set
	if vectors == "" { // only those have to be encoded
		var err error
		if some, err = set.Subset(labelled); err != nil {
			return nil, err
		}
	}
	all, err := k.from.of(ctx, some, vectors)
	if err != nil {
		return nil, err
	}
	e := all[0]
	e.Classes = slices.Compact(slices.Sorted(slices.Values(list.Labels)))
	e.Classes = slices.DeleteFunc(e.Classes, func(c string) bool { return c == "" })
	for row, i := range e.Images {
		if vectors == "" {
			i = labelled[i]
		}
		e.Labels[row] = slices.Index(e.Classes, list.Labels[i])
	}
	return e, nil
}

// gather makes or reads the features of the pictures to classify.
func (k *classification) gather(ctx context.Context, set *data.Set) error {
	all, err := k.from.of(ctx, set, k.o.vectors)
	if err != nil {
		return err
	}
	k.pile = &explore.Collection{Embedded: all[0], Set: set, Reading: k.from.reading()}
	if k.o.vectors == "" || k.from.encoder == nil {
		return nil
	}
	return k.pile.CheckEncoder(ctx, k.from.encode)
}

// sorted is what the pictures were taken for.
type sorted struct {
	rows     []classify.Row // of predicted pictures and, if they are asked for, of labelled ones
	at       []int          // of each row, its row in the pile
	given    []bool         // of each row: the label is not a prediction
	unknown  int
	labelled int     // pictures of the pile with a label
	mean     float64 // confidence of the predictions
	known    float64 // that of those that are not unknown
}

// predicted counts rows that are predictions.
func (s *sorted) predicted() int {
	n := 0
	for _, g := range s.given {
		if !g {
			n++
		}
	}
	return n
}

// sort predicts the pictures without a label.
func (k *classification) sort(ctx context.Context) (*sorted, error) {
	predictions, err := k.classifier.Predict(ctx, k.pile.Embedded)
	if err != nil {
		return nil, err
	}
	if k.o.leastConfidence > 0 && slices.Contains(k.classifier.Classes, classify.Unknown) {
		return nil, usagef("--min-confidence: a class is called %q already; rename it", classify.Unknown)
	}
	s := &sorted{}
	for row, p := range predictions {
		name := k.pile.Name(row)
		if k.labels != nil && k.labels[k.pile.Images[row]] != "" {
			s.labelled++
			if k.o.withLabelled {
				s.add(row, classify.Row{Path: name, Label: k.labels[k.pile.Images[row]], Confidence: 1}, true)
			}
			continue
		}
		r := k.classifier.RowOf(name, p, float32(k.o.leastConfidence))
		if p.Confidence < float32(k.o.leastConfidence) {
			s.unknown++
		} else {
			s.known += float64(p.Confidence)
		}
		s.mean += float64(p.Confidence)
		s.add(row, r, false)
	}
	s.mean /= math.Max(1, float64(s.predicted()))
	s.known /= math.Max(1, float64(s.predicted()-s.unknown))
	return s, nil
}

func (s *sorted) add(at int, r classify.Row, given bool) {
	s.rows, s.at, s.given = append(s.rows, r), append(s.at, at), append(s.given, given)
}

// expected is what accuracy to expect of the predictions.
func (k *classification) expected(s *sorted) expectation {
	e := k.classifier.Estimate
	x := expectation{Accuracy: e.Accuracy, Low: e.Low, High: e.High, Enough: e.Enough, Labelled: e.Labelled,
		HeldOut: e.HeldOut, Lacking: e.Lacking()}
	if e.HeldOut == 0 { // nothing else is known
		x.Accuracy = s.mean
	}
	return x
}

// tell says what accuracy to expect, before anything is written.
func (k *classification) tell(s *sorted) error {
	e := classifyExpected{expectation: k.expected(s), PerClass: k.classifier.Estimate.PerClass,
		Confusion: k.classifier.Estimate.Confusion, C: k.classifier.C, Temperature: k.classifier.Temperature}
	return k.app.tell(e, func() { k.say(e) })
}

// say is tell for people.
func (k *classification) say(e classifyExpected) {
	a := k.app
	if e.HeldOut == 0 {
		a.say("Expected accuracy: unknown; the mean confidence is %s.", percent(100*e.Accuracy))
	} else {
		a.say("Expected accuracy: %s (%s to %s), from %d labelled pictures of %d classes that were held out in turn.",
			percent(100*e.Accuracy), percent(100*e.Low), percent(100*e.High), e.HeldOut, len(k.classifier.Classes))
	}
	if e.Lacking != "" {
		a.warn("The labels are too few to say: %s.", e.Lacking)
	}
	const most = 30
	if e.HeldOut == 0 || len(e.PerClass) > most {
		return
	}
	w := a.table(true)
	fmt.Fprint(w, "class\tlabels\taccuracy\tfrom\tto\t\n")
	for _, c := range e.PerClass {
		if c.HeldOut == 0 {
			fmt.Fprintf(w, "%s\t%d\t\t\t\t\n", c.Class, c.Labelled)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t\n", c.Class, c.Labelled,
			percent(100*c.Accuracy), percent(100*c.Low), percent(100*c.High))
	}
	w.Flush()
}

// done is the result.
func (k *classification) done(s *sorted, took time.Duration) *classified {
	d := classifyDone{expectation: k.expected(s), Images: k.pile.Len(), Bad: k.pile.Bad, Predicted: s.predicted(),
		Unknown: s.unknown, Given: s.labelled, MeanConfidence: s.mean, KnownConfidence: s.known, Classes: k.classifier.Classes,
		Features: k.o.names()[0], Out: k.o.out, HTML: k.o.html, Links: k.o.links, Saved: k.o.save, Seconds: took.Seconds()}
	return &classified{classifyDone: d, o: k.o}
}

// classified is the result of `moco classify`.
type classified struct {
	classifyDone
	o *classifyOptions
}

func (r *classified) event() event.Event { return r.classifyDone }

func (r *classified) text(s *screen) error {
	s.say("%s classified, with a mean confidence of %s.", plural(r.Predicted, "picture", "pictures"), percent(100*r.MeanConfidence))
	if r.o.leastConfidence > 0 {
		s.say("%d of them are unknown: their confidence is less than %v. The others have a mean confidence of %s.",
			r.Unknown, r.o.leastConfidence, percent(100*r.KnownConfidence))
	}
	if r.Given > 0 && !r.o.withLabelled {
		s.say("%d pictures that have a label are left out; --with-labelled adds them.", r.Given)
	}
	if r.Bad > 0 && r.o.vectors == "" {
		s.warn("%d pictures could not be read and are left out; `moco data info %s --decode` names them.", r.Bad, r.o.data)
	}
	if r.Out != "" {
		s.say("The predictions are in %s.", r.Out)
	}
	if r.Links != "" {
		s.say("Links to the pictures, a folder a class, are in %s.", r.Links)
	}
	if r.HTML != "" {
		s.say("The pictures are in %s.", r.HTML)
	}
	if r.Saved != "" {
		s.say("The classifier is in %s.", r.Saved)
	}
	return nil
}
