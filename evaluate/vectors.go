package evaluate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"moco/data"
	"moco/encoder"
	"moco/vectors"
)

// Match tells how well the rows of a file of vectors fit the images of a set.
type Match struct {
	Missing int // images without a row
	Foreign int // rows without an image in the set
	// Replaced counts images that were embedded with other bytes under their name.
	Replaced  int
	Replacing string // the first replaced image
	// Unchecked counts images whose row has no digest: in files of earlier versions and of other
	// tools.
	Unchecked int
}

// FromVectors reads the features of a set's images from a file of package vectors, so that the
// images need not be encoded again. It matches rows and images by path, and takes labels from the
// set. The result is in the set's order, and its rows have length one.
//
// An image is left out and counted in Bad, as an unreadable one is, if it has no row or if its
// bytes are not those that were embedded. Match has the numbers. To compare bytes, every image's
// file is read but not decoded. A path that occurs twice is an error, and so is a file without a
// row of any image. The error of vectors that are not finite is an *encoder.FeaturesError.
func FromVectors(ctx context.Context, path string, set *data.Set) (*Embedded, Match, error) {
	keep, err := newFloats(path, set)
	if err != nil {
		return nil, Match{}, err
	}
	return readInto(ctx, path, set, keep)
}

// FromVectorsByName is FromVectors without a look at the images' bytes, which is much faster. An
// image that was replaced by another of its name is not noticed; Match counts none as Unchecked.
func FromVectorsByName(ctx context.Context, path string, set *data.Set) (*Embedded, Match, error) {
	keep, err := newFloats(path, set)
	if err != nil {
		return nil, Match{}, err
	}
	e, rows, match, err := readVectors(ctx, path, set, keep)
	if err != nil {
		return nil, Match{}, err
	}
	return matchedRows{path: path, set: set, keep: keep, rows: rows}.closeGaps(e, match)
}

// newFloats has room for the features of all images.
func newFloats(path string, set *data.Set) (*floats, error) {
	r, err := vectors.Open(path)
	if err != nil {
		return nil, err
	}
	dim := r.Head().Dim
	return &floats{dim: dim, features: make([]float32, set.Len()*dim)}, r.Close()
}

// readInto reads the features of a set's images, and compares their bytes.
func readInto(ctx context.Context, path string, set *data.Set, keep keeper) (*Embedded, Match, error) {
	e, rows, match, err := readVectors(ctx, path, set, keep)
	if err != nil {
		return nil, Match{}, err
	}
	if err := rows.compare(ctx, set, &match); err != nil {
		return nil, Match{}, err
	}
	return matchedRows{path: path, set: set, keep: keep, rows: rows}.closeGaps(e, match)
}

// matchedRows are the rows of a file that belong to the images of a set.
type matchedRows struct {
	path string
	set  *data.Set
	keep keeper
	rows foundRows
}

// closeGaps moves the rows of images that have one together.
func (m matchedRows) closeGaps(e *Embedded, match Match) (*Embedded, Match, error) {
	set, keep, rows, path := m.set, m.keep, m.rows, m.path
	for i, there := range rows.there { // close gaps
		if !there {
			e.Bad++
			continue
		}
		if at := e.Len(); at != i {
			keep.move(at, i)
		}
		e.Images, e.Labels = append(e.Images, i), append(e.Labels, set.Label(i))
	}
	match.Missing = e.Bad - match.Replaced
	keep.finish(e, e.Len())
	if err := rows.check(path, set, e.Len()); err != nil {
		return nil, match, err
	}
	if e.Len() == 0 {
		return nil, match, fmt.Errorf("%s: all %d images that it has a row of are others now (their bytes have "+
			"changed); embed them again",
			path, match.Replaced)
	}
	return e, match, nil
}

// foundRows is what the rows of images tell, by image.
type foundRows struct {
	there []bool
	// digests are nil if no row has one. A zero one is not known.
	digests []data.Digest
	// damaged are the images whose rows hold NaN or infinities.
	damaged []int
}

// check returns an *encoder.FeaturesError if an image of the n that have a row has a damaged one.
func (rows foundRows) check(path string, set *data.Set, n int) error {
	slices.Sort(rows.damaged)
	wrong := &encoder.FeaturesError{Of: n, File: path}
	for _, i := range rows.damaged {
		if !rows.there[i] {
			continue
		}
		if wrong.Images++; wrong.Images == 1 {
			wrong.First = set.Name(i)
		}
	}
	if wrong.Images == 0 {
		return nil
	}
	return wrong
}

// finder finds images by name. Rows mostly come in the set's order, and then it needs no memory for
// an index.
type finder struct {
	set   *data.Set
	next  int            // the image after the last one that was found
	index map[string]int // nil until a row comes out of order
}

// lookahead is the number of images without a row that a finder passes over.
const lookahead = 100

func (f *finder) find(name string) (image int, ok bool) {
	for i := f.next; i < min(f.next+lookahead, f.set.Len()); i++ {
		if f.set.Name(i) == name {
			f.next = i + 1
			return i, true
		}
	}
	if f.index == nil {
		f.index = make(map[string]int, f.set.Len())
		for i := range f.set.Len() {
			f.index[f.set.Name(i)] = i
		}
	}
	if image, ok = f.index[name]; ok {
		f.next = image + 1
	}
	return image, ok
}

// readVectors keeps the rows of a set's images by their places.
func readVectors(ctx context.Context, path string, set *data.Set, keep keeper) (*Embedded, foundRows, Match, error) {
	var match Match
	r, err := vectors.Open(path)
	if err != nil {
		return nil, foundRows{}, match, err
	}
	defer r.Close()
	places := finder{set: set}
	dim := r.Head().Dim
	e := &Embedded{Dim: dim, Classes: set.Classes()}
	rows := foundRows{there: make([]bool, set.Len())}
	foreign, first := map[string]bool{}, ""
	n, matched := 0, 0
	for row, err := range r.All() {
		damaged := errors.As(err, new(*vectors.NotFiniteError))
		if damaged {
			err = nil // which of the set's images have such rows is told in the end
		}
		if err == nil && n%4096 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, foundRows{}, match, err
		}
		if n++; n == 1 {
			first = row.Path
		}
		i, ours := places.find(row.Path)
		if ours && rows.there[i] || foreign[row.Path] {
			return nil, foundRows{}, match, fmt.Errorf("%s has more than one row of %q; which is meant?", path, row.Path)
		}
		if !ours {
			foreign[row.Path] = true
			continue
		}
		matched++
		rows.there[i] = true
		if damaged {
			rows.damaged = append(rows.damaged, i)
		}
		if row.SHA256 != "" {
			if rows.digests == nil {
				rows.digests = make([]data.Digest, set.Len())
			}
			rows.digests[i].Size = row.Size
			// The form of the digest was checked when it was read.
			hex.Decode(rows.digests[i].SHA256[:], []byte(row.SHA256))
		}
		keep.put(i, n-1, row.Vector)
	}
	match.Foreign = len(foreign)
	if matched == 0 {
		return nil, foundRows{}, match, fmt.Errorf("none of the %d rows of %s is of one of the %d images: its first "+
			"path is %q, that of the images %q; "+
			"give the data that were embedded, by the same path (names are relative to it; in files of earlier "+
			"versions "+
			"they lack the folders that all images lie in, so embed again)", n, path, set.Len(), first, set.Name(0))
	}
	return e, rows, match, nil
}

// compare drops and counts the rows of images whose bytes are not those that were embedded. An
// image that cannot be read now counts among them.
func (rows foundRows) compare(ctx context.Context, set *data.Set, match *Match) error {
	if rows.digests == nil {
		for _, there := range rows.there {
			if there {
				match.Unchecked++
			}
		}
		return nil
	}
	replaced := make([]bool, len(rows.there))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	const lot = 64
	for from := 0; from < len(rows.there); from += lot {
		workers.Go(func() error {
			for i := from; i < min(from+lot, len(rows.there)); i++ {
				if rows.digests[i] == (data.Digest{}) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				now, err := set.Digest(i)
				replaced[i] = err != nil || now != rows.digests[i]
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	for i := range rows.there {
		if rows.there[i] && rows.digests[i] == (data.Digest{}) {
			match.Unchecked++
		}
		if replaced[i] {
			rows.there[i] = false
			if match.Replaced++; match.Replaced == 1 {
				match.Replacing = set.Name(i)
			}
		}
	}
	return nil
}

// dot is the dot product of two rows, in float64.
func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
