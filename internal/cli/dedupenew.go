package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/explore"
	"moco/vectors"
)

// parseNew checks the flags of new images that are compared with earlier ones.
func (q *dedupe) parseNew(c *cobra.Command) error {
	if q.new == "" && q.against == "" {
		return nil
	}
	if q.new == "" || q.against == "" {
		return errors.New("--new and --against go together: new images, and the vectors of earlier ones")
	}
	if err := vectors.CheckSource(q.against); err != nil {
		return fmt.Errorf("--against %w", err)
	}
	if c.Flags().Changed("data") {
		return nil
	}
	if q.by == byOverlay && c.Flags().Changed("by") {
		return errors.New("--by overlay needs --data: where the images are that --against was made of")
	}
	q.by = byFeatures
	return nil
}

// exploreNew compares new images with each other and with earlier ones.
func (q *dedupe) exploreNew(ctx context.Context, x *exploration) (summary, error) {
	of := copies{Collection: x.set}
	if x.o.data != "" {
		older, err := openOlder(ctx, x)
		if err != nil {
			return nil, err
		}
		defer older.set.Close()
		of.older = older
		if err := older.check(ctx, x, q.against); err != nil {
			return nil, err
		}
	} else {
		x.app.warn("Only features are compared; with --data, the earlier images, those that are near are laid over the new ones.")
	}
	r, err := vectors.Open(q.against)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	x.app.warn("%s", q.takes(x.set.Embedded, r.Head().Rows))
	from := explore.Earlier{Rows: r.All()}
	if of.older != nil {
		from.Source = of.older.source
		if q.by == byOverlay {
			from.Image = of.older.read
		}
	}
	added, err := x.DuplicatesAmong(ctx, x.set.Embedded, q.Duplicates, from)
	if err != nil {
		return nil, err
	}
	if added.Gone > 0 {
		x.app.warn("%d earlier images that are near new ones could not be read in %s and are left out.", added.Gone, x.o.data)
	}
	of.old = added.Old
	return q.tell(x, added.Groups, of)
}

// takes says how much memory the comparison will take.
func (q *dedupe) takes(set *evaluate.Embedded, rows int) string {
	const path = 200 // bytes of an older image's name, with what belongs to it
	n, dim := set.Len(), set.Dim
	near := n * q.Candidates
	many := "rows"
	if rows >= 0 {
		near, many = min(near, rows), fmt.Sprintf("%d rows", rows)
	}
	bytes := set.Memory() + int64(3*4*dim*explore.TileRows) + int64(path*n*q.Candidates)
	if q.by == byOverlay {
		bytes += q.memory(n+near, dim)
	}
	return fmt.Sprintf("%s are compared with the %s of %s, %d at a time: up to %s of memory beside the encoder's, "+
		"which does not grow with that file.", plural(n, "new image", "new images"), many, q.against, explore.TileRows,
		bytesText(bytes))
}

// olderImages are the earlier images, by their paths.
type olderImages struct {
	set     *data.Set
	reading data.Reading
	place   map[string]int
}

func openOlder(ctx context.Context, x *exploration) (*olderImages, error) {
	set, err := x.app.open(ctx, x.o.data, data.Any)
	if err != nil {
		return nil, err
	}
	o := &olderImages{set: set, reading: x.from.reading(), place: make(map[string]int, set.Len())}
	for i := range set.Len() {
		o.place[set.Name(i)] = i
	}
	return o, nil
}

// read reads an earlier image.
func (o *olderImages) read(path string, dst *data.Image) error {
	i, ok := o.place[path]
	if !ok {
		return fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return o.set.ReadAs(i, o.reading, dst)
}

// source tells how an earlier image is stored.
func (o *olderImages) source(path string) (data.Source, error) {
	i, ok := o.place[path]
	if !ok {
		return data.Source{}, nil
	}
	return o.set.Source(i)
}

// check compares the encoder with the first row whose image is there.
func (o *olderImages) check(ctx context.Context, x *exploration, file string) error {
	r, err := vectors.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	for row, err := range r.All() {
		if err != nil {
			return err
		}
		i, ok := o.place[row.Path]
		if !ok {
			continue
		}
		if x.from.encoder == nil && x.from.source.model == "" { // vectors alone
			return nil
		}
		one := &explore.Collection{Set: o.set, Embedded: &evaluate.Embedded{Features: encoder.Normalise(slices.Clone(row.Vector)), Dim: len(row.Vector),
			Labels: []int{-1}, Images: []int{i}}}
		return one.CheckEncoder(ctx, x.from.encode)
	}
	return fmt.Errorf("none of the rows of %s is of an image in %s; give the images that were embedded as --data", file, x.o.data)
}
