package evaluate

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"runtime"

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
// row of any image.
func FromVectors(ctx context.Context, path string, set *data.Set) (*Embedded, Match, error) {
	e, rows, match, err := readVectors(ctx, path, set)
	if err != nil {
		return nil, Match{}, err
	}
	if err := rows.compare(ctx, set, &match); err != nil {
		return nil, Match{}, err
	}
	return e.closeGaps(path, set, rows, match)
}

// FromVectorsByName is FromVectors without a look at the images' bytes, which is much faster. An
// image that was replaced by another of its name is not noticed; Match counts all as Unchecked.
func FromVectorsByName(ctx context.Context, path string, set *data.Set) (*Embedded, Match, error) {
	e, rows, match, err := readVectors(ctx, path, set)
	if err != nil {
		return nil, Match{}, err
	}
	for _, r := range rows {
		if r.there {
			match.Unchecked++
		}
	}
	return e.closeGaps(path, set, rows, match)
}

// closeGaps moves the rows of images that have one together.
func (e *Embedded) closeGaps(path string, set *data.Set, rows foundRows, match Match) (*Embedded, Match, error) {
	for i, r := range rows {
		if !r.there {
			e.Bad++
			continue
		}
		if at := e.Len(); at != i {
			copy(e.Features[at*e.Dim:(at+1)*e.Dim], e.Features[i*e.Dim:(i+1)*e.Dim])
		}
		e.Images, e.Labels = append(e.Images, i), append(e.Labels, set.Label(i))
	}
	match.Missing = e.Bad - match.Replaced
	e.Features = e.Features[:e.Len()*e.Dim]
	if e.Len() == 0 {
		return nil, match, fmt.Errorf("%s: all %d images that it has a row of are others now (their bytes have "+
			"changed); embed them again",
			path, match.Replaced)
	}
	return e, match, nil
}

// found is what an image's row tells.
type found struct {
	there   bool
	checked bool // digest is known
	digest  data.Digest
}

type foundRows []found // by image

// readVectors puts the rows of a set's images at their places.
func readVectors(ctx context.Context, path string, set *data.Set) (*Embedded, foundRows, Match, error) {
	var match Match
	r, err := vectors.Open(path)
	if err != nil {
		return nil, nil, match, err
	}
	defer r.Close()
	place := make(map[string]int, set.Len())
	for i := range set.Len() {
		place[set.Name(i)] = i
	}
	dim := r.Head().Dim
	e := &Embedded{Dim: dim, Classes: set.Classes(), Features: make([]float32, set.Len()*dim)}
	rows := make(foundRows, set.Len())
	foreign, first := map[string]bool{}, ""
	n, matched := 0, 0
	for row, err := range r.All() {
		if err == nil && n%4096 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, nil, match, err
		}
		if n++; n == 1 {
			first = row.Path
		}
		i, ours := place[row.Path]
		if ours && rows[i].there || foreign[row.Path] {
			return nil, nil, match, fmt.Errorf("%s has more than one row of %q; which is meant?", path, row.Path)
		}
		if !ours {
			foreign[row.Path] = true
			continue
		}
		matched++
		rows[i].there = true
		if row.SHA256 != "" {
			rows[i].checked, rows[i].digest.Size = true, row.Size
			// The form of the digest was checked when it was read.
			hex.Decode(rows[i].digest.SHA256[:], []byte(row.SHA256))
		}
		to := e.Features[i*dim : (i+1)*dim]
		copy(to, row.Vector)
		if square := dot(to, to); math.Abs(square-1) > 1e-5 {
			encoder.Normalise(to)
		}
	}
	match.Foreign = len(foreign)
	if matched == 0 {
		return nil, nil, match, fmt.Errorf("none of the %d rows of %s is of one of the %d images: its first "+
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
	replaced := make([]bool, len(rows))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	const lot = 64
	for from := 0; from < len(rows); from += lot {
		workers.Go(func() error {
			for i := from; i < min(from+lot, len(rows)); i++ {
				if !rows[i].checked {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				now, err := set.Digest(i)
				replaced[i] = err != nil || now != rows[i].digest
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	for i, r := range rows {
		if r.there && !r.checked {
			match.Unchecked++
		}
		if replaced[i] {
			rows[i].there = false
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
