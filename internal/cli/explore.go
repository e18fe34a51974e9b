package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/atomicfile"
	"moco/internal/report"
	"moco/vectors"
)

// exploration is what search, dedupe, outliers, label-errors and cluster share: where features come from, and where findings go. Each finding is
// an event of its own with --json, a line of the table (the first --show of them) and a strip of pictures on the page.
type exploration struct {
	a    *app
	name string // of the command

	model, data, vectors, features, precision, html string
	batch, size, show                               int

	engine *cpu.Engine
	encode func(context.Context, *data.Set) (*evaluate.Embedded, error)
	closer func()
	found  int
	table  *tabwriter.Writer
	page   report.Page
}

const exploreModelHelp = `The model is the folder of a run, an encoder.safetensors or a checkpoint of PyTorch. Features are those before the head ("backbone"), or those that the loss
saw ("head"). With --model pixels there is no encoder: the pixels themselves are compared, at --size. With --vectors there is no model: the features are those that
moco embed wrote of the same --data, matched by path.`

// explorer makes a command of one that has its own flags: check says what is wrong with their values before any work is done, run does the work
// and returns the summary of the event "done".
func (a *app) explorer(c *cobra.Command, check func() error, run func(ctx context.Context, x *exploration, set *collection) (summary any, err error)) *cobra.Command {
	x := &exploration{a: a, name: c.Name()}
	c.Args = cobra.NoArgs
	c.Long += "\n\n" + exploreModelHelp + `

With --json each finding is one object, and the last one is the summary; --show limits only the table and the page.`
	f := c.Flags()
	f.StringVar(&x.model, "model", "", "folder of a run, an encoder.safetensors, a checkpoint of PyTorch, or pixels (required, but for --vectors)")
	f.StringVar(&x.data, "data", "", "images: a folder, an archive, CIFAR or IDX files (required)")
	f.StringVar(&x.vectors, "vectors", "", "features of the images from a file that moco embed wrote (.parquet, .npy, .jsonl), instead of encoding them")
	f.StringVar(&x.features, "features", "backbone", "backbone or head")
	f.StringVar(&x.html, "html", "", "write a page with the pictures to this file; it needs nothing else")
	f.IntVar(&x.show, "show", 50, "findings in the table and on the page")
	f.IntVar(&x.size, "size", 32, "pixels a side, for --model pixels")
	f.StringVar(&x.precision, "precision", "", "fp32 or bf16; the encoder's own if not given")
	f.IntVar(&x.batch, "batch", 128, "images encoded at once")
	a.threadsFlag(c)
	c.MarkFlagRequired("data")
	c.MarkFlagsOneRequired("model", "vectors")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := check(); err != nil {
			return usageError{err}
		}
		return x.run(c, run)
	}
	return c
}

func (x *exploration) run(c *cobra.Command, run func(context.Context, *exploration, *collection) (any, error)) error {
	ctx := c.Context()
	if x.show < 0 {
		return usageError{fmt.Errorf("--show must not be negative, and is %d", x.show)}
	}
	if x.batch < 1 || x.size < 1 {
		return usageError{fmt.Errorf("--batch and --size must be at least 1, and are %d and %d", x.batch, x.size)}
	}
	if x.vectors != "" {
		if err := vectors.Check(x.vectors); err != nil {
			return usageError{fmt.Errorf("--vectors %w", err)}
		}
		if x.model != "" && x.name != "search" { // which encodes new images with it
			return usageError{errors.New("give --model or --vectors, not both: vectors are features already")}
		}
	}
	if x.html != "" { // found out now, not after the work
		if info, err := os.Stat(filepath.Dir(x.html)); err != nil || !info.IsDir() {
			return fmt.Errorf("--html %s: there is no folder %s to write it in", x.html, filepath.Dir(x.html))
		}
	}
	start := time.Now()
	if err := x.open(); err != nil {
		return err
	}
	defer x.closer()
	set, err := x.gather(ctx)
	if err != nil {
		return err
	}
	defer set.Close()
	x.table = tabwriter.NewWriter(x.a.out, 0, 0, 2, ' ', 0)
	summary, err := run(ctx, x, set)
	if err != nil {
		return err
	}
	x.table.Flush()
	if x.html != "" {
		x.page.Facts = append([][2]string{{"images", fmt.Sprintf("%d, %s", set.Len(), x.data)}, {"model", cmp.Or(x.model, x.vectors)}, {"features", x.features}}, x.page.Facts...)
		x.page.Command = commandLine(c)
		if hidden := x.found - x.show; hidden > 0 {
			x.page.Notes = append(x.page.Notes, fmt.Sprintf("The first %d of %d findings are shown; --show takes another number.", x.show, x.found))
		}
		if _, err := atomicfile.Save(x.html, x.page.WriteHTML); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	if x.a.json {
		return x.a.print(struct {
			Event    string  `json:"event"`
			Command  string  `json:"command"`
			Images   int     `json:"images"`
			Bad      int     `json:"bad_images"`
			Features string  `json:"features"`
			Found    int     `json:"found"`
			Summary  any     `json:"summary"`
			HTML     string  `json:"html,omitempty"`
			Seconds  float64 `json:"seconds"`
		}{"done", x.name, set.Len(), set.Bad, x.features, x.found, summary, x.html, time.Since(start).Seconds()})
	}
	if hidden := x.found - x.show; hidden > 0 {
		x.a.say("... and %d more: --show takes another number, --json lists all.", hidden)
	}
	if set.Bad > 0 && x.vectors == "" {
		x.a.warn("%d images could not be read and are left out; `moco data info %s --decode` names them.", set.Bad, x.data)
	}
	if x.html != "" {
		x.a.say("The pictures are in %s.", x.html)
	}
	return nil
}

// open opens the model.
func (x *exploration) open() error {
	var err error
	if x.engine, err = x.a.engine(); err != nil {
		return err
	}
	x.closer = func() {}
	if x.model == "" {
		x.features = "vectors"
		x.encode = func(context.Context, *data.Set) (*evaluate.Embedded, error) {
			return nil, usageError{errors.New("an image that is not among the vectors needs --model beside --vectors: the encoder that made them")}
		}
		return nil
	}
	if x.model == "pixels" {
		x.features = "pixels"
		x.encode = func(ctx context.Context, set *data.Set) (*evaluate.Embedded, error) {
			return evaluate.Pixels(ctx, set, moco.Views{Policy: "cifar", Size: x.size})
		}
		return nil
	}
	m, err := x.a.openModel(x.model, x.engine, x.batch, x.precision)
	if err != nil {
		return err
	}
	x.closer = func() { m.Close() }
	x.encode = func(ctx context.Context, set *data.Set) (*evaluate.Embedded, error) {
		all, err := x.a.embed(ctx, m, set, encoder.Layer(x.features))
		if err != nil {
			return nil, err
		}
		return all[0], nil
	}
	return nil
}

// collection is embedded images with their names and pictures.
type collection struct {
	*evaluate.Embedded
	set *data.Set
}

// gather opens the images of --data, and takes their features from --vectors or makes them.
func (x *exploration) gather(ctx context.Context) (*collection, error) {
	if x.vectors == "" {
		return x.collect(ctx, x.data)
	}
	set, err := x.a.open(ctx, x.data, data.Any)
	if err != nil {
		return nil, err
	}
	e, err := x.a.vectors(ctx, x.vectors, set)
	if err == nil && x.model != "" {
		err = x.sameEncoder(ctx, &collection{e, set})
	}
	if err != nil {
		set.Close()
		return nil, err
	}
	return &collection{e, set}, nil
}

// sameFeatures is the least cosine of an image's vector with its features made again by the same encoder: precision and engine may differ.
const sameFeatures = 0.99

// sameEncoder holds the model to the vectors: it must make the first image's features again.
func (x *exploration) sameEncoder(ctx context.Context, c *collection) error {
	one, err := c.set.Subset(c.Images[:1])
	if err != nil {
		return err
	}
	e, err := x.encode(ctx, one)
	if err != nil {
		return err
	}
	if e.Dim != c.Dim {
		return fmt.Errorf("--vectors has rows of %d numbers, and --model makes %d: give the encoder, and the --features, that made them", c.Dim, e.Dim)
	}
	var cosine float32
	for i, v := range e.Features {
		cosine += v * c.Features[i]
	}
	if !(cosine >= sameFeatures) {
		return fmt.Errorf("the vector of %s has a cosine of %.3f with what --model makes of it: give the encoder, and the --features, that made the vectors", c.name(0), cosine)
	}
	return nil
}

// collect opens and embeds images.
func (x *exploration) collect(ctx context.Context, path string) (*collection, error) {
	set, err := x.a.open(ctx, path, data.Any)
	if err != nil {
		return nil, err
	}
	e, err := x.encode(ctx, set)
	if err != nil {
		set.Close()
		return nil, err
	}
	return &collection{e, set}, nil
}

func (c *collection) Close() error { return c.set.Close() }

// name is that of a row's image.
func (c *collection) name(row int) string { return c.set.Name(c.Images[row]) }

// label is the class of a row's image, empty without labels.
func (c *collection) label(row int) string {
	if l := c.Labels[row]; l >= 0 && l < len(c.Classes) {
		return c.Classes[l]
	}
	return ""
}

// read reads a row's image.
func (c *collection) read(row int, dst *data.Image) error { return c.set.Read(c.Images[row], dst) }

// picture is a row's image for the page.
func (c *collection) picture(row int, caption string, good bool) (report.Picture, error) {
	img := &data.Image{}
	err := c.read(row, img)
	return report.Picture{Image: img, Caption: caption, Good: good}, err
}

// imageRef is an image in an event.
type imageRef struct {
	Image      string   `json:"image"`
	Label      string   `json:"label,omitempty"`
	Similarity *float32 `json:"similarity,omitempty"` // cosine, to what the event is about
}

func (c *collection) ref(row int) imageRef { return imageRef{Image: c.name(row), Label: c.label(row)} }

func (c *collection) refs(list []evaluate.Neighbour) []imageRef {
	refs := make([]imageRef, 0, len(list))
	for _, n := range list {
		r := c.ref(n.Row)
		r.Similarity = &n.Similarity
		refs = append(refs, r)
	}
	return refs
}

// explorer returns the explorer, with a progress bar where there is a terminal.
func (x *exploration) explorer() explore.Explorer {
	e := explore.Explorer{Engine: x.engine}
	if x.a.onTerminal() && !x.a.json {
		var bar *progressbar.ProgressBar
		var at string
		e.Progress = func(stage string, done, total int) {
			if stage != at || bar == nil {
				at = stage
				bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(x.a.err), progressbar.OptionSetWidth(24), progressbar.OptionSetDescription(stage),
					progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
			}
			bar.Set(done)
			if done == total {
				bar.Clear()
				bar = nil
			}
		}
	}
	return e
}

// finding tells one: event is its object, rows are its lines of the table, strip makes what the page shows. Only the first --show come to table and page.
func (x *exploration) finding(event any, rows [][]string, strip func() (report.Strip, error)) error {
	x.found++
	if x.a.json {
		if err := x.a.print(event); err != nil {
			return err
		}
	}
	if x.found > x.show {
		return nil
	}
	if !x.a.json {
		for _, r := range rows {
			fmt.Fprintln(x.table, strings.Join(r, "\t"))
		}
	}
	if x.html == "" {
		return nil
	}
	s, err := strip()
	if err != nil {
		return err
	}
	sheet := &x.page.Sheets[len(x.page.Sheets)-1]
	sheet.Strips = append(sheet.Strips, s)
	return nil
}

// begin sets the table's header and the page's title and heading.
func (x *exploration) begin(header []string, title, heading, note string) {
	if !x.a.json && x.show > 0 {
		fmt.Fprintln(x.table, strings.Join(header, "\t"))
	}
	x.page.Title = title
	x.page.Sheets = []report.Sheet{{Title: heading, Note: note}}
}

// strip makes a strip of neighbours with a query before them.
func (c *collection) strip(title, note string, query report.Picture, list []evaluate.Neighbour, good func(row int) bool) (report.Strip, error) {
	s := report.Strip{Title: title, Note: note, Pictures: []report.Picture{query}, Query: true, Marked: good != nil}
	for _, n := range list {
		p, err := c.picture(n.Row, strings.TrimSpace(fmt.Sprintf("%.3f %s", n.Similarity, c.label(n.Row))), good != nil && good(n.Row))
		if err != nil {
			return s, err
		}
		s.Pictures = append(s.Pictures, p)
	}
	return s, nil
}

// commandLine is the command as it was given, in the order of the flags' names.
func commandLine(c *cobra.Command) string {
	words := []string{c.CommandPath()}
	c.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if strings.ContainsAny(v, " \t'\"$&|;*?()") {
				v = strconv.Quote(v)
			}
			words = append(words, "--"+f.Name+" "+v)
		}
	})
	return strings.Join(words, " ")
}

// atLeastOne checks a flag that counts something.
func atLeastOne(flag string, n *int) func() error {
	return func() error {
		if *n < 1 {
			return fmt.Errorf("%s must be at least 1, and is %d", flag, *n)
		}
		return nil
	}
}

// exists tells whether a path names something on the disk.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
