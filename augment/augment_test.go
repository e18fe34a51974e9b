package augment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/data"
	"moco/internal/colour"
	"moco/internal/rng"
)

// TestColour compares every operation with torchvision on PIL images: testdata/colour.json, or the
// same file in MOCO_REFERENCE_DIR. The keys say what was done: "contrast_1.4",
// "crop_TOP_LEFT_HEIGHT_WIDTH_to_SIZE".
func TestColour(t *testing.T) {
	dir := os.Getenv("MOCO_REFERENCE_DIR")
	if dir == "" {
		dir = "testdata"
	}
	raw, err := os.ReadFile(filepath.Join(dir, "colour.json"))
	if os.IsNotExist(err) && dir != "testdata" {
		t.Skip("no colour.json there")
	}
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	read := func(key string, to any) {
		if err := json.Unmarshal(file[key], to); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	img := &data.Image{}
	var input []int
	read("width", &img.Width)
	read("height", &img.Height)
	read("input", &input)
	for _, v := range input {
		img.Pix = append(img.Pix, uint8(v))
	}
	for key := range file {
		if key == "width" || key == "height" || key == "input" {
			continue
		}
		t.Run(key, func(t *testing.T) {
			var want []int
			read(key, &want)
			got := append([]uint8(nil), img.Pix...)
			op, argument, _ := strings.Cut(key, "_")
			if op == "gaussian" {
				argument = strings.TrimPrefix(argument, "blur_")
			}
			var x float64
			fmt.Sscan(argument, &x)
			switch op {
			case "brightness":
				colour.Brighten(got, float32(x))
			case "contrast":
				colour.Contrast(got, float32(x))
			case "saturation":
				colour.Saturate(got, float32(x))
			case "hue":
				hue(got, x)
			case "gray":
				colour.Gray(got)
			case "solarize":
				colour.Solarise(got)
			case "flip":
				mirror(got, img.Width)
			case "gaussian":
				new(blurrer).run(got, img.Width, x)
			case "crop":
				var top, left, h, w, size int
				if _, err := fmt.Sscanf(argument, "%d_%d_%d_%d_to_%d", &top, &left, &h, &w, &size); err != nil {
					t.Fatal(err)
				}
				got = make([]uint8, 3*size*size)
				p := Policy{Size: size}
				p.resize(got, img, image.Rect(left, top, left+w, top+h), new(Scratch))
			default:
				t.Fatalf("unknown operation %q", key)
			}
			off, worst := 0, 0
			for i, w := range want {
				d := int(math.Abs(float64(int(got[i]) - w)))
				worst = max(worst, d)
				if d > 1 {
					off++
				}
			}
			if worst > 3 || off*1000 > len(want) {
				t.Errorf("%d of %d values are off by more than a level, the worst by %d", off, len(want), worst)
			}
		})
	}
}

func noise(w, h int) *data.Image {
	img := &data.Image{Width: w, Height: h, Pix: make([]uint8, 3*w*h)}
	r := rng.New(uint64(w), uint64(h))
	for i := range img.Pix {
		img.Pix[i] = uint8(i/3%w*200/w + r.IntN(56))
	}
	return img
}

// TestViewOfEverySize: each view is written fully, follows from its key alone, and allocates
// nothing once the scratch has grown.
func TestViewOfEverySize(t *testing.T) {
	for _, base := range policies {
		for _, plain := range []bool{false, true} {
			for _, shape := range [][2]int{{1, 1}, {1, 50}, {50, 1}, {7, 300}, {32, 32}, {33, 31}, {500, 375}} {
				p, err := Named(base.Name, 32)
				if err != nil {
					t.Fatal(err)
				}
				if plain {
					p = p.ForEvaluation()
				}
				img := noise(shape[0], shape[1])
				var s Scratch
				for seed := range uint64(20) {
					first, second := make([]float32, 32*32*3), make([]float32, 32*32*3)
					for i := range first {
						first[i] = float32(math.NaN())
					}
					r := rng.New(seed)
					p.View(first, img, &r, &s)
					r = rng.New(seed)
					p.View(second, img, &r, &Scratch{})
					for i, v := range first {
						if v != v || v != second[i] {
							t.Fatalf("%s of %v, seed %d: value %d is %v, then %v", p.Name, shape, seed, i, v, second[i])
						}
					}
				}
				dst := make([]float32, 32*32*3)
				seed := uint64(0)
				if n := testing.AllocsPerRun(20, func() {
					r := rng.New(seed % 20)
					seed++
					p.View(dst, img, &r, &s)
				}); n > 0 && shape[0]*shape[1] < 100000 {
					t.Errorf("%s of %v: %v allocations a view", p.Name, shape, n)
				}
			}
		}
	}
}

func TestCropsCoverWhatThePolicySays(t *testing.T) {
	p, _ := Named("v1", 224)
	square := p
	square.MinRatio, square.MaxRatio = 1, 1 // then no draw is refused, and the mean area is that of the range
	var area, ratio float64
	const n = 4000
	for i := range uint64(n) {
		r := rng.New(i)
		top, left, h, w := p.crop(300, 300, &r)
		if top < 0 || left < 0 || h < 1 || w < 1 || top+h > 300 || left+w > 300 {
			t.Fatalf("crop %d,%d %dx%d lies outside of 300x300", top, left, h, w)
		}
		ratio += math.Log(float64(w)/float64(h)) / n
		r = rng.New(i, 1)
		_, _, h, w = square.crop(300, 300, &r)
		area += float64(h*w) / (300 * 300) / n
	}
	if math.Abs(area-0.6) > 0.02 || math.Abs(ratio) > 0.02 {
		t.Errorf("mean area %.3f and log ratio %.3f, want about 0.6 and 0", area, ratio)
	}
}

func TestEvaluationKeepsAnImageOfTheRightSize(t *testing.T) {
	p, _ := Named("cifar", 32)
	p = p.ForEvaluation()
	img := noise(32, 32)
	got := make([]uint8, 32*32*3)
	p.Bytes(got, img, &rng.Source{}, &Scratch{})
	if string(got) != string(img.Pix) {
		t.Error("a 32x32 image is changed by the view for evaluation")
	}
}

// TestCropAndFlipKeepsColours: of a picture in one colour no view has another.
func TestCropAndFlipKeepsColours(t *testing.T) {
	img := &data.Image{Width: 40, Height: 30, Pix: bytes.Repeat([]byte{200, 100, 50}, 40*30)}
	for _, base := range policies {
		p, _ := Named(base.Name, 16)
		p = p.CropAndFlip()
		got := make([]uint8, 16*16*3)
		for seed := range uint64(50) {
			r := rng.New(seed)
			p.Bytes(got, img, &r, &Scratch{})
			if !bytes.Equal(got, bytes.Repeat([]byte{200, 100, 50}, 16*16)) {
				t.Fatalf("%s, seed %d: the view has other colours than the image", p.Name, seed)
			}
		}
	}
}

// TestSecondViews: v3 blurs every first view and solarises none; of second views it blurs a tenth and
// solarises a fifth. Other policies draw both alike.
func TestSecondViews(t *testing.T) {
	t.Parallel()
	for _, base := range policies {
		first, err := Named(base.Name, 8)
		if err != nil {
			t.Fatal(err)
		}
		second := first.ForSecond()
		if base.Name != "v3" {
			if second != first {
				t.Errorf("%s has other second views", base.Name)
			}
			continue
		}
		if first.Blur != 1 || first.Solarise != 0 || second.Blur != 0.1 || second.Solarise != 0.2 || second.Second != nil {
			t.Errorf("v3 draws %+v and %+v", first, second)
		}
		// Of a white picture only solarising makes a black one.
		img, got := &data.Image{Width: 9, Height: 9, Pix: bytes.Repeat([]byte{255}, 3*81)}, make([]uint8, 3*64)
		black := 0
		for seed := range uint64(1000) {
			r := rng.New(seed)
			second.Jitter = 0
			second.Bytes(got, img, &r, &Scratch{})
			if got[0] == 0 {
				black++
			}
		}
		if black < 150 || black > 250 {
			t.Errorf("%d of 1000 second views are solarised, want about 200", black)
		}
	}
}

// TestCropAndFlipCrops: labelled views are cropped as far as main_lincls.py does, or as the policy
// itself where that is no paper's.
func TestCropAndFlipCrops(t *testing.T) {
	for name, want := range map[string]float64{"v1": 0.08, "v2": 0.08, "v3": 0.08, "cifar": 0.08, "shapes": 0.4, "flip": 1} {
		p, err := Named(name, 8)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.CropAndFlip().MinScale; got != want {
			t.Errorf("%s crops down to %v of the image, want %v", name, got, want)
		}
	}
}

func FuzzView(f *testing.F) {
	f.Add(uint16(3), uint16(5), uint64(1), uint8(0))
	f.Add(uint16(1000), uint16(1), uint64(9), uint8(1))
	f.Fuzz(func(t *testing.T, w, h uint16, seed uint64, which uint8) {
		p, _ := Named(policies[int(which)%len(policies)].Name, 1+int(seed%40))
		width, height := 1+int(w%600), 1+int(h%600)
		r := rng.New(seed)
		p.View(make([]float32, p.Size*p.Size*3), noise(width, height), &r, &Scratch{})
	})
}

// TestBicubicView: the plain view is resized by the bicubic filter, and the next one of the same memory
// by the bilinear one again.
func TestBicubicView(t *testing.T) {
	t.Parallel()
	img := &data.Image{}
	img.Resize(64, 64)
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i / 7)
	}
	var s Scratch
	view := func(bicubic bool) []float32 {
		p, err := Named("v1", 28)
		if err != nil {
			t.Fatal(err)
		}
		p.Bicubic = bicubic
		p = p.ForEvaluation()
		x := make([]float32, 3*28*28)
		p.View(x, img, nil, &s)
		return x
	}
	sharp, plain, again := view(true), view(false), view(true)
	if slices.Equal(sharp, plain) || !slices.Equal(sharp, again) {
		t.Error("the filters give the same view, or the bicubic one two views")
	}
}
