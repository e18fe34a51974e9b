package explore

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moco/data"
	"moco/evaluate"
	"moco/internal/half"
	"moco/internal/rng"
	"moco/internal/sys"
	"moco/vectors"
)

// largeDim is the length of the rows of TestLarge.
const largeDim = 512

// largeRow is a row of random numbers. Every thousandth row is a copy of the one before it with a
// little noise, at a cosine of about 0.9995.
func largeRow(out []float32, i int) {
	of, noise := i, float32(0)
	if i%1000 == 999 {
		of, noise = i-1, 0.0316
	}
	fill := func(key uint64, add func(j int, v float32)) {
		r := rng.New(key, uint64(of))
		for j := 0; j < largeDim; j += 4 { // four sums of two numbers of a draw
			bits := r.Uint64()
			for k := range 4 {
				v := float32(int16(bits>>(16*k)))/32768 + float32(int16(bits>>(16*k)*40503))/32768
				add(j+k, v)
			}
		}
	}
	fill(1, func(j int, v float32) { out[j] = v })
	if noise > 0 {
		of = i
		fill(2, func(j int, v float32) { out[j] += noise * v })
	}
	var square float64
	for _, v := range out {
		square += float64(v) * float64(v)
	}
	for j := range out {
		out[j] = half.From(half.To(out[j] / float32(math.Sqrt(square))))
	}
}

// makeLarge writes an array of n rows, unless a file is there, in 5 shards.
func makeLarge(t *testing.T, dir string, n int, images *data.Set) {
	t.Helper()
	for s := (vectors.Shard{Index: 1, Count: 5}); s.Index <= s.Count; s.Index++ {
		path := s.Path(filepath.Join(dir, "large.npy"))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		first, last := s.Range(n)
		row := vectors.Row{Vector: make([]float32, largeDim)}
		err := vectors.Save(path, vectors.Head{Rows: last - first, Dim: largeDim, Type: vectors.Float16},
			func(yield func(vectors.Row, error) bool) {
				for i := first; i < last; i++ {
					row.Path = images.Name(i)
					largeRow(row.Vector, i)
					if !yield(row, nil) {
						return
					}
				}
			})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLarge searches random rows that do not fit the memory it allows itself, and finds near
// duplicates among them. It takes long, and runs only with MOCO_LARGE_VECTORS=FOLDER, where it
// makes the rows first; MOCO_LARGE_ROWS says how many (5,000,000). docs/benchmarks.md has its
// figures.
func TestLarge(t *testing.T) {
	dir := os.Getenv("MOCO_LARGE_VECTORS")
	if dir == "" {
		t.Skip("MOCO_LARGE_VECTORS does not name a folder")
	}
	n, ctx := 5_000_000, context.Background()
	if text := os.Getenv("MOCO_LARGE_ROWS"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	images, err := data.Open(ctx, "builtin:test?size=8&n="+strconv.Itoa(n), data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	start := time.Now()
	tell := func(what string) {
		t.Logf("%-40s %6.0f s, peak %5d MB", what, time.Since(start).Seconds(), sys.ResidentPeak()>>20)
		start = time.Now()
	}
	tell("names of the images")
	makeLarge(t, dir, n, images)
	tell("rows made")
	set, _, err := evaluate.OpenVectors(ctx, dir, images, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	tell("opened and checked")
	before := sys.ResidentPeak()
	x := explorer(t, 0)
	x.Progress = func(stage string, done, total int) {
		if done == total {
			tell(stage)
		}
	}
	const queries, k = 1000, 10
	some := set.Part(n/2/1000*1000, n/2/1000*1000+queries)
	wrong := 0
	if err := x.Search(ctx, set, some, k, func(query int, list []evaluate.Neighbour) error {
		if list[0].Row != n/2/1000*1000+query || len(list) != k {
			wrong++
		}
		return nil
	}); err != nil || wrong > 0 {
		t.Fatalf("%d of %d rows are not the nearest to themselves (%v)", wrong, queries, err)
	}
	said := PairsMemory(n, set.Dim)
	pairs, err := x.Pairs(ctx, set, 0.999)
	if err != nil {
		t.Fatal(err)
	}
	tell("pairs, sorted")
	for i, p := range pairs {
		if p.A != 1000*i+998 || p.B != p.A+1 {
			t.Fatalf("pair %d is %+v", i, p)
		}
	}
	t.Logf("%d pairs of %d; said to take %d MB beside the %d MB at the start, and what the engine takes for a tile",
		len(pairs), n/1000, said>>20, before>>20)
	if len(pairs) != n/1000 {
		t.Errorf("%d pairs are found of %d", len(pairs), n/1000)
	}
}
