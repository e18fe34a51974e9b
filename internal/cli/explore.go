package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"moco/data"
	"moco/engine"
	"moco/explore"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/internal/report"
	"moco/internal/sys"
	"moco/vectors"
)

const exploreHelp = `The model is the folder of a run, an encoder.safetensors or a checkpoint of PyTorch. Features are
those before the head ("backbone"), or those that the loss saw ("head"). With --model pixels there
is no encoder: the pixels themselves are compared, at --size. With --vectors there is no model:
the features are those that moco embed wrote of the same --data, matched by path.

With --json each finding is one object, and the last one is the summary; --show limits only the
table and the page.`

// explorer is what a command that explores asks of embedded images: search, dedupe, outliers,
// label-errors or cluster.
type explorer interface {
	// bind declares the command's own flags.
	bind(c *cobra.Command)
	// parse checks them.
	parse(c *cobra.Command) error
	// memory is what it takes for n rows of some length, besides the features.
	memory(n, dim int) int64
	// explore finds, and tells x of each finding.
	explore(ctx context.Context, x *exploration) (summary, error)
}

// newcomer is a question that may be about images of a flag of its own instead of those of --data.
type newcomer interface {
	// newImages is the flag and what it says; an empty path: the images of --data.
	newImages() (flag, path string)
}

// exploreOptions are those of a command that explores: its own, and what all share.
type exploreOptions struct {
	source
	machine
	question            explorer
	data, vectors, html string
	show                int
	limit               byteSize // of the memory for vectors and the question; 0: by what is free
	force               bool

	command string // its name
	line    string // the command as it was given
}

// exploreCommand makes a command of a question.
func (a *app) exploreCommand(c *cobra.Command, q explorer) *cobra.Command {
	c.Long += "\n\n" + exploreHelp
	return subcommand(a, c, &exploreOptions{question: q, command: c.Name()}, runExplore)
}

func (o *exploreOptions) bind(c *cobra.Command) {
	o.question.bind(c)
	f := c.Flags()
	const images = "images: a folder, an archive, CIFAR or IDX files "
	if n, ok := o.question.(newcomer); ok {
		flag, _ := n.newImages()
		pathsFlag(c, &o.data, "data", images+"(required without --"+flag+")")
		c.MarkFlagsOneRequired("data", flag)
	} else {
		pathsFlag(c, &o.data, "data", images+"(required)")
		required(c, "data")
	}
	f.StringVar(
		&o.vectors,
		"vectors",
		"",
		"features of the images from what moco embed wrote (.parquet, .npy, .jsonl, or a folder of shards), instead of encoding them",
	)
	f.Var(&o.limit, "memory", "most that --vectors and the question may take (default: three quarters of what is free). "+
		"Vectors in a .npy that take more stay in their file")
	f.StringVar(&o.html, "html", "", "write a page with the pictures to this file; it needs nothing else")
	forceFlag(c, &o.force)
	f.IntVar(&o.show, "show", 50, "findings in the table and on the page")
	o.bindLayer(c)
	o.bindAny(c, "vectors")
	o.machine.bind(c)
}

// images is the path of the images that the question is about.
func (o *exploreOptions) images() string {
	if n, ok := o.question.(newcomer); ok {
		if _, path := n.newImages(); path != "" {
			return path
		}
	}
	return o.data
}

func (o *exploreOptions) parse(c *cobra.Command, _ []string) error {
	if err := o.question.parse(c); err != nil {
		return usageError{err}
	}
	if o.show < 0 {
		return usagef("--show must not be negative, and is %d", o.show)
	}
	if err := o.source.parse(); err != nil {
		return err
	}
	if o.vectors != "" {
		if err := vectors.CheckSource(o.vectors); err != nil {
			return usagef("--vectors %w", err)
		}
		if o.model != "" && o.command != "search" { // which encodes new images with it
			return usagef("give --model or --vectors, not both: vectors are features already")
		}
	}
	o.line = commandLine(c)
	return nil
}

func (o *exploreOptions) outputs() []output {
	return []output{{flag: "--html", path: o.html, force: o.force, own: report.IsPage}}
}

// exploration is a command that explores, at work.
type exploration struct {
	explore.Explorer
	app  *app
	o    *exploreOptions
	from *features
	set  *explore.Collection
	*findings
}

func runExplore(ctx context.Context, a *app, o *exploreOptions) (result, error) {
	start := time.Now()
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	if o.limit > 0 {
		// Go collects its garbage so that the process stays near to the limit.
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(o.limit) + sys.ResidentPeak()))
	} else {
		o.limit = byteSize(sys.FreeMemory() / 4 * 3)
	}
	o.source.memory = o.forVectors()
	from, err := o.source.open(ctx, a, e)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	x := &exploration{app: a, o: o, from: from, Explorer: a.explorer(e),
		findings: &findings{screen: &a.screen, table: a.table(false), show: o.show, paged: o.html != ""}}
	if x.set, err = x.gather(ctx); err != nil {
		return nil, err
	}
	defer x.set.Close()
	if err := x.fit(); err != nil {
		return nil, err
	}
	sum, err := o.question.explore(ctx, x)
	if err != nil {
		return nil, err
	}
	x.table.Flush()
	if err := x.savePage(); err != nil {
		return nil, err
	}
	return &explored{x: x, exploreDone: exploreDone{
		Command: o.command, Images: x.set.Len(), Bad: x.set.Bad, Features: o.names()[0], Found: x.found,
		Summary: sum, HTML: o.html, Seconds: time.Since(start).Seconds(),
	}}, nil
}

// forVectors is what of the memory the vectors may take, so that the question has the rest.
func (o *exploreOptions) forVectors() int64 { return int64(o.limit) / 4 * 3 }

// memoryError is the error of a question that takes more memory than it may.
type memoryError struct{ takes, limit int64 }

func (e *memoryError) Error() string {
	return fmt.Sprintf("it takes up to %s of memory, and at most %s may be taken", bytesText(e.takes), bytesText(e.limit))
}

// fit says what the question takes, and refuses it if that is more than it may take.
func (x *exploration) fit() error {
	features, work := x.set.Memory(), x.o.question.memory(x.set.Len(), x.set.Dim)
	if x.o.vectors != "" && x.set.Features == nil {
		// Not on standard output, which is for what is found.
		x.app.warn("%d vectors of %d: they take %s of memory, and the work up to %s.",
			x.set.Len(), x.set.Dim, bytesText(features), bytesText(work))
	}
	limit := int64(x.o.limit)
	if limit == 0 || x.o.vectors == "" {
		return nil
	}
	if features+work > limit {
		return &memoryError{takes: features + work, limit: limit}
	}
	return nil
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

// gather opens the images of --data, and takes their features from --vectors or makes them.
func (x *exploration) gather(ctx context.Context) (*explore.Collection, error) {
	c, err := x.collect(ctx, x.o.images(), x.o.vectors)
	if err != nil || x.o.vectors == "" || x.o.model == "" {
		return c, err
	}
	if err := c.CheckEncoder(ctx, x.from.encode); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// collect opens and embeds images. Features are read from a file of vectors, if one is given.
func (x *exploration) collect(ctx context.Context, path, vectors string) (*explore.Collection, error) {
	set, err := x.app.open(ctx, path, data.Any)
	if err != nil {
		return nil, err
	}
	all, err := x.from.of(ctx, set, vectors)
	if err != nil {
		set.Close()
		return nil, err
	}
	return &explore.Collection{Embedded: all[0], Set: set, Reading: x.from.reading()}, nil
}

// shownSide is twice what pages show of a picture.
const shownSide = 256

// reading is how pictures are read to be shown, and laid over each other: as the encoder reads them,
// but not smaller than pages show them.
func (f *features) reading() data.Reading {
	r := data.Reading{Side: shownSide}
	if f.encoder != nil {
		r = f.encoder.Reading()
		r.Side = max(r.Side, shownSide)
	}
	return r
}

// explorer is an explorer whose progress is shown.
func (a *app) explorer(e engine.Engine) explore.Explorer {
	var p *progress
	var at string
	return explore.Explorer{Engine: e, Progress: func(stage string, done, total int) {
		if stage != at {
			at, p = stage, a.progress(total, "image")
		}
		p.at(done, stage)
		if done == total {
			p.clear()
			at = ""
		}
	}}
}

// savePage writes the page, if one is asked for.
func (x *exploration) savePage() error {
	if x.o.html == "" {
		return nil
	}
	x.page.Facts = append([][2]string{
		{"images", fmt.Sprintf("%d, %s", x.set.Len(), short(x.o.images()))},
		{"model", cmp.Or(x.o.model, x.o.vectors)},
		{"features", string(x.o.names()[0])},
	}, x.page.Facts...)
	x.page.Command = x.o.line
	if x.found > x.show {
		x.page.Notes = append(
			x.page.Notes,
			fmt.Sprintf("The first %d of %d findings are shown; --show takes another number.", x.show, x.found),
		)
	}
	if _, err := atomicfile.Save(x.o.html, x.page.WriteHTML); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

// explored is the result of a command that explores; its findings were told as they came.
type explored struct {
	exploreDone
	x *exploration
}

func (r *explored) event() event.Event { return r.exploreDone }

func (r *explored) text(s *screen) error {
	if r.x.quiet {
		return nil
	}
	if r.x.lead {
		s.say("%s", r.x.page.Lead)
	}
	if hidden := r.Found - r.x.show; hidden > 0 {
		s.say("... and %d more: --show takes another number, --json lists all.", hidden)
	}
	if r.Bad > 0 && r.x.o.vectors == "" {
		s.warn("%d images could not be read and are left out; `moco data info %s --decode` names them.", r.Bad, short(r.x.o.images()))
	}
	if r.HTML != "" {
		s.say("The pictures are in %s.", r.HTML)
	}
	return nil
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
			words = append(words, "--"+f.Name+" "+quoted(short(v)))
		}
	})
	return strings.Join(words, " ")
}

// quoted is a word of a command line as a shell takes it.
func quoted(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t'\"$&|;*?()<>#!`[]{}") {
		return word
	}
	return strconv.Quote(word)
}
