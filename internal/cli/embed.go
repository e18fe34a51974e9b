package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/embed"
	"moco/internal/event"
	"moco/vectordb"
	"moco/vectors"
)

const embedHelp = `Encode every image and write a row of path, label and vector for each, in the set's order. Vectors
have length one, so the dot product of two is their cosine similarity. Labels are the names of class
folders, where there are any.

The ending of --out picks the format: .parquet (columns path, label, size, sha256, vector: a list of
float32 of fixed size), .npy (an array, with the rest in FILE.npy.jsonl beside it), or .jsonl (a
JSON object a line). Size and SHA-256 are of the image's bytes: by them, commands that take
--vectors notice an image that was replaced.

--dtype float16 halves the vectors: float16 numbers in Parquet and NumPy arrays, rounded ones in
JSON lines. Commands that take --vectors then keep them as float16 in memory too.

Many machines share the work by shards: --shard 3/7 embeds the third of seven parts of the images,
and --out parts/photos.npy becomes parts/photos-0003-of-0007.npy, whose rows have the same bytes as
in one run over everything. In a Slurm array, and with --shards N in a Kubernetes job with indexed
completion, the task's number says which shard it is. A shard that is finished is left as it is,
one that was stopped goes on without --resume, so a task can be started again at any time. Commands
that take --vectors take the folder. docs/cluster.md has scripts. With --layout clip-retrieval the
files are named as that program's are (DIR/img_emb, DIR/metadata), for tools that build indices
from them.

Memory does not grow with the number of images. Ctrl-C keeps what is done in FILE.part; --resume
goes on and gives the same bytes as if nothing had happened. Images that cannot be read are named,
counted and left out; more than --max-bad of them stop the run.

With --to, the rows go to a vector database instead:

  postgres://USER:PASSWORD@HOST/DATABASE?table=NAME    with the pgvector extension
  qdrant://:APIKEY@HOST:6333/COLLECTION?tls=true       by REST

The table or collection is made if it is not there. A row is written by its path, in the place of
the one that is there, so a command that was stopped can be given again; it starts with the first
image.`

const embedExample = `  moco embed --model run --data photos/ --out photos.parquet
  moco embed --model run/encoder.safetensors --data test.tar --features head --out test.npy
  moco embed --model run --data photos/ --out photos.parquet --resume
  moco embed --model run --data photos/ --out parts/photos.npy --dtype float16 --shard 3/7
  moco embed --model run --data photos/ --out parts/ --layout clip-retrieval --shard 3/7
  moco embed --model run --data photos/ --to 'postgres://localhost/photos?table=photos'
  moco embed --model run --data photos/ --to qdrant://localhost:6333/photos`

// embedOptions are those of `moco embed`.
type embedOptions struct {
	source
	machine
	shardFlags
	data, out, to string
	layout        string
	dtype         string
	maxBad        float64
	resume, force bool
}

// The layouts of the files that embed writes, and the numbers in them.
const (
	ownLayout  = "moco"
	clipLayout = "clip-retrieval"
)

var dtypes = []string{vectors.Float32.String(), vectors.Float16.String()}

func init() { register("", (*app).embedCommand) }

func (a *app) embedCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "embed --model DIR|FILE --data PATH --out FILE.{parquet,npy,jsonl} | --to DATABASE",
		Short:   "Turn images into vectors",
		Long:    embedHelp,
		Example: embedExample,
	}
	return subcommand(a, c, &embedOptions{}, runEmbed)
}

func (o *embedOptions) bind(c *cobra.Command) {
	o.bindEncoder(c, 64)
	f := c.Flags()
	pathsFlag(c, &o.data, "data", "images to encode (required)")
	f.StringVar(&o.out, "out", "", "file to write: .parquet, .npy or .jsonl; a folder with --layout clip-retrieval")
	choiceFlag(c, &o.layout, "layout", []string{ownLayout, clipLayout}, ownLayout,
		"moco: one file; clip-retrieval: arrays and metadata in folders, as that program writes them")
	choiceFlag(c, &o.dtype, "dtype", dtypes, dtypes[0], "numbers of the vectors; float16 takes half of the space")
	o.shardFlags.bind(c)
	f.StringVar(&o.to, "to", "", "vector database to write to instead: postgres://... or qdrant://...")
	f.Float64Var(&o.maxBad, "max-bad", 0.01, "share of the images that may be unreadable")
	f.BoolVar(&o.resume, "resume", false, "go on with a run that was stopped")
	forceFlag(c, &o.force)
	o.machine.bind(c)
	required(c, "data")
	c.MarkFlagsOneRequired("out", "to")
	c.MarkFlagsMutuallyExclusive("out", "to")
	c.MarkFlagsMutuallyExclusive("to", "resume")
	c.MarkFlagsMutuallyExclusive("to", "force")
}

func (o *embedOptions) parse(*cobra.Command, []string) error {
	if !(o.maxBad >= 0 && o.maxBad <= 1) {
		return usagef("--max-bad %v: is a share, 0 to 1", o.maxBad)
	}
	if o.to != "" {
		if err := vectordb.Check(o.to); err != nil {
			return usagef("--to: %w", err)
		}
	} else if o.layout == clipLayout {
		if vectors.Check(o.out) == nil {
			return usagef("--out %s: is a folder with --layout clip-retrieval", o.out)
		}
	} else if err := vectors.Check(o.out); err != nil {
		return usagef("--out %w", err)
	}
	return o.source.parse()
}

func runEmbed(ctx context.Context, a *app, o *embedOptions) (result, error) {
	shard, from, err := o.shardFlags.parse(a.getenv)
	if err != nil {
		return nil, err
	}
	if from != "" {
		a.say("Shard %d of %d, by %s.", shard.Index, shard.Count, from)
	}
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	f, err := o.source.open(ctx, a, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Each image is read once.
	set, err := a.openOnce(ctx, o.data, data.Options{})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	r := embed.Options{Encoder: f.encoder, Layer: o.layers[0], Data: set, Out: o.out, Shard: shard, Resume: o.resume,
		Replace: o.force, MaxBad: o.maxBad, Log: a.logger()}
	if o.dtype == vectors.Float16.String() {
		r.Type = vectors.Float16
	}
	if o.layout == clipLayout {
		if r.Out, err = vectors.ClipRetrieval(o.out); err != nil {
			return nil, err
		}
	}
	if o.to != "" {
		db, err := vectordb.Open(ctx, o.to, f.encoder.Dim())
		if err != nil {
			return nil, err
		}
		defer db.Close()
		r.Put, r.Out = db.Put, "the database"
	}
	show := &embedView{screen: &a.screen}
	r.Events = show.event
	_, err = embed.Run(ctx, r)
	show.bar.clear()
	return nil, err // the run's last event is the result
}

// embedView shows the events of a run.
type embedView struct {
	screen *screen
	bar    *progress
}

func (v *embedView) event(e event.Event) {
	v.screen.tell(e, func() { v.text(e) })
}

// text shows an event to people.
func (v *embedView) text(e event.Event) {
	switch e := e.(type) {
	case embed.Start:
		v.screen.say("%d images; %d %s features each, on %s", e.Images, e.Dim, e.Features, e.Engine)
		if e.First > 0 {
			v.screen.say("Going on after image %d.", e.First)
		}
		v.bar = v.screen.progress(e.Images, "image")
	case embed.Progress:
		v.bar.at(e.Done, fmt.Sprintf("%.0f images/s  %s left", e.ImagesPerSecond, left(e.SecondsLeft)))
	case embed.Done:
		v.bar.clear()
		switch {
		case e.Skipped:
			v.screen.say("%s is finished: %d rows of %d.", e.Out, e.Rows, e.Dim)
		case !e.Interrupted:
			v.screen.say("Done: %d rows of %d in %s, %.0f images/s%s: %s", e.Rows, e.Dim, left(e.Seconds), e.ImagesPerSecond, badImages(e.BadImages), e.Out)
		}
	}
}
