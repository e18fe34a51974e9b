package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"moco/data"
	"moco/embed"
	"moco/encoder"
	"moco/internal/event"
	"moco/vectordb"
	"moco/vectors"
)

func (a *app) embedCommand() *cobra.Command {
	var model, images, layer, precision, to string
	var batch int
	o := embed.Options{}
	c := &cobra.Command{
		Use:   "embed --model DIR|FILE --data PATH --out FILE.{parquet,npy,jsonl} | --to DATABASE",
		Short: "Turn images into vectors",
		Long: `Encode every image and write a row of path, label and vector for each, in the set's order. Vectors have length one, so the dot product
of two is their cosine similarity. Labels are the names of class folders, where there are any.

The ending of --out picks the format: .parquet (columns path, label, vector: a list of float32 of fixed size), .npy (an array, with the paths
and labels in FILE.npy.jsonl beside it), or .jsonl (a JSON object a line).

Memory does not grow with the number of images. Ctrl-C keeps what is done in FILE.part; --resume goes on and gives the same bytes as if nothing had
happened. Images that cannot be read are named, counted and left out; more than --max-bad of them stop the run.

With --to, the rows go to a vector database instead: postgres://USER:PASSWORD@HOST/DATABASE?table=NAME (with the pgvector extension), or
qdrant://:APIKEY@HOST:6333/COLLECTION?tls=true. The table or collection is made if it is not there. A row is written by its path, in the place of the one
that is there, so a command that was stopped can be given again; it starts with the first image.`,
		Example: `  moco embed --model run --data photos/ --out photos.parquet
  moco embed --model run/encoder.safetensors --data test.tar --features head --out test.npy
  moco embed --model run --data photos/ --out photos.parquet --resume
  moco embed --model run --data photos/ --to 'postgres://localhost/photos?table=photos'
  moco embed --model run --data photos/ --to qdrant://localhost:6333/photos`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.MaxBad < 0 || o.MaxBad > 1 {
				return usageError{fmt.Errorf("--max-bad %v: is a share, 0 to 1", o.MaxBad)}
			}
			if batch < 1 {
				return usageError{fmt.Errorf("--batch %d: must be at least 1", batch)}
			}
			if layer != string(encoder.Head) && layer != string(encoder.Backbone) {
				return usageError{fmt.Errorf("--features %q: there are head and backbone", layer)}
			}
			if precision != "" && precision != "fp32" && precision != "bf16" {
				return usageError{fmt.Errorf("--precision %q: there are fp32 and bf16", precision)}
			}
			if to == "" {
				if err := vectors.Check(o.Out); err != nil {
					return usageError{fmt.Errorf("--out %w", err)}
				}
			} else if err := vectordb.Check(to); err != nil {
				return usageError{fmt.Errorf("--to: %w", err)}
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			if o.Encoder, err = a.openEncoder(model, encoder.Options{Engine: e, Batch: batch, Precision: precision, Layer: encoder.Layer(layer)}); err != nil {
				return err
			}
			defer o.Encoder.Close()
			// Each image is read once: nothing is kept.
			if o.Data, err = data.Open(c.Context(), images, data.Options{}); err != nil {
				return err
			}
			defer o.Data.Close()
			o.Layer, o.Log = encoder.Layer(layer), a.logger()
			if to != "" {
				db, err := vectordb.Open(c.Context(), to, o.Encoder.Dim())
				if err != nil {
					return err
				}
				defer db.Close()
				o.Put, o.Out = db.Put, "the database"
			}
			show := &embedView{app: a}
			o.Events = show.event
			_, err = embed.Run(c.Context(), o)
			show.clear()
			return err
		},
	}
	c.Flags().StringVar(&model, "model", "", "folder of a run, an encoder.safetensors, or a checkpoint of PyTorch (required)")
	c.Flags().StringVar(&images, "data", "", "images to encode (required)")
	c.Flags().StringVar(&o.Out, "out", "", "file to write: .parquet, .npy or .jsonl")
	c.Flags().StringVar(&to, "to", "", "vector database to write to instead: postgres://... or qdrant://...")
	c.Flags().StringVar(&layer, "features", string(encoder.Backbone), "backbone, or head: what the loss saw")
	c.Flags().IntVar(&batch, "batch", 64, "images encoded at once; memory grows with it")
	c.Flags().StringVar(&precision, "precision", "", "fp32 or bf16; the encoder's own if not given")
	c.Flags().Float64Var(&o.MaxBad, "max-bad", 0.01, "share of the images that may be unreadable")
	c.Flags().BoolVar(&o.Resume, "resume", false, "go on with a run that was stopped")
	a.threadsFlag(c)
	for _, f := range []string{"model", "data"} {
		c.MarkFlagRequired(f)
	}
	c.MarkFlagsOneRequired("out", "to")
	c.MarkFlagsMutuallyExclusive("out", "to")
	c.MarkFlagsMutuallyExclusive("to", "resume")
	return c
}

// embedView shows the events of a run: as JSON lines, with a progress bar, or a line now and then.
type embedView struct {
	app  *app
	bar  *progressbar.ProgressBar
	line time.Time
}

func (v *embedView) event(e event.Event) {
	a := v.app
	if a.json {
		a.print(e)
		return
	}
	switch e := e.(type) {
	case embed.Start:
		a.say("%d images; %d %s features each, on %s", e.Images, e.Dim, e.Features, e.Engine)
		if e.First > 0 {
			a.say("Going on after image %d.", e.First)
		}
		v.line = time.Now()
		if a.onTerminal() {
			v.bar = progressbar.NewOptions(e.Images, progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
				progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
	case embed.Progress:
		status := fmt.Sprintf("%.0f images/s  %s left", e.ImagesPerSecond, left(e.SecondsLeft))
		switch {
		case v.bar != nil:
			v.bar.Describe(status)
			v.bar.Set(e.Done)
		case time.Since(v.line) > 10*time.Second:
			v.line = time.Now()
			a.warn("%d of %d images  %s", e.Done, e.Images, status)
		}
	case embed.Done:
		v.clear()
		if e.Interrupted {
			return
		}
		a.say("Done: %d rows of %d in %s, %.0f images/s%s: %s", e.Rows, e.Dim, left(e.Seconds), e.ImagesPerSecond, badImages(e.BadImages), e.Out)
	}
}

// clear takes the bar away for a line; the next batch draws it again.
func (v *embedView) clear() {
	if v.bar != nil {
		v.bar.Clear()
	}
}
