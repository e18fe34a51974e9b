package evaluate

import (
	"fmt"
	"slices"

	"moco/data"
	"moco/encoder"
)

// Embedded is the features of a set of images.
type Embedded struct {
	// Features [N,Dim] are the rows, each of length one. It is nil if OpenVectors keeps them
	// otherwise; Read reads them in any case.
	Features []float32
	Labels   []int // [N]; -1: no label
	// Images [N] gives each row's place in the set that it was made from. It is nil if there is no
	// such set.
	Images  []int
	Dim     int
	Classes []string
	Bad     int // unreadable images; they have no row

	kept  stored // has the rows if Features is nil
	first int    // its row that is the first one here
}

// Len is the number of images.
func (e *Embedded) Len() int { return len(e.Labels) }

// Row is the features of image i, if they are in Features.
func (e *Embedded) Row(i int) []float32 { return e.Features[i*e.Dim : (i+1)*e.Dim] }

// check returns an *encoder.FeaturesError if the features of an image are not finite. Whatever makes
// an Embedded ends with it.
func (e *Embedded) check(set *data.Set) error {
	return encoder.CheckRows(e.Features, e.Dim, func(row int) string { return set.Name(e.Images[row]) })
}

// Part is the rows from first up to last, without a copy.
func (e *Embedded) Part(first, last int) *Embedded {
	p := &Embedded{Labels: e.Labels[first:last], Dim: e.Dim, Classes: e.Classes, kept: e.kept, first: e.first + first}
	if e.kept == nil {
		p.Features = e.Features[first*e.Dim : last*e.Dim]
	}
	if e.Images != nil {
		p.Images = e.Images[first:last]
	}
	return p
}

// labelsAs returns the images' labels as places in another list of classes. Two sets may number the
// same names differently.
func (e *Embedded) labelsAs(classes []string) ([]int, error) {
	if e.Classes == nil || slices.Equal(classes, e.Classes) {
		return e.Labels, nil
	}
	labels := make([]int, len(e.Labels))
	for i, l := range e.Labels {
		name := e.Classes[l]
		if labels[i] = slices.Index(classes, name); labels[i] < 0 {
			return nil, fmt.Errorf("the class %q of the test images is not among those of the training images (%d classes, %q first)",
				name, len(classes), classes[0])
		}
	}
	return labels, nil
}
