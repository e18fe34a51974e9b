package embed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"moco/data"
	"moco/encoder"
	"moco/internal/event"
	"moco/vectors"
)

// TestShards: the shards of a set have the rows of a run over the whole set, bit by bit, whatever
// their number, with unreadable images among them, and each stopped after its first batch. In
// lines, their bytes one after the other are those of the whole file.
func TestShards(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, ending := range []string{".jsonl", ".npy", ".parquet"} {
		base := Options{Encoder: testEncoder(t, 2), Data: folder(t, 2, 3, 10), MaxBad: 0.3, Type: vectors.Float16}
		if ending == ".jsonl" {
			base.Type = vectors.Float32
		}
		base.Out = filepath.Join(t.TempDir(), "x"+ending)
		if _, err := Run(ctx, base); err != nil {
			t.Fatal(err)
		}
		want, whole := rowsOf(t, base.Out), must(t, base.Out)
		for _, count := range []int{1, 3, 13} {
			dir := filepath.Join(t.TempDir(), "made", "by the run")
			var lines []byte
			for i := count; i >= 1; i-- { // in any order
				o := base
				o.Out, o.Shard = filepath.Join(dir, "x"+ending), vectors.Shard{Index: i, Count: count}
				stopAndFinish(t, o)
				lines = append(must(t, o.Shard.Path(o.Out)), lines...)
			}
			got := rowsOf(t, dir)
			same := func(a, b vectors.Row) bool {
				return a.Path == b.Path && a.Label == b.Label && a.SHA256 == b.SHA256 && slices.Equal(a.Vector, b.Vector)
			}
			if !slices.EqualFunc(got, want, same) {
				t.Errorf("%d shards, %s: %d rows, not the %d of the whole", count, ending, len(got), len(want))
			}
			if ending == ".jsonl" && !bytes.Equal(lines, whole) {
				t.Errorf("%d shards: their bytes are not those of the whole", count)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "*.part*"))
			if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left)+len(hidden) > 0 {
				t.Errorf("left over: %v %v", left, hidden)
			}
		}
	}
}

// stopAndFinish makes a shard with a stop after its first batch.
func stopAndFinish(t *testing.T, o Options) {
	t.Helper()
	stopped, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.Events = func(e event.Event) {
		if _, ok := e.(Progress); ok {
			cancel()
		}
	}
	first, last := o.Shard.Range(o.Data.Len())
	if _, err := Run(stopped, o); last > first && !errors.Is(err, context.Canceled) {
		t.Fatalf("%s: %v", o.Shard, err)
	}
	o.Events = nil
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatalf("%s: %v", o.Shard, err)
	}
}

// TestFinishedShard: a shard that is finished is left as it is, and its rows are counted.
func TestFinishedShard(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := Options{Encoder: testEncoder(t, 2), Data: folder(t, 1), MaxBad: 0.3, Shard: vectors.Shard{Index: 1, Count: 2}}
	for _, ending := range []string{".parquet", ".npy", ".jsonl"} {
		o.Out, o.Events = filepath.Join(t.TempDir(), "x"+ending), nil
		if _, err := Run(ctx, o); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(o.Shard.Path(o.Out))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(part(o.Shard.Path(o.Out)), []byte("left by a kill"), 0o644); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		o.Events = func(e event.Event) { kinds = append(kinds, e.Kind()) }
		done, err := Run(ctx, o)
		if err != nil || !done.Skipped || done.Rows != 4 || done.BadImages != 1 || !slices.Equal(kinds, []string{"done"}) {
			t.Errorf("%s: %v, %+v, events %v", ending, err, done, kinds)
		}
		after, err := os.Stat(o.Shard.Path(o.Out))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: the file was written again (%v)", ending, err)
		}
		if _, err := os.Stat(part(o.Shard.Path(o.Out))); err == nil {
			t.Errorf("%s: the journal is still there", ending)
		}
	}
	raw := must(t, o.Shard.Path(o.Out))
	if err := os.WriteFile(o.Shard.Path(o.Out), raw[:len(raw)-3], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(ctx, o); err == nil {
		t.Error("a damaged file counts as finished")
	}
}

// TestShardTwice: of several runs on one shard at the same time, those that find it taken are
// refused. The others change nothing, and the file is whole.
func TestShardTwice(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := Options{Encoder: testEncoder(t, 2), Data: folder(t), Out: filepath.Join(t.TempDir(), "x.jsonl"),
		Shard: vectors.Shard{Index: 2, Count: 2}}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	want := must(t, o.Shard.Path(o.Out))
	o.Out = filepath.Join(t.TempDir(), "x.jsonl")
	const runs = 4
	encoders := make([]*encoder.Encoder, runs)
	for i := range encoders {
		encoders[i] = testEncoder(t, 2)
	}
	var group sync.WaitGroup
	errs := make([]error, runs)
	for i := range runs {
		group.Go(func() {
			mine := o
			mine.Encoder = encoders[i]
			_, errs[i] = Run(ctx, mine)
		})
	}
	group.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.As(err, new(*LockedError)) {
			t.Errorf("a run beside others ends with %v", err)
		}
	}
	if done == 0 || !bytes.Equal(must(t, o.Shard.Path(o.Out)), want) {
		t.Errorf("%d of %d runs are done: %v", done, runs, errs)
	}
}

// TestOtherShards: a shard that would be made otherwise than the others is refused.
func TestOtherShards(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	base := Options{Encoder: testEncoder(t, 2), Data: folder(t), Out: filepath.Join(t.TempDir(), "x.npy"), MaxBad: 1,
		Shard: vectors.Shard{Index: 1, Count: 3}}
	if _, err := Run(ctx, base); err != nil {
		t.Fatal(err)
	}
	base.Shard.Index = 2
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"another number of shards": {func(o *Options) { o.Shard.Count = 4 }, "shards was 3 and is 4"},
		"another batch":            {func(o *Options) { o.Encoder = testEncoder(t, 3) }, "batch was 2 and is 3"},
		"another layer":            {func(o *Options) { o.Layer = encoder.Head }, "features was backbone and is head"},
		"other images":             {func(o *Options) { o.Data = folder(t, 1) }, "data was"},
		"other numbers":            {func(o *Options) { o.Type = vectors.Float16 }, "numbers was float32 and is float16"},
	} {
		o := base
		c.change(&o)
		var other *OtherShardsError
		if _, err := Run(ctx, o); !errors.As(err, &other) || !strings.Contains(err.Error(), c.want) ||
			other.Path != filepath.Join(filepath.Dir(o.Out), "x.shards.json") {
			t.Errorf("%s: the error is %v, want one that says %q", name, err, c.want)
		}
	}
	if _, err := Run(ctx, base); err != nil {
		t.Error(err)
	}
	base.Shard.Index = 4
	if _, err := Run(ctx, base); err == nil {
		t.Error("shard 4 of 3 is made")
	}
	if err := os.WriteFile(shared(base.Out), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	base.Shard.Index = 3
	if _, err := Run(ctx, base); err == nil || !strings.Contains(err.Error(), "x.shards.json") {
		t.Errorf("a damaged file of terms gives %v", err)
	}
}

// TestShardBits: the bits of a row do not depend on the batch and the place in it that the image
// falls on, with batches of a usual size.
func TestShardBits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	set, err := data.Open(ctx, "builtin:test?n=90&size=32", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	o := Options{Encoder: testEncoder(t, 32), Data: set, Out: filepath.Join(t.TempDir(), "x.jsonl")}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	want := rowsOf(t, o.Out)
	dir := t.TempDir()
	for i := 1; i <= 7; i++ {
		o.Out, o.Shard = filepath.Join(dir, "x.jsonl"), vectors.Shard{Index: i, Count: 7}
		if _, err := Run(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range rowsOf(t, dir) {
		if fmt.Sprint(r) != fmt.Sprint(want[i]) {
			t.Fatalf("row %d differs between a shard and the whole", i)
		}
	}
}

// TestPutShard: a database gets the rows of the shard.
func TestPutShard(t *testing.T) {
	t.Parallel()
	var got []string
	o := Options{Encoder: testEncoder(t, 2), Data: folder(t), Shard: vectors.Shard{Index: 2, Count: 3}}
	o.Put = func(_ context.Context, rows []vectors.Row) error {
		for _, r := range rows {
			got = append(got, r.Path)
		}
		return nil
	}
	first, last := o.Shard.Range(11)
	if _, err := Run(context.Background(), o); err != nil || len(got) != last-first || got[0] != o.Data.Name(first) {
		t.Errorf("%v: %v", err, got)
	}
}
