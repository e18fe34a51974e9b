// Command pan makes small videos of real images. In a video, a camera moves over an image, nearer
// or farther, while the light changes. It shows what positives: frames learns (docs/results.md) on
// images of known classes.
//
//	go run ./scripts/pan --data cifar10/train.tar --out pan --images 3000 --frames 8
//
// writes pan/CLASS/IMAGE/00.png and so on: each folder of frames is a video. The same seed gives an
// image the same camera for any number of frames.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"

	"moco/data"
	"moco/internal/rng"
)

type options struct {
	data, out              string
	part                   string
	images, frames, size   int
	seed                   uint64
	nearest, farthest, dim float64
}

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "images to move over: whatever moco data info understands")
	flag.StringVar(&o.out, "out", "", "folder to write")
	flag.StringVar(&o.part, "part", "train", "train or test, where the data are divided")
	flag.IntVar(&o.images, "images", 3000, "how many of them, spread evenly")
	flag.IntVar(&o.frames, "frames", 8, "frames a video")
	flag.IntVar(&o.size, "size", 32, "pixels a side of a frame")
	flag.Uint64Var(&o.seed, "seed", 0, "of the camera")
	flag.Float64Var(&o.nearest, "nearest", 0.5, "share of the image's shorter side that the camera sees when it is nearest")
	flag.Float64Var(&o.farthest, "farthest", 0.8, "and when it is farthest")
	flag.Float64Var(&o.dim, "light", 0.4, "how much the light may change: factors from 1-x to 1+x on each channel")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "pan:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	part, ok := map[string]data.Part{"train": data.Train, "test": data.Test}[o.part]
	switch {
	case o.data == "" || o.out == "":
		return errors.New("give --data and --out")
	case !ok:
		return fmt.Errorf("--part %q: want train or test", o.part)
	case o.images < 1 || o.frames < 1 || o.size < 1 || !(o.nearest > 0 && o.nearest <= o.farthest &&
		o.farthest <= 1) || !(o.dim >= 0 && o.dim < 1):
		return errors.New("want at least one image, frame and pixel, 0 < nearest <= farthest <= 1 and 0 <= light < 1")
	}
	set, err := data.Open(ctx, o.data, data.Options{Part: part})
	if err != nil {
		return err
	}
	defer set.Close()
	var img data.Image
	for k := range min(o.images, set.Len()) {
		i := k * set.Len() / min(o.images, set.Len())
		if err := set.Read(i, &img); err != nil {
			return err
		}
		class := "all"
		if l := set.Label(i); l >= 0 {
			class = set.Classes()[l]
		}
		base := path.Base(set.Name(i))
		dir := filepath.Join(o.out, class, fmt.Sprintf("%06d-%s", i, strings.TrimSuffix(base, path.Ext(base))))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		random := rng.New(o.seed, uint64(part), uint64(i))
		from, to := o.place(&random), o.place(&random)
		for f := range o.frames {
			time := 0.5
			if o.frames > 1 {
				time = float64(f) / float64(o.frames-1)
			}
			if err := save(filepath.Join(dir, fmt.Sprintf("%02d.png", f)),
				from.towards(to, time).shoot(&img, o.size)); err != nil {
				return err
			}
		}
	}
	return nil
}

// camera is the place of a camera: the part of an image that it sees, and the brightness of each
// channel.
type camera struct {
	// side is the edge of the square that it sees, as a share of the shorter side. x and y are its
	// corner, 0 to 1 of the places where it fits.
	side, x, y float64
	light      [3]float64
}

func (o *options) place(r *rng.Source) camera {
	c := camera{side: r.Uniform(o.nearest, o.farthest), x: r.Float64(), y: r.Float64()}
	for i := range c.light {
		c.light[i] = r.Uniform(1-o.dim, 1+o.dim)
	}
	return c
}

// towards is the camera at a time, 0 to 1, on its way to another place.
func (c camera) towards(to camera, time float64) camera {
	mix := func(a, b float64) float64 { return a + time*(b-a) }
	m := camera{side: mix(c.side, to.side), x: mix(c.x, to.x), y: mix(c.y, to.y)}
	for i := range m.light {
		m.light[i] = mix(c.light[i], to.light[i])
	}
	return m
}

// shoot is the camera's picture. Pixels are interpolated between the four nearest.
func (c camera) shoot(img *data.Image, size int) image.Image {
	side := c.side * float64(min(img.Width, img.Height))
	left, top := c.x*(float64(img.Width)-side), c.y*(float64(img.Height)-side)
	out := image.NewNRGBA(image.Rect(0, 0, size, size))
	split := func(v float64, n int) (int, int, float64) {
		v = max(0, min(v, float64(n-1)))
		low := int(v)
		return low, min(low+1, n-1), v - float64(low)
	}
	for y := range size {
		y0, y1, fy := split(top+(float64(y)+0.5)*side/float64(size)-0.5, img.Height)
		for x := range size {
			x0, x1, fx := split(left+(float64(x)+0.5)*side/float64(size)-0.5, img.Width)
			pixel := out.Pix[out.PixOffset(x, y):]
			for ch := range 3 {
				at := func(x, y int) float64 { return float64(img.Pix[3*(y*img.Width+x)+ch]) }
				v := (1-fy)*((1-fx)*at(x0, y0)+fx*at(x1, y0)) + fy*((1-fx)*at(x0, y1)+fx*at(x1, y1))
				pixel[ch] = uint8(math.Round(max(0, min(v*c.light[ch], 255))))
			}
			pixel[3] = 255
		}
	}
	return out
}

func save(name string, img image.Image) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return png.Encode(f, img)
}
