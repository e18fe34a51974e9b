package data

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestBuiltin(t *testing.T) {
	train, test := open(t, "builtin:train", Options{}), open(t, "builtin:test", Options{CacheBytes: 1 << 20})
	if train.Len() != 5000 || test.Len() != 1000 || len(train.Classes()) != 10 || !slices.Equal(train.Classes(), test.Classes()) || !slices.IsSorted(train.Classes()) {
		t.Fatalf("%d and %d images of %v", train.Len(), test.Len(), train.Classes())
	}
	if !slices.IsSorted(train.names) || train.Fingerprint() == test.Fingerprint() {
		t.Error("the names are not sorted, or the parts have the same fingerprint")
	}
	seen := map[string]string{}
	counts := [10]int{}
	var m Image
	for _, s := range []*Set{train, test, open(t, "builtin:train?seed=1&n=500", Options{}), open(t, "builtin?n=30&size=33", Options{})} {
		for i := range min(s.Len(), 500) {
			if err := s.Read(i, &m); err != nil {
				t.Fatal(err)
			}
			if before, ok := seen[string(m.Pix)]; ok {
				t.Fatalf("%s %s is the same image as %s", s.Fingerprint(), s.Name(i), before)
			}
			seen[string(m.Pix)] = s.Fingerprint() + " " + s.Name(i)
			counts[s.Label(i)]++
		}
	}
	if slices.Min(counts[:]) != slices.Max(counts[:]) {
		t.Errorf("the classes come %v times", counts)
	}
	if m.Width != 33 || m.Height != 33 {
		t.Errorf("a size of 33 gave %dx%d", m.Width, m.Height)
	}
}

// An image depends on the seed, part and index alone: not on the order of reading, nor on n.
func TestBuiltinIsAFunctionOfTheIndex(t *testing.T) {
	a, b := open(t, "builtin:test?seed=5", Options{}), open(t, "builtin:test?n=700&seed=5", Options{})
	var m, n Image
	for i := 699; i >= 0; i -= 7 {
		a.Read(i, &m)
		b.Read((i+300)%700, &n)
		b.Read(i, &n)
		if !bytes.Equal(m.Pix, n.Pix) || a.Name(i) != b.Name(i) {
			t.Fatalf("image %d is not the same in two sets of one seed", i)
		}
	}
}

// The mean colour of a class must not tell it: a class's mean over many images stays near the common mean.
func TestBuiltinColourDoesNotTellTheClass(t *testing.T) {
	s := open(t, "builtin:train", Options{})
	var sums [10][3]float64
	var all [3]float64
	var m Image
	for i := range s.Len() {
		s.Read(i, &m)
		for p, v := range m.Pix {
			sums[s.Label(i)][p%3] += float64(v) / 1024 / 500
			all[p%3] += float64(v) / 1024 / 5000
		}
	}
	for class, mean := range sums {
		for c := range mean {
			// 500 images whose means spread by about 65 levels: a standard error of 3.
			if math.Abs(mean[c]-all[c]) > 12 {
				t.Errorf("%s: mean of channel %d is %.1f, over all classes %.1f", s.Classes()[class], c, mean[c], all[c])
			}
		}
	}
}

func TestBuiltinQueries(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"builtin:valid", "builtin:train and builtin:test"},
		{"builtin:train?sizes=3", `"sizes" is not known`},
		{"builtin:train?size=3", "8 to 2048"},
		{"builtin:train?n=0", "out of range"},
		{"builtin:train?n=-1", "whole number"},
		{"builtin:train?n=%", "write it like"},
	} {
		if _, err := Open(context.Background(), c.path, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", c.path, err, c.want)
		}
	}
	if s := open(t, "builtin", Options{Part: Test}); s.Len() != 1000 {
		t.Errorf("builtin with Part Test has %d images", s.Len())
	}
}

// MOCO_TEST_SHEET names a PNG to be written with twenty images of each class, to be looked at.
func TestBuiltinSheet(t *testing.T) {
	name := os.Getenv("MOCO_TEST_SHEET")
	if name == "" {
		t.Skip("MOCO_TEST_SHEET is not set")
	}
	const cell = 68
	s := open(t, "builtin:train", Options{})
	sheet := image.NewNRGBA(image.Rect(0, 0, 20*cell, 10*cell))
	var m Image
	for i := range 200 {
		s.Read(i, &m)
		for y := range 64 {
			for x := range 64 {
				p := m.Pix[3*(y/2*m.Width+x/2):]
				sheet.SetNRGBA(i/10*cell+x, i%10*cell+y, color.NRGBA{p[0], p[1], p[2], 255})
			}
		}
	}
	var coded bytes.Buffer
	if err := png.Encode(&coded, sheet); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, coded.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkBuiltin(b *testing.B) {
	s := open(b, "builtin:train", Options{})
	var m Image
	for i := 0; b.Loop(); i++ {
		s.Read(i%5000, &m)
	}
}
