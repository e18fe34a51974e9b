package explore

import (
	"context"
	"errors"
	"fmt"

	"moco/data"
	"moco/evaluate"
)

// Collection is embedded images with their names, labels and pixels. Row i of the features belongs
// to image Images[i] of the set.
type Collection struct {
	*evaluate.Embedded
	Set     *data.Set
	Reading data.Reading // how Read reads
}

// Close closes the set and the features.
func (c *Collection) Close() error { return errors.Join(c.Set.Close(), c.Embedded.Close()) }

// Name is the name of a row's image.
func (c *Collection) Name(row int) string { return c.Set.Name(c.Images[row]) }

// Label is the class of a row's image, empty without labels.
func (c *Collection) Label(row int) string {
	if l := c.Labels[row]; l >= 0 && l < len(c.Classes) {
		return c.Classes[l]
	}
	return ""
}

// Read reads a row's image.
func (c *Collection) Read(row int, dst *data.Image) error {
	return c.Set.ReadAs(c.Images[row], c.Reading, dst)
}

// Source tells how a row's image is stored.
func (c *Collection) Source(row int) (data.Source, error) { return c.Set.Source(c.Images[row]) }

// Find is the row of the image with the given name.
func (c *Collection) Find(name string) (row int, ok bool) {
	for row := range c.Len() {
		if c.Name(row) == name {
			return row, true
		}
	}
	return 0, false
}

// Ref is an image by its name, as in an event.
type Ref struct {
	Image      string   `json:"image"`                // its path within the data
	Label      string   `json:"label,omitempty"`      // its class, where there are labels
	Similarity *float32 `json:"similarity,omitempty"` // cosine with the image that the event is about
}

// Ref is a row's image.
func (c *Collection) Ref(row int) Ref { return Ref{Image: c.Name(row), Label: c.Label(row)} }

// Refs are the images of neighbours, with their similarities.
func (c *Collection) Refs(list []evaluate.Neighbour) []Ref {
	refs := make([]Ref, 0, len(list))
	for _, n := range list {
		r := c.Ref(n.Row)
		r.Similarity = &n.Similarity
		refs = append(refs, r)
	}
	return refs
}

// Encode makes the features of a set's images.
type Encode func(ctx context.Context, set *data.Set) (*evaluate.Embedded, error)

// sameFeatures is the least cosine between two runs of one encoder on one image: precision and
// engine may differ.
const sameFeatures = 0.99

// OtherEncoderError is the error of features that come from another encoder, or from another layer
// of it.
type OtherEncoderError struct {
	// Dim is the length of the features' rows, Makes that of the encoder's.
	Dim, Makes int
	Image      string  // the compared image, if the lengths are equal
	Cosine     float32 // between the image's row and the encoder's features of it
}

func (e *OtherEncoderError) Error() string {
	if e.Dim != e.Makes {
		return fmt.Sprintf("the vectors have rows of %d numbers, and the model makes %d", e.Dim, e.Makes)
	}
	return fmt.Sprintf("the vector of %s has a cosine of %.3f with what the model makes of it", e.Image, e.Cosine)
}

// CheckEncoder compares an encoder with the features: it must make the first image's features
// again. If it does not, the error is an *OtherEncoderError.
func (c *Collection) CheckEncoder(ctx context.Context, encode Encode) error {
	one, err := c.Set.Subset(c.Images[:1])
	if err != nil {
		return err
	}
	e, err := encode(ctx, one)
	if err != nil {
		return err
	}
	if e.Dim != c.Dim {
		return &OtherEncoderError{Dim: c.Dim, Makes: e.Dim}
	}
	own := make([]float32, c.Dim)
	if err := c.Embedded.Read(0, own); err != nil {
		return err
	}
	if likeness := cosine(e.Features, own); !(likeness >= sameFeatures) {
		return &OtherEncoderError{Dim: c.Dim, Makes: e.Dim, Image: c.Name(0), Cosine: likeness}
	}
	return nil
}
