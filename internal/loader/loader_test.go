package loader

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"moco"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/augment"
	"moco/data"
	"moco/ranks"
)

// folder writes n small images, and some files that only look like one.
func folder(t *testing.T, n, bad int) *data.Set {
	t.Helper()
	set, _ := folderAt(t, n, bad)
	return set
}

// folderAt is folder, with where it lies.
func folderAt(t *testing.T, n, bad int) (*data.Set, string) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		img := image.NewRGBA(image.Rect(0, 0, 12, 10))
		for p := range 120 {
			img.Set(p%12, p/12, color.RGBA{uint8(p * 2), uint8(i * 11), uint8(p ^ i), 255})
		}
		f, err := os.Create(filepath.Join(dir, string(rune('a'+i))+".png"))
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, img); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for i := range bad {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+"x.png"), []byte("\x89PNG\r\n\x1a\nbroken"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set, err := data.Open(context.Background(), dir, data.Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set, dir
}

func policy(t *testing.T) augment.Policy {
	p, err := augment.Named("cifar", 8)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rooms is the room for views of so many numbers.
func rooms(views, n int) [][]float32 {
	all := make([][]float32, views)
	for i := range all {
		all[i] = make([]float32, n)
	}
	return all
}

func batch(n int) moco.Batch {
	ints := func() []int32 { return make([]int32, n) }
	return moco.Batch{Views: rooms(2, n*192), IDs: ints(), Shuffle: ints(), Unshuffle: ints()}
}

func fill(t *testing.T, l *Loader, epoch, step int) moco.Batch {
	t.Helper()
	b := batch(l.BatchSize(step))
	if err := l.Fill(context.Background(), epoch, step, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReading: views are drawn from pictures as they were asked for, cached or not.
func TestReading(t *testing.T) {
	set, dir := folderAt(t, 4, 0)
	plain, err := data.Open(context.Background(), dir, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	seen := map[int][]float32{}
	for _, side := range []int{0, 9, 3} {
		o := Options{Batch: 4, Seed: 3, Workers: 2, Reading: data.Reading{Side: side}}
		a, b := New(set, policy(t), o), New(plain, policy(t), o)
		first := fill(t, a, 0, 0)
		for _, again := range []moco.Batch{fill(t, a, 0, 0), fill(t, b, 0, 0)} {
			if !slices.EqualFunc(first.Views, again.Views, slices.Equal) {
				t.Errorf("reduced to %d pixels, views depend on what is cached", side)
			}
		}
		for other, x := range seen {
			if slices.Equal(x, first.Views[0]) {
				t.Errorf("reduced to %d and to %d pixels, views are the same", side, other)
			}
		}
		seen[side] = first.Views[0]
	}
}

func TestBatchesFollowFromSeedEpochAndStepAlone(t *testing.T) {
	set := folder(t, 11, 0)
	one := New(set, policy(t), Options{Batch: 4, Seed: 3, Workers: 1})
	many := New(set, policy(t), Options{Batch: 4, Seed: 3, Workers: 5})
	many.order = nil
	for epoch := range 2 {
		var seen []int32
		for step := range one.StepsPerEpoch() {
			a := fill(t, one, epoch, step)
			fill(t, many, 1-epoch, 0) // something else in between
			b := fill(t, many, epoch, step)
			if !slices.EqualFunc(a.Views, b.Views, slices.Equal) || !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Shuffle, b.Shuffle) {
				t.Fatalf("epoch %d, step %d differs between 1 and 5 workers", epoch, step)
			}
			if slices.Equal(a.Views[0], a.Views[1]) {
				t.Error("both views are the same")
			}
			for i, from := range a.Shuffle {
				if a.Unshuffle[from] != int32(i) {
					t.Errorf("unshuffle does not undo %v", a.Shuffle)
				}
			}
			seen = append(seen, a.IDs...)
		}
		slices.Sort(seen)
		for i, id := range seen {
			if int(id) != i {
				t.Fatalf("epoch %d shows images %v, want each once", epoch, seen)
			}
		}
	}
	if a, b := fill(t, one, 0, 0), fill(t, one, 1, 0); slices.Equal(a.Views[0], b.Views[0]) {
		t.Error("two epochs have the same first batch")
	}
}

// TestSize: a batch of another size has the views that a policy of that size draws.
func TestSize(t *testing.T) {
	t.Parallel()
	set := folder(t, 8, 0)
	draw := func(size, of int) []float32 {
		policy, err := augment.Named("cifar", size)
		if err != nil {
			t.Fatal(err)
		}
		b := moco.Batch{Size: of, Views: rooms(1, 4*6*6*3)}
		if err := New(set, policy, Options{Batch: 4, Seed: 7}).Fill(context.Background(), 1, 1, b); err != nil {
			t.Fatal(err)
		}
		return b.Views[0]
	}
	want := draw(6, 0)
	if got := draw(8, 6); !slices.Equal(got, want) {
		t.Errorf("views of 6 pixels by a policy of 8 differ from those by a policy of 6: %v, want %v", got[:6], want[:6])
	}
}

func TestStepsPerEpoch(t *testing.T) {
	set := folder(t, 11, 0)
	if n := New(set, policy(t), Options{Batch: 4}).StepsPerEpoch(); n != 3 {
		t.Errorf("11 images in batches of 4: %d steps, want 3", n)
	}
	l := New(set, policy(t), Options{Batch: 4, DropLast: true})
	if n := l.StepsPerEpoch(); n != 2 {
		t.Errorf("11 images in batches of 4, the last one dropped: %d steps, want 2", n)
	}
}

func TestUnreadableImagesAreSkippedAndCounted(t *testing.T) {
	set := folder(t, 10, 2)
	l := New(set, policy(t), Options{Batch: 6, Workers: 3, MaxBad: 0.2})
	for epoch := range 2 {
		for step := range l.StepsPerEpoch() {
			for _, id := range fill(t, l, epoch, step).IDs {
				if strings.HasSuffix(set.Name(int(id)), "x.png") {
					t.Errorf("the broken image %s is in a batch", set.Name(int(id)))
				}
			}
		}
	}
	if l.Bad() != 2 {
		t.Errorf("%d unreadable images counted, want 2", l.Bad())
	}
	strict := New(set, policy(t), Options{Batch: 12, Workers: 3, MaxBad: 0.1})
	err := strict.Fill(context.Background(), 0, 0, batch(12))
	if err == nil || !strings.Contains(err.Error(), "max_bad") || !strings.Contains(err.Error(), "x.png") {
		t.Errorf("too many unreadable images give %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := New(folder(t, 3, 0), policy(t), Options{Batch: 3, Workers: 2}).Fill(ctx, 0, 0, batch(3)); err != context.Canceled {
		t.Errorf("a cancelled context gives %v", err)
	}
}

// videos is a set of three videos of 5, 3 and 4 frames. Frame k of a video is of a colour that
// tells both; those named broken are none.
func videos(t *testing.T, broken ...string) *data.Set {
	t.Helper()
	dir := t.TempDir()
	for v, frames := range []int{5, 3, 4} {
		folder := filepath.Join(dir, string(rune('a'+v)))
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range frames {
			img := image.NewRGBA(image.Rect(0, 0, 8, 8))
			for p := range 64 {
				img.Set(p%8, p/8, color.RGBA{uint8(60 * v), uint8(40 * k), 9, 255})
			}
			name := string(rune('0'+k)) + ".png"
			f, err := os.Create(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(broken, string(rune('a'+v))+"/"+name) {
				f.WriteString("\x89PNG\r\n\x1a\nbroken")
			} else if err := png.Encode(f, img); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	set, err := data.Open(context.Background(), dir, data.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// seen tells from a view which video and frame it is of.
func seen(x []float32) (video, frame int) {
	value := func(c int, mean, std float32) float32 { return (x[c]*std + mean) * 255 }
	return int(value(0, 0.4914, 0.2023)/60 + 0.5), int(value(1, 0.4822, 0.1994)/40 + 0.5)
}

func TestPartnersAreOtherFramesOfTheVideo(t *testing.T) {
	plain, err := augment.Named("flip", 8)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		gap    int
		broken []string
		bad    float64
	}{{"anywhere", 0, nil, 0}, {"next to it", 1, nil, 0}, {"at most two away", 2, nil, 0}, {"some broken", 1, []string{"b/1.png", "c/3.png"}, 0.5}} {
		t.Run(c.name, func(t *testing.T) {
			set := videos(t, c.broken...)
			l := New(set, plain, Options{Batch: 4, Seed: 1, Workers: 3, Grouped: true, MaxGap: c.gap, MaxBad: c.bad})
			gaps := map[int]bool{}
			for epoch := range 20 {
				shown := map[[2]int]int{}
				for step := range l.StepsPerEpoch() {
					b := fill(t, l, epoch, step)
					for i, id := range b.IDs {
						v1, f1 := seen(b.Views[0][i*192:])
						v2, f2 := seen(b.Views[1][i*192:])
						if v1 != v2 || int(id) != v1 {
							t.Fatalf("frames of videos %d and %d are positive, with id %d", v1, v2, id)
						}
						gap := max(f1-f2, f2-f1)
						if (gap == 0 && c.broken == nil) || (c.gap > 0 && gap > c.gap) {
							t.Fatalf("frames %d and %d of video %d are positive", f1, f2, v1)
						}
						gaps[gap] = true
						shown[[2]int{v1, f1}]++
					}
				}
				if c.broken == nil && len(shown) != set.Len() {
					t.Errorf("epoch %d shows %d frames, want each of %d once", epoch, len(shown), set.Len())
				}
			}
			if want := map[int]int{0: 4, 1: 1, 2: 2}[c.gap]; len(c.broken) == 0 && len(gaps) != want {
				t.Errorf("gaps %v were drawn, want all of 1 to %d", gaps, want)
			}
			if c.broken != nil && (!gaps[0] || l.Bad() != 2) { // with its only neighbour broken, a frame is its own partner
				t.Errorf("gaps %v, %d broken", gaps, l.Bad())
			}
		})
	}
}

func TestPartnersFollowFromSeedEpochAndStepAlone(t *testing.T) {
	set := videos(t, "b/1.png", "c/3.png")
	o := Options{Batch: 5, Seed: 3, Workers: 1, Grouped: true, MaxGap: 2, MaxBad: 0.5}
	one := New(set, policy(t), o)
	for epoch := range 3 {
		for step := range one.StepsPerEpoch() {
			o.Workers = 4
			a, b := fill(t, one, epoch, step), fill(t, New(set, policy(t), o), epoch, step)
			if !slices.EqualFunc(a.Views, b.Views, slices.Equal) || !slices.Equal(a.IDs, b.IDs) {
				t.Fatalf("epoch %d, step %d differs from that of a loader that has seen nothing before", epoch, step)
			}
		}
	}
}

// With groups of equal size and as many batches as each has images, no batch holds two of a group.
func TestGroupsAreSpread(t *testing.T) {
	files := t.TempDir()
	for v := range 6 {
		for k := range 4 {
			name := filepath.Join(files, string(rune('a'+v)), string(rune('0'+k))+".png")
			os.MkdirAll(filepath.Dir(name), 0o755)
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			png.Encode(f, image.NewGray(image.Rect(0, 0, 2, 2)))
			f.Close()
		}
	}
	set, err := data.Open(context.Background(), files, data.Options{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	l := New(set, policy(t), Options{Batch: 6, Grouped: true})
	var first []int
	for epoch := range 5 {
		for step := range 4 {
			ids := slices.Clone(fill(t, l, epoch, step).IDs)
			slices.Sort(ids)
			if len(slices.Compact(ids)) != 6 {
				t.Errorf("epoch %d, step %d has videos %v", epoch, step, ids)
			}
		}
		if slices.Equal(first, l.order) {
			t.Error("two epochs have the same order")
		}
		first = slices.Clone(l.order)
	}
}

// TestManyViews: the views of an image differ, and the first ones are the same however many follow.
func TestManyViews(t *testing.T) {
	set := folder(t, 4, 0)
	l := New(set, policy(t), Options{Batch: 4, Seed: 3, Workers: 2})
	two, four := fill(t, l, 0, 0), batch(4)
	four.Views = rooms(4, 4*192)
	if err := l.Fill(context.Background(), 0, 0, four); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(two.Views, four.Views[:2], slices.Equal) {
		t.Error("the first two views depend on how many follow")
	}
	for i, x := range four.Views {
		for j, y := range four.Views[:i] {
			if slices.Equal(x, y) {
				t.Errorf("views %d and %d are the same", i, j)
			}
		}
	}
}

// TestShares: what processes have of a batch is the batch of one, cut into pieces; and the views that
// are encoded in another order are those of the images there.
func TestShares(t *testing.T) {
	t.Parallel()
	set := folder(t, 12, 2)
	o := Options{Batch: 8, Seed: 3, Workers: 2, MaxBad: 1}
	whole := fill(t, New(set, policy(t), o), 1, 0)
	const each = 192
	for _, count := range []int{1, 2, 4} {
		for first := 0; first < 4; first += count {
			o.Share = ranks.Share{First: first, Count: count, Of: 4}
			rows := 2 * count
			b := moco.Batch{Views: rooms(1, rows*each), KeyViews: rooms(2, rows*each),
				IDs: make([]int32, rows), Unshuffle: make([]int32, 8)}
			if err := New(set, policy(t), o).Fill(context.Background(), 1, 0, b); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(b.Unshuffle, whole.Unshuffle) {
				t.Error("the order of keys depends on the share")
			}
			for i := range rows {
				at := 2*first + i
				key := int(whole.Shuffle[at])
				row := func(x []float32, i int) []float32 { return x[i*each : (i+1)*each] }
				if b.IDs[i] != whole.IDs[at] || !slices.Equal(row(b.Views[0], i), row(whole.Views[0], at)) {
					t.Errorf("share %+v: image %d is not that of the whole batch", o.Share, i)
				}
				if !slices.Equal(row(b.KeyViews[0], i), row(whole.Views[0], key)) || !slices.Equal(row(b.KeyViews[1], i), row(whole.Views[1], key)) {
					t.Errorf("share %+v: the views of key %d are not those of image %d", o.Share, i, key)
				}
			}
		}
	}
}
