package classify_test

import (
	"context"
	"fmt"
	"log"

	"moco"
	"moco/classify"
	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/nn"
)

// Say what pictures are, from some that are labelled. The encoder is usually opened:
// encoder.Open(ctx, "run"); here an untrained one replaces it, so that the example runs anywhere.
func Example() {
	ctx := context.Background()
	enc, labelled, pile := opened(ctx)
	defer enc.Close()
	defer labelled.Close()
	defer pile.Close()

	known, err := evaluate.Features(ctx, enc, labelled, enc.Layer(), nil)
	if err != nil {
		log.Fatal(err)
	}
	c, err := classify.Fit(ctx, known, classify.Options{Layer: enc.Layer(), Encoder: enc.SHA256})
	if err != nil {
		log.Fatal(err)
	}
	unknown, err := evaluate.Features(ctx, enc, pile, enc.Layer(), nil)
	if err != nil {
		log.Fatal(err)
	}
	predictions, err := c.Predict(ctx, unknown)
	if err != nil {
		log.Fatal(err)
	}

	p := predictions[0]
	fmt.Println(len(predictions), "pictures of", len(c.Classes), "classes")
	fmt.Println("two choices for the first:", c.Classes[p.Label] != c.Classes[p.Second], "- sure of it:", p.Confidence > 0.9)
	fmt.Println("enough labels to say how many are right:", c.Estimate.Enough)
	// Output:
	// 20 pictures of 10 classes
	// two choices for the first: true - sure of it: false
	// enough labels to say how many are right: true
}

// opened opens an encoder, labelled pictures, and a pile of others.
func opened(ctx context.Context) (*encoder.Encoder, *data.Set, *data.Set) {
	recipe := moco.Default()
	recipe.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 0.0625, Dim: 8, Head: "linear"}
	recipe.Views = moco.Views{Policy: "shapes", Size: 32}
	enc, err := encoder.Untrained(recipe, nil, encoder.Options{})
	if err != nil {
		log.Fatal(err)
	}
	labelled, err := data.Open(ctx, "builtin:train?n=100", data.Options{})
	if err != nil {
		log.Fatal(err)
	}
	pile, err := data.Open(ctx, "builtin:test?n=20", data.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return enc, labelled, pile
}
