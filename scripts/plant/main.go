// Plant makes a set of images with planted near-duplicates or wrong labels, and scores what `moco
// dedupe` and `moco label-errors` find in it. docs/use.md has the figures. Only the file names hold
// the truth, and no command looks at them: "0123~crop30.png" is a copy of "0123.png", and
// "0123~cat.png" was a cat before its label was changed.
//
//	go run ./scripts/plant duplicates --data train.tar --out planted
//	moco dedupe --model run --data planted --json > found.jsonl
//	go run ./scripts/plant score-duplicates --data planted --found found.jsonl
//
//	go run ./scripts/plant labels --data train.tar --out flipped
//	moco label-errors --model run --data flipped --json > found.jsonl
//	go run ./scripts/plant score-labels --data flipped --found found.jsonl
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/image/draw"

	"moco/data"
	"moco/internal/rng"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plant:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	const usage = "give duplicates, labels, score-duplicates or score-labels; see the comment at the top of scripts/plant/main.go"
	if len(args) == 0 {
		return errors.New(usage)
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	from := f.String("data", "", "images: to plant among, or the planted folder")
	out := f.String("out", "", "folder to write")
	n := f.Int("n", 5000, "images taken, evenly spread over the set")
	each := f.Int("each", 100, "copies planted of each kind")
	share := f.Float64("share", 0.05, "share of labels changed")
	seed := f.Uint64("seed", 0, "what is drawn")
	found := f.String("found", "", "what the command wrote with --json")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	set, err := data.Open(context.Background(), *from, data.Options{Part: data.Train})
	if err != nil {
		return err
	}
	defer set.Close()
	switch args[0] {
	case "duplicates", "labels":
		if _, err := os.Stat(*out); *out == "" || err == nil {
			return fmt.Errorf("--out must name a folder that is not there yet, not %q", *out)
		}
		if set.Classes() == nil {
			return fmt.Errorf("%s holds no labelled images", *from)
		}
		if args[0] == "labels" {
			return plantLabels(set, *out, *n, *share, *seed)
		}
		return plantDuplicates(set, *out, *n, *each, *seed)
	case "score-duplicates":
		return scoreDuplicates(set, *found)
	case "score-labels":
		return scoreLabels(set, *found)
	}
	return errors.New(usage)
}

// kind is a way to make a near-duplicate. It returns the file's bytes: a PNG unless its ending is
// another.
type kind struct {
	name, ending string
	make         func(img image.Image, r *rng.Source) ([]byte, error)
}

// kinds come in two strengths each, except the exact copy. Sizes are shares of the image's edges,
// so sets of any size can be used.
var kinds = []kind{
	{"exact", "png", func(img image.Image, _ *rng.Source) ([]byte, error) { return encoded(img) }},
	{"resized75", "png", func(img image.Image, _ *rng.Source) ([]byte, error) { return resized(img, 0.75) }},
	{"resized50", "png", func(img image.Image, _ *rng.Source) ([]byte, error) { return resized(img, 0.5) }},
	{"jpeg50", "jpg", func(img image.Image, _ *rng.Source) ([]byte, error) { return jpegOf(img, 50) }},
	{"jpeg20", "jpg", func(img image.Image, _ *rng.Source) ([]byte, error) { return jpegOf(img, 20) }},
	{"crop94", "png", func(img image.Image, r *rng.Source) ([]byte, error) { return cropped(img, 0.94, r) }},
	{"crop87", "png", func(img image.Image, r *rng.Source) ([]byte, error) { return cropped(img, 0.875, r) }},
	{"bright120", "png", func(img image.Image, _ *rng.Source) ([]byte, error) { return brightened(img, 1.2) }},
	{"bright150", "png", func(img image.Image, _ *rng.Source) ([]byte, error) { return brightened(img, 1.5) }},
}

func encoded(img image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}

func jpegOf(img image.Image, quality int) ([]byte, error) {
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}

func resized(img image.Image, scale float64) ([]byte, error) {
	b := img.Bounds()
	small := image.NewRGBA(image.Rect(0, 0, max(1, int(scale*float64(b.Dx()))), max(1, int(scale*float64(b.Dy())))))
	draw.CatmullRom.Scale(small, small.Bounds(), img, b, draw.Src, nil)
	return encoded(small)
}

// cropped keeps a share of both edges, at a random place.
func cropped(img image.Image, share float64, r *rng.Source) ([]byte, error) {
	b := img.Bounds()
	w, h := int(share*float64(b.Dx())), int(share*float64(b.Dy()))
	x, y := r.IntN(b.Dx()-w+1), r.IntN(b.Dy()-h+1)
	part := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(part, part.Bounds(), img, image.Pt(x, y), draw.Src)
	return encoded(part)
}

func brightened(img image.Image, factor float64) ([]byte, error) {
	bright := image.NewRGBA(img.Bounds())
	draw.Draw(bright, bright.Bounds(), img, image.Point{}, draw.Src)
	for i, v := range bright.Pix {
		if i%4 != 3 {
			bright.Pix[i] = uint8(min(255, factor*float64(v)+0.5))
		}
	}
	return encoded(bright)
}

// take reads n images evenly spread over a set.
func take(set *data.Set, n int, f func(place, i int, img image.Image) error) error {
	n = min(n, set.Len())
	var m data.Image
	for place := range n {
		i := place * set.Len() / n
		if err := set.Read(i, &m); err != nil {
			return err
		}
		img := image.NewRGBA(image.Rect(0, 0, m.Width, m.Height))
		for p := range m.Width * m.Height {
			copy(img.Pix[4*p:], m.Pix[3*p:3*p+3])
			img.Pix[4*p+3] = 255
		}
		if err := f(place, i, img); err != nil {
			return err
		}
	}
	return nil
}

func write(dir, class, name string, content []byte) error {
	if err := os.MkdirAll(filepath.Join(dir, class), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, class, name), content, 0o644)
}

const (
	duplicatesTag = 0x64757073 // "dups": a stream of its own
	labelsTag     = 0x666c6970 // "flip"
)

func plantDuplicates(set *data.Set, out string, n, each int, seed uint64) error {
	n = min(n, set.Len())
	if len(kinds)*each > n {
		return fmt.Errorf("%d copies of %d kinds need as many originals, and there are %d", each, len(kinds), n)
	}
	order := make([]int, n)
	r := rng.New(duplicatesTag, seed)
	// The first len(kinds)*each places of the order get a copy.
	r.Perm(order)
	err := take(set, n, func(place, i int, img image.Image) error {
		class, stem := set.Classes()[set.Label(i)], fmt.Sprintf("%06d", place)
		original, err := encoded(img)
		if err != nil {
			return err
		}
		if err := write(out, class, stem+".png", original); err != nil || order[place] >= len(kinds)*each {
			return err
		}
		k := kinds[order[place]%len(kinds)]
		draws := rng.New(duplicatesTag, seed, uint64(place))
		copied, err := k.make(img, &draws)
		if err != nil {
			return err
		}
		return write(out, class, stem+"~"+k.name+"."+k.ending, copied)
	})
	if err == nil {
		fmt.Printf("%s: %d images and %d near-duplicates of them, %d of each of %d kinds\n", out, n,
			len(kinds)*each, each, len(kinds))
	}
	return err
}

func plantLabels(set *data.Set, out string, n int, share float64, seed uint64) error {
	changed := 0
	err := take(set, n, func(place, i int, img image.Image) error {
		class, name := set.Classes()[set.Label(i)], fmt.Sprintf("%06d", place)
		r := rng.New(labelsTag, seed, uint64(place))
		if r.Float64() < share {
			name += "~" + class
			class = set.Classes()[(set.Label(i)+1+r.IntN(len(set.Classes())-1))%len(set.Classes())]
			changed++
		}
		raw, err := encoded(img)
		if err != nil {
			return err
		}
		return write(out, class, name+".png", raw)
	})
	if err == nil {
		fmt.Printf("%s: %d images, %d of them (%.1f%%) with a wrong label\n", out, min(n, set.Len()), changed,
			100*float64(changed)/float64(min(n, set.Len())))
	}
	return err
}

// stem returns the number of an image, and what was planted in it: a kind, the true class, or
// nothing.
func stem(name string) (number, planted string) {
	name = path.Base(name)
	number, planted, _ = strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "~")
	return number, planted
}

// events calls f for each line of a command's output.
func events(file string, f func(line []byte) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<30)
	for lines.Scan() {
		if err := f(lines.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return lines.Err()
}

func scoreDuplicates(set *data.Set, found string) error {
	planted, hit := map[string]int{}, map[string]int{}
	for i := range set.Len() {
		if _, kind := stem(set.Name(i)); kind != "" {
			planted[kind]++
		}
	}
	var pairs, right int
	var others []string
	err := events(found, func(line []byte) error {
		var kind struct{ Event string }
		if err := json.Unmarshal(line, &kind); err != nil || kind.Event != "group" {
			return err
		}
		var e struct {
			Weakest float64
			Images  []struct{ Image string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		for i, p := range e.Images {
			for _, q := range e.Images[i+1:] {
				pairs++
				a, ka := stem(p.Image)
				b, kb := stem(q.Image)
				if a == b {
					right++
					hit[cmp.Or(ka, kb)]++
				} else {
					others = append(others, fmt.Sprintf("%.4f  %s  %s", e.Weakest, p.Image, q.Image))
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var all, hits int
	fmt.Println("planted    found of   recall")
	for _, k := range kinds {
		fmt.Printf("%-10s %5d %4d  %5.1f%%\n", k.name, hit[k.name], planted[k.name],
			100*float64(hit[k.name])/float64(max(1, planted[k.name])))
		all, hits = all+planted[k.name], hits+hit[k.name]
	}
	fmt.Printf("%-10s %5d %4d  %5.1f%%\n", "all", hits, all, 100*float64(hits)/float64(max(1, all)))
	fmt.Printf("precision %.1f%%: %d of the %d pairs were planted\n", 100*float64(right)/float64(max(1, pairs)), right, pairs)
	slices.Sort(others)
	slices.Reverse(others)
	if len(others) > 0 {
		fmt.Println("not planted, with the weakest link of their group, the strongest first:")
	}
	for _, o := range others[:min(40, len(others))] {
		fmt.Println("  " + o)
	}
	return nil
}

func scoreLabels(set *data.Set, found string) error {
	wrong := 0
	for i := range set.Len() {
		if _, truth := stem(set.Name(i)); truth != "" {
			wrong++
		}
	}
	if wrong == 0 {
		return errors.New("no label was planted here")
	}
	chance := float64(wrong) / float64(set.Len())
	var ranked, repaired []bool
	err := events(found, func(line []byte) error {
		var e struct{ Event, Image, Suggested string }
		if err := json.Unmarshal(line, &e); err != nil || e.Event != "label_error" {
			return err
		}
		_, truth := stem(e.Image)
		ranked, repaired = append(ranked, truth != ""), append(repaired, truth == e.Suggested)
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d images, %d wrong labels: chance is %.2f%%\n"+
		"  top  wrong  precision  times chance  recall  true class suggested\n", set.Len(), wrong, 100*chance)
	for _, top := range []int{wrong / 10, wrong / 4, wrong / 2, wrong, 2 * wrong, len(ranked)} {
		if top > len(ranked) || top == 0 {
			continue
		}
		var hits, right int
		for i := range top {
			if ranked[i] {
				hits++
				if repaired[i] {
					right++
				}
			}
		}
		precision := float64(hits) / float64(top)
		fmt.Printf("%5d  %5d  %8.1f%%  %12.1f  %5.1f%%  %d\n", top, hits, 100*precision, precision/chance,
			100*float64(hits)/float64(wrong), right)
	}
	return nil
}
