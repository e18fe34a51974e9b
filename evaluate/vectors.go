package evaluate

import (
	"context"
	"fmt"
	"math"

	"moco/data"
	"moco/encoder"
	"moco/vectors"
)

// FromVectors reads the features of a set's images from a file of package vectors instead of encoding the images again. Rows and images are matched by
// path, and labels are the set's. The rows come in the set's order and are scaled to length one where they are not. Images without a row are left
// out and counted in Bad, as unreadable ones are; extra is the number of rows that are of no image of the set. A path that is there twice is an
// error, and so is a file none of whose rows is of an image.
func FromVectors(ctx context.Context, path string, set *data.Set) (e *Embedded, extra int, err error) {
	r, err := vectors.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	place := make(map[string]int, set.Len())
	for i := range set.Len() {
		name := vectors.Text(set.Name(i))
		if _, twice := place[name]; twice {
			return nil, 0, fmt.Errorf("two images are called %q, so that rows of vectors cannot be told apart", name)
		}
		place[name] = i
	}
	dim := r.Head().Dim
	e = &Embedded{Dim: dim, Classes: set.Classes(), Features: make([]float32, set.Len()*dim)}
	there := make([]bool, set.Len())
	foreign, first := map[string]bool{}, ""
	n := 0
	for row, err := range r.All() {
		if err == nil && n%4096 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, 0, err
		}
		if n++; n == 1 {
			first = row.Path
		}
		i, ours := place[row.Path]
		if ours && there[i] || foreign[row.Path] {
			return nil, 0, fmt.Errorf("%s has more than one row of %q; which is meant?", path, row.Path)
		}
		if !ours {
			foreign[row.Path] = true
			continue
		}
		there[i] = true
		to := e.Features[i*dim : (i+1)*dim]
		copy(to, row.Vector)
		if square := dot(to, to); math.Abs(square-1) > 1e-5 {
			encoder.Normalise(to)
		}
	}
	for i, yes := range there { // close the gaps
		if !yes {
			e.Bad++
			continue
		}
		if at := e.Len(); at != i {
			copy(e.Features[at*dim:(at+1)*dim], e.Features[i*dim:(i+1)*dim])
		}
		e.Images, e.Labels = append(e.Images, i), append(e.Labels, set.Label(i))
	}
	e.Features = e.Features[:e.Len()*dim]
	if e.Len() == 0 {
		return nil, 0, fmt.Errorf("none of the %d rows of %s is of one of the %d images: its first path is %q, that of the images %q; give the data that moco embed was given",
			n, path, set.Len(), first, set.Name(0))
	}
	return e, len(foreign), nil
}

// dot is the dot product of two rows, in float64.
func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
