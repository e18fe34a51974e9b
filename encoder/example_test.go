package encoder_test

import (
	"context"
	"fmt"
	"image"
	"log"
	"os"
	"path/filepath"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/nn"
	"moco/weights"
)

// Open an encoder and compare pictures by their features. A trained encoder is the folder that
// `moco train --out` wrote. Here an untrained one replaces it, so that the example runs anywhere.
func Example() {
	run, err := untrained()
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(run)

	enc, err := encoder.Open(context.Background(), run)
	if err != nil {
		log.Fatal(err)
	}
	defer enc.Close()

	ctx := context.Background()
	// For a single file: img, err := data.DecodeFile("photo.jpg").
	set, err := data.Open(ctx, "builtin:test?n=3", data.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	var images []image.Image
	for i := range 3 {
		img := &data.Image{}
		if err := set.Read(i, img); err != nil {
			log.Fatal(err)
		}
		images = append(images, img)
	}
	images = append(images, images[0]) // the first one once more

	rows, err := enc.Embed(ctx, images)
	if err != nil {
		log.Fatal(err)
	}
	similarity := func(a, b []float32) (dot float32) {
		for i := range a {
			dot += a[i] * b[i]
		}
		return dot
	}
	fmt.Println(len(rows), "images,", enc.Dim(), "features each")
	fmt.Printf("an image and itself: %.3f\n", similarity(rows[0], rows[3]))
	fmt.Println("two images are less alike:", similarity(rows[0], rows[1]) < 0.9999)
	// Output:
	// 4 images, 32 features each
	// an image and itself: 1.000
	// two images are less alike: true
}

// untrained writes a tiny encoder as training would, and returns its folder.
func untrained() (string, error) {
	recipe := moco.Default()
	recipe.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 0.0625, Dim: 8, Head: "linear"}
	recipe.Views = moco.Views{Policy: "shapes", Size: 32}
	recipe.Queue, recipe.BNSplits = 16, 1
	engine, err := cpu.New(cpu.Options{})
	if err != nil {
		return "", err
	}
	state := engine.NewState()
	step, err := moco.Compile(&recipe, 2, engine, state)
	if err != nil {
		return "", err
	}
	defer step.Close()
	if err := moco.Initialise(&recipe, state, nil); err != nil {
		return "", err
	}
	f, err := encoder.Export(&recipe, state, 0)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "moco-example-")
	if err != nil {
		return "", err
	}
	_, err = weights.Save(filepath.Join(dir, encoder.File), f)
	return dir, err
}
