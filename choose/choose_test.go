package choose

import (
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"moco"
	"moco/data"
	"moco/engine"
	"moco/engine/cpu"
	"moco/recipe"
)

func open(t *testing.T, path string) *data.Set {
	t.Helper()
	set, err := data.Open(context.Background(), path, data.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// pictures is a folder of JPEGs of a size.
func pictures(t *testing.T, n, width, height int, paint func(i, x, y int) color.Color) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, width, height))
		for y := range height {
			for x := range width {
				img.Set(x, y, paint(i, x, y))
			}
		}
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)+".jpg"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(jpeg.Encode(f, img, nil), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLook(t *testing.T) {
	t.Parallel()
	gray := func(i, x, y int) color.Color { return color.Gray{uint8(i + 3*x ^ 5*y)} }
	bright := func(i, x, y int) color.Color { return color.RGBA{uint8(9 * x), uint8(7 * y), uint8(40 * i), 255} }
	scans := pictures(t, 7, 70, 60, gray)
	if err := os.WriteFile(filepath.Join(scans, "0.jpg"), []byte("\xff\xd8\xff\xe0 and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Facts{
		scans:                          {Images: 7, Looked: 7, Unreadable: 1, Smallest: 60, Edge: 60, Largest: 60, Pixels: 4200, Gray: true},
		pictures(t, 3, 20, 50, bright): {Images: 3, Looked: 3, Smallest: 20, Edge: 20, Largest: 20, Pixels: 1000},
		"builtin:train?n=1000&size=16": {Images: 1000, Looked: looks, Smallest: 16, Edge: 16, Largest: 16, Pixels: 256, Classes: 10},
	} {
		got, err := Look(context.Background(), open(t, path), 3)
		if err == nil && len(got.sizes) != want.Looked-want.Unreadable {
			t.Errorf("%s: %d sizes of %d readable pictures", path, len(got.sizes), want.Looked-want.Unreadable)
		}
		if got != nil {
			got.sizes = nil
		}
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v, want %+v", path, got, err, want)
		}
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "a.jpg"), []byte("\xff\xd8\xff\xe0 and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	var bad *data.BadImage
	if _, err := Look(context.Background(), open(t, empty), 1); !errors.As(err, &bad) {
		t.Errorf("a set of one unreadable image gives %v", err)
	}
}

func engineOf(t *testing.T) engine.Engine {
	t.Helper()
	e, err := cpu.New(cpu.Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRecipe: without a budget the choice is the same each time; with one, measuring on the real
// set and engine gives a recipe that can be used.
func TestRecipe(t *testing.T) {
	t.Parallel()
	e := engineOf(t)
	set := open(t, "builtin:train?n=40&size=20")
	var told []string // the precisions of the recipes that were measured
	o := Options{Engine: e, Workers: 2, Measuring: func(r moco.Recipe) { told = append(told, r.Precision) }}
	one, err := Recipe(context.Background(), set, o)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Recipe(context.Background(), set, o)
	if err != nil || recipe.Write(one.Recipe) != recipe.Write(two.Recipe) || one.Recipe.Views.Size != 20 {
		t.Errorf("chosen twice, without a clock: %v\n%s\n%s", err, recipe.Write(one.Recipe), recipe.Write(two.Recipe))
	}
	if len(told) != 0 {
		t.Errorf("without a budget %d recipes were measured", len(told))
	}
	narrow := func(r moco.Recipe) (moco.Recipe, error) {
		return recipe.Change(r, []string{"encoder.width=0.125", "encoder.dim=8", "views.size=8"})
	}
	o.Budget, o.Change = time.Hour, narrow
	measured, err := Recipe(context.Background(), set, o)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, measured, measured.Facts)
	if !slices.Equal(told, []string{"fp32", "bf16"}) {
		t.Errorf("told of measuring %q, want one recipe in both precisions", told)
	}
	p := measured.Pace
	if min(p.Step, p.Start, p.First, p.Again, p.Save) <= 0 || measured.Recipe.Encoder.Width != 0.125 {
		t.Errorf("measured %+v for\n%s", p, recipe.Write(measured.Recipe))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Recipe(ctx, set, o); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupt gives %v", err)
	}
	if _, err := Recipe(context.Background(), set, Options{}); err == nil || !strings.Contains(err.Error(), "engine") {
		t.Errorf("no engine gives %v", err)
	}
}

// TestEachMechanism: whatever is learned from can be chosen for, measured and not.
func TestEachMechanism(t *testing.T) {
	t.Parallel()
	set := open(t, "builtin:train?n=40&size=20")
	for _, settings := range [][]string{
		{"dictionary=queue"}, {"dictionary=bank"}, {"dictionary=bank", "loss=nce"}, {"loss=nt_xent"},
		{"dictionary=momentum_batch", "symmetric=true", "shuffle_bn=false", "predictor.layers=2", "predictor.hidden=16"}, {"objective=supervised"},
	} {
		change := func(r moco.Recipe) (moco.Recipe, error) {
			return recipe.Change(r, append([]string{"encoder.width=0.125", "encoder.dim=8", "views.size=8"}, settings...))
		}
		for _, budget := range []time.Duration{0, time.Hour} {
			c, err := Recipe(t.Context(), set, Options{Engine: engineOf(t), Workers: 2, Budget: budget, Change: change})
			if err != nil {
				t.Errorf("%v in %v: %v", settings, budget, err)
				continue
			}
			if r, err := change(c.Recipe); err != nil || recipe.Write(r) != recipe.Write(c.Recipe) {
				t.Errorf("%v in %v: not what was asked for (%v):\n%s", settings, budget, err, recipe.Write(c.Recipe))
			}
		}
	}
}

// TestDrawnOfMixedSizes: a huge picture among small ones counts as what it is reduced to.
func TestDrawnOfMixedSizes(t *testing.T) {
	t.Parallel()
	f := &Facts{Edge: 267, Pixels: 2e6, sizes: [][2]int{{300, 267}, {267, 300}, {20000, 10000}, {40, 30}}}
	want := (162*144 + 144*162 + 288*144 + 40*30) / 4.0
	if got := f.drawn(data.Reading{Side: 144}); got != want {
		t.Errorf("views are drawn from %v pixels, want %v", got, want)
	}
}

func TestCostOfGrowingViews(t *testing.T) {
	t.Parallel()
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	cost := func(size int, training ...int) engine.Cost {
		r := base(t)
		r.Batch, r.Views.Size, r.Views.TrainSizes = 32, size, training
		c, err := costOf(e, &r, &Facts{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	small, large, both := cost(32), cost(64), cost(64, 32, 64)
	if want := (small.FLOPs + large.FLOPs) / 2; both.FLOPs != want || both.WorkBytes != large.WorkBytes {
		t.Errorf("views of 32, then 64 pixels: %d operations and %d bytes, want %d and %d", both.FLOPs, both.WorkBytes, want, large.WorkBytes)
	}
}

// base is the recipe that choices begin with.
func base(t *testing.T) moco.Recipe {
	t.Helper()
	r, err := Base(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
