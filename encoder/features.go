package encoder

import (
	"context"
	"fmt"
	"image"

	"moco/internal/rng"
)

// FeaturesError is the error of features that are NaN or infinite. A search or a score made from
// them would look like an answer: nothing is similar to NaN, and nothing is worse.
type FeaturesError struct {
	// Images is how many of the Of images that were looked at have such features.
	Images, Of int
	First      string // the name of the first of them
	// File is the file of vectors that holds the features. It is empty if an encoder made them: its
	// weights are finite, but damaged.
	File string
}

func (e *FeaturesError) Error() string {
	text := fmt.Sprintf("the features of %d of %d images are NaN or infinite, %s first", e.Images, e.Of, e.First)
	if e.File != "" {
		return e.File + ": " + text
	}
	return text + ": the encoder is damaged, or its training has diverged"
}

// Finite tells whether all of some numbers are. NaN and infinities are not.
func Finite(row []float32) bool {
	for _, v := range row {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// CheckRows returns a *FeaturesError if a row of some features, [n,dim], is not finite. name gives
// the name of a row's image.
func CheckRows(rows []float32, dim int, name func(row int) string) error {
	var wrong *FeaturesError
	for i := 0; i*dim < len(rows); i++ {
		if Finite(rows[i*dim : (i+1)*dim]) {
			continue
		}
		if wrong == nil {
			wrong = &FeaturesError{Of: len(rows) / dim, First: name(i)}
		}
		wrong.Images++
	}
	if wrong == nil {
		return nil
	}
	return wrong
}

// Check encodes two drawn pictures. The error is a *FeaturesError if their features are not finite:
// finite weights can still be such that every image gives NaN.
func (e *Encoder) Check(ctx context.Context) error {
	noise := image.NewNRGBA(image.Rect(0, 0, e.policy.Size, e.policy.Size))
	random := rng.New(0)
	for i := range noise.Pix {
		noise.Pix[i] = uint8(random.Uint64()) | uint8(i%4/3*255) // opaque
	}
	black := image.NewGray(noise.Rect)
	_, err := e.Embed(ctx, []image.Image{noise, black})
	return err
}
