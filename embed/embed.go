// Package embed makes the features of a whole set of images and writes them to a file of package
// vectors. Memory does not grow with the set. A run can be stopped anywhere and resumed: a journal
// beside the output, OUT.part, keeps what is done, and the output is made from it at the end.
package embed

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"moco/data"
	"moco/encoder"
	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/internal/lock"
	"moco/vectors"
)

// Options say what to embed.
type Options struct {
	Encoder *encoder.Encoder
	Layer   encoder.Layer // empty: the encoder's own
	Data    *data.Set
	// Out is a file whose ending tells the format: .parquet, .npy or .jsonl. With Put it is only a
	// name for the events.
	Out string
	// Shard, if not the whole, is the part of the images that is embedded. The output is the
	// shard's file beside Out, which is not written itself, and it holds the same bytes as those
	// rows of a run over all images. A shard that is finished is left as it is, and one that was
	// stopped goes on without Resume. All shards of a set must be made alike; OUT.shards.json keeps
	// how.
	Shard vectors.Shard
	// Type is how the output holds numbers.
	Type vectors.Type
	// Put, if not nil, takes the rows of each batch in place of a file, for example for a database.
	// It must not keep the slice. There is no journal then and nothing to resume: a stopped run
	// starts over, so Put must accept rows that it has seen before.
	Put func(ctx context.Context, rows []vectors.Row) error
	// Resume continues a run that was stopped. The output has the same bytes as without the stop.
	// The encoder, the images, the layer, the batch, the precision and the engine must be those of
	// the stopped run. Without a journal a new run begins.
	Resume bool
	// Replace lets a new run write over an output that is there. Without it, that is an
	// *ExistsError. A shard that is there is finished, and is left alone.
	Replace bool
	// MaxBad is the share of all images that may be unreadable, also of a shard. Unreadable images
	// get no row.
	MaxBad float64
	Events func(event.Event) // receives Start, Progress, Bad and Done; may be nil
	Log    *slog.Logger      // names skipped images; may be nil
}

// job is a run in progress.
type job struct {
	o           Options
	out         string // the file that is written
	first, last int    // the images of the shard
	dim         int
	journal     *journal
	began       time.Time
	here        int // images read in this process
	pending     []uint32
	release     func() // releases the journal's lock
}

// Run embeds the whole set, or until ctx ends. It also sends the Done that it returns as the last
// event. Features that are not finite end it with an *encoder.FeaturesError about their batch.
func Run(ctx context.Context, o Options) (*Done, error) {
	if o.Put == nil {
		if err := vectors.Check(o.Out); err != nil {
			return nil, err
		}
	} else if o.Resume {
		return nil, errors.New("a run into a database has no journal to resume from; begin it again, its rows " +
			"replace those that are there")
	}
	if o.Layer == "" {
		o.Layer = encoder.Backbone
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Events == nil {
		o.Events = func(event.Event) {}
	}
	if err := o.Shard.Check(); err != nil {
		return nil, err
	}
	j := &job{o: o, out: o.Shard.Path(o.Out), began: time.Now(), release: func() {}}
	if o.Put != nil {
		j.out = o.Out
	}
	j.first, j.last = o.Shard.Range(o.Data.Len())
	var err error
	if j.dim, err = o.Encoder.DimOf(o.Layer); err != nil {
		return nil, err
	}
	return j.run(ctx)
}

// part is the journal's path.
func part(out string) string { return out + ".part" }

// begin creates or opens the journal. It refuses a journal that another run made, or is writing.
func (j *job) begin(ctx context.Context) error {
	if j.o.Put != nil {
		j.journal = &journal{first: j.first, next: j.first}
		return nil
	}
	out, path, t := j.out, part(j.out), j.terms()
	if err := j.agree(ctx, t); err != nil {
		return err
	}
	if err := j.lock(ctx, path); err != nil {
		return err
	}
	_, err := os.Stat(path)
	here := err == nil
	if !j.o.Shard.Whole() {
		if _, err := os.Stat(out); err == nil {
			return errFinished
		}
	} else if here && !j.o.Resume {
		return &UnfinishedError{path}
	}
	if !here && !j.o.Replace {
		for _, file := range vectors.Files(out) {
			if err := atomicfile.Free(file, nil); err != nil {
				return err
			}
		}
	}
	if here {
		if j.journal, err = openJournal(path, t, j.first, j.last); !errors.Is(err, errNoTerms) {
			if err != nil {
				return fmt.Errorf("resume %s: %w", path, err)
			}
			if !j.journal.terms.digested() {
				j.o.Log.Warn("the journal is of an earlier version: rows will carry no size and hash of their images", "journal", path)
			}
			return nil
		}
	}
	if j.journal, err = createJournal(path, t, j.first, j.last); err != nil {
		return fmt.Errorf("begin the journal: %w", err)
	}
	return nil
}

// terms are those of this run.
func (j *job) terms() terms {
	e := j.o.Encoder
	t := terms{Format: journalFormat, Encoder: e.SHA256, Data: j.o.Data.Fingerprint(), Features: string(j.o.Layer),
		Dim: j.dim, Precision: e.Recipe.Precision, Batch: e.Batch(), Engine: e.Engine(), Shard: j.o.Shard.String()}
	if j.o.Type != vectors.Float32 {
		t.Numbers = j.o.Type.String()
	}
	return t
}

// lock keeps other processes from the journal until the run ends.
func (j *job) lock(ctx context.Context, path string) error {
	_, release, err := lock.Path(ctx, path)
	if errors.As(err, new(*lock.UnsupportedError)) {
		j.o.Log.Warn("no lock", "error", err)
		return nil
	}
	if err == nil {
		j.release = release
	}
	return err
}

func (j *job) run(ctx context.Context) (*Done, error) {
	defer func() { j.release() }()
	err := j.begin(ctx)
	if errors.Is(err, errFinished) {
		return j.finished()
	}
	if err != nil {
		return nil, err
	}
	defer func() { j.journal.close() }()
	j.o.Events(Start{Images: j.last - j.first, First: j.journal.next - j.first, Features: j.o.Layer, Dim: j.dim,
		Engine: j.o.Encoder.Engine(), Out: j.out, Shard: j.o.Shard.String()})
	if err = j.walk(ctx); err == nil && j.journal.rows == 0 && j.o.Shard.Whole() {
		err = fmt.Errorf("none of the %d images can be read", j.o.Data.Len())
	}
	if err == nil && j.o.Put == nil {
		err = j.save(ctx)
	}
	stopped := ctx.Err() != nil && errors.Is(err, ctx.Err())
	if stopped {
		if err := j.journal.sync(); err != nil {
			return nil, fmt.Errorf("keep the journal: %w", err)
		}
		err = &StoppedError{Done: j.journal.next - j.first, Images: j.last - j.first, Kept: j.o.Put == nil,
			Shard: !j.o.Shard.Whole()}
	}
	if err != nil && !stopped {
		return nil, err
	}
	done := j.done()
	done.Interrupted = stopped
	j.o.Events(*done)
	return done, err
}

// walk embeds the images that the journal does not have.
func (j *job) walk(ctx context.Context) error {
	set, first := j.o.Data, j.journal.next
	if first >= j.last {
		return nil
	}
	walk := encoder.Walk{Layer: j.o.Layer, From: first, To: j.last, Skipped: j.skipped}
	return j.o.Encoder.EmbedSet(ctx, set, walk, func(b encoder.Embedding) error {
		f := frame{bad: j.pending, next: uint64(b.Next), rows: b.Rows}
		for _, i := range b.Images {
			f.images = append(f.images, uint32(i))
		}
		if err := encoder.CheckRows(b.Rows, j.dim, func(i int) string { return set.Name(b.Images[i]) }); err != nil {
			return err
		}
		if err := j.keep(ctx, &f); err != nil {
			return err
		}
		j.pending = j.pending[:0]
		j.here = b.Next - first
		rate := j.rate()
		j.o.Events(Progress{Done: b.Next - j.first, Images: j.last - j.first, BadImages: len(j.journal.bad),
			ImagesPerSecond: rate, SecondsLeft: float64(j.last-b.Next) / rate})
		return ctx.Err()
	})
}

// done is the last event.
func (j *job) done() *Done {
	bad := j.journal.bad
	d := &Done{Out: j.out, Rows: j.journal.rows, Dim: j.dim, Features: j.o.Layer, BadImages: len(bad),
		BadNames: []string{}, ImagesPerSecond: j.rate(), Seconds: time.Since(j.began).Seconds()}
	for _, i := range bad[:min(MaxBadNames, len(bad))] {
		d.BadNames = append(d.BadNames, j.o.Data.Name(int(i)))
	}
	return d
}

// keep puts a batch's rows into the journal, or hands them to Put.
func (j *job) keep(ctx context.Context, f *frame) error {
	if j.o.Put == nil {
		if j.journal.terms.digested() {
			f.digests = digests(j.o.Data, f.images)
		}
		if err := j.journal.add(f); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		return nil
	}
	rows := make([]vectors.Row, len(f.images))
	for n := range f.images {
		rows[n] = row(j.o.Data, f, n, j.dim)
	}
	if len(rows) > 0 {
		if err := j.o.Put(ctx, rows); err != nil {
			return err
		}
	}
	j.journal.count(f)
	return nil
}

// rate is the number of images per second in this process.
func (j *job) rate() float64 { return float64(j.here) / max(1e-9, time.Since(j.began).Seconds()) }

// skipped notes an unreadable image. Too many of them are an error.
func (j *job) skipped(i int, err error) error {
	set := j.o.Data
	j.o.Log.Warn("image skipped", "image", set.Name(i), "error", err)
	j.o.Events(Bad{Image: set.Name(i), Error: err.Error()})
	j.pending = append(j.pending, uint32(i))
	if n := len(j.journal.bad) + len(j.pending); n > int(j.o.MaxBad*float64(set.Len())) {
		return &BadImagesError{Bad: n, Images: set.Len(), Limit: j.o.MaxBad, Kept: j.o.Put == nil, Last: err}
	}
	return nil
}

// save makes the output from the journal, and removes the journal.
func (j *job) save(ctx context.Context) error {
	if err := vectors.Save(j.out, vectors.Head{Rows: j.journal.rows, Dim: j.dim, Type: j.o.Type}, j.rows(ctx)); err != nil {
		return err
	}
	if err := os.Remove(part(j.out)); err != nil {
		return fmt.Errorf("the output is whole, its journal cannot be removed: %w", err)
	}
	return nil
}

// rows iterates over the rows of the journal.
func (j *job) rows(ctx context.Context) iter.Seq2[vectors.Row, error] {
	return func(yield func(vectors.Row, error) bool) {
		frames, err := j.journal.frames()
		for err == nil {
			if err = ctx.Err(); err != nil {
				break
			}
			if err = frames.read(); err != nil {
				break
			}
			for n := range frames.frame.images {
				if !yield(row(j.o.Data, &frames.frame, n, j.dim), nil) {
					return
				}
			}
		}
		if err != io.EOF {
			yield(vectors.Row{}, err)
		}
	}
}

// row is row n of a frame.
func row(set *data.Set, f *frame, n, dim int) vectors.Row {
	i := int(f.images[n])
	r := vectors.Row{Path: set.Name(i), Vector: f.rows[n*dim : (n+1)*dim]}
	if label := set.Label(i); label >= 0 {
		r.Label = set.Classes()[label]
	}
	if n < len(f.digests) && f.digests[n] != (data.Digest{}) {
		r.Size, r.SHA256 = f.digests[n].Size, hex.EncodeToString(f.digests[n].SHA256[:])
	}
	return r
}

// digests returns the digests of some images. An image that was read and has disappeared since has
// none.
func digests(set *data.Set, images []uint32) []data.Digest {
	all := make([]data.Digest, len(images))
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for n, i := range images {
		workers.Go(func() error {
			if d, err := set.Digest(int(i)); err == nil {
				all[n] = d
			}
			return nil
		})
	}
	workers.Wait()
	return all
}
