package loader

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/augment"
	"moco/data"
)

// folder writes n small images, and some files that only look like one.
func folder(t *testing.T, n, bad int) *data.Set {
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
	return set
}

func policy(t *testing.T) augment.Policy {
	p, err := augment.Named("cifar", 8)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func batch(n int) Batch {
	ints := func() []int32 { return make([]int32, n) }
	return Batch{X1: make([]float32, n*192), X2: make([]float32, n*192), IDs: ints(), Shuffle: ints(), Unshuffle: ints()}
}

func fill(t *testing.T, l *Loader, epoch, step int) Batch {
	t.Helper()
	b := batch(l.BatchSize(step))
	if err := l.Fill(context.Background(), epoch, step, b); err != nil {
		t.Fatal(err)
	}
	return b
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
			if !slices.Equal(a.X1, b.X1) || !slices.Equal(a.X2, b.X2) || !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Shuffle, b.Shuffle) {
				t.Fatalf("epoch %d, step %d differs between 1 and 5 workers", epoch, step)
			}
			if slices.Equal(a.X1, a.X2) {
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
	if a, b := fill(t, one, 0, 0), fill(t, one, 1, 0); slices.Equal(a.X1, b.X1) {
		t.Error("two epochs have the same first batch")
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
