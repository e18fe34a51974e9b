package explore

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/draw"

	"moco"
	"moco/data"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/internal/rng"
)

func explorer(t testing.TB, workers int) Explorer {
	t.Helper()
	e, err := cpu.New(cpu.Options{Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	return Explorer{Engine: e}
}

// embedded makes a set of rows, scaled to length one, with label 0.
func embedded(rows ...[]float64) *evaluate.Embedded {
	e := &evaluate.Embedded{Dim: 1, Classes: []string{"a", "b"}}
	for _, r := range rows {
		var square float64
		for _, v := range r {
			square += v * v
		}
		for _, v := range r {
			e.Features = append(e.Features, float32(v/math.Sqrt(square)))
		}
		e.Dim, e.Labels = len(r), append(e.Labels, 0)
	}
	return e
}

// blobs makes groups of rows around directions that are far apart. The label of a row is its group.
func blobs(groups, each int, spread float64) *evaluate.Embedded {
	const dim = 16
	r := rng.New(7)
	var rows [][]float64
	var labels []int
	for i := range groups * each {
		row := make([]float64, dim)
		for j := range row {
			row[j] = spread * r.Normal()
		}
		row[i%groups] += 1
		rows, labels = append(rows, row), append(labels, i%groups)
	}
	e := embedded(rows...)
	e.Labels, e.Classes = labels, nil
	for g := range groups {
		e.Classes = append(e.Classes, fmt.Sprint("class ", g))
	}
	return e
}

// stacked puts sets on top of each other.
func stacked(sets ...*evaluate.Embedded) *evaluate.Embedded {
	all := *sets[0]
	for _, s := range sets[1:] {
		all.Features, all.Labels = append(all.Features, s.Features...), append(all.Labels, s.Labels...)
	}
	return &all
}

func TestNeighboursLeaveTheRowItselfOut(t *testing.T) {
	x := explorer(t, 0)
	// Rows 0 to 3 are copies of each other and equally near. None of them is its own neighbour.
	set := embedded([]float64{1, 0}, []float64{1, 0}, []float64{1, 0}, []float64{1, 0}, []float64{1, 1}, []float64{0, 1})
	for _, k := range []int{1, 3, 5, 100} {
		seen := 0
		err := x.Neighbours(context.Background(), set, k, func(row int, list []evaluate.Neighbour) error {
			if row != seen {
				t.Errorf("row %d comes after %d rows", row, seen)
			}
			seen++
			if want := min(k, 5); len(list) != want {
				t.Errorf("k %d: row %d has %d neighbours, want %d", k, row, len(list), want)
			}
			for i, n := range list {
				if n.Row == row || i > 0 && n.Similarity > list[i-1].Similarity {
					t.Errorf("k %d: row %d has the neighbours %v: itself, or out of order", k, row, list)
				}
			}
			return nil
		})
		if err != nil || seen != 6 {
			t.Errorf("k %d: %d rows, %v", k, seen, err)
		}
	}
}

func TestOutliers(t *testing.T) {
	x := explorer(t, 0)
	lone := make([]float64, 16)
	lone[15] = -1
	set := stacked(blobs(3, 40, 0.05), embedded(lone))
	got, err := x.Outliers(context.Background(), set, 5)
	if err != nil || len(got) != 121 || got[0].Row != 120 || got[0].Distance < 0.8 || got[1].Distance > 0.3 {
		t.Fatalf("the first outliers are %+v (%v), want row 120 far before all others", got[:2], err)
	}
	// An outlier that is there twice is still unlike the rest.
	got, err = x.Outliers(context.Background(), stacked(set, embedded(lone)), 5)
	if err != nil || got[0].Row != 120 || got[1].Row != 121 || got[1].Distance < 0.6 {
		t.Errorf("the first outliers are %+v (%v), want the rows 120 and 121", got[:2], err)
	}
	// A k larger than the set takes all of it.
	if got, err = x.Outliers(context.Background(), embedded([]float64{1, 0}, []float64{0, 1}), 50); err != nil ||
		len(got) != 2 || math.Abs(got[0].Distance-1) > 1e-6 || len(got[0].Nearest) != 1 {
		t.Errorf("two images at right angles give %+v, %v", got, err)
	}
}

// TestOutnumbered: the images of a class that is too small to win a vote do not head the list, however
// wide their margin, and the class is named.
func TestOutnumbered(t *testing.T) {
	t.Parallel()
	x := explorer(t, 0)
	set := blobs(4, 50, 0.1) // row i is of class i%4
	const wrong = 77
	set.Labels[wrong] = (set.Labels[wrong] + 1) % 4
	set.Classes = append(slices.Clone(set.Classes), "rare", "unused")
	rare := []int{8, 9, 10} // of three blobs
	for _, i := range rare {
		set.Labels[i] = 4
	}
	got, err := x.LabelErrors(context.Background(), set, evaluate.KNN{K: 10, T: 0.1})
	if err != nil || len(got) != 4 {
		t.Fatalf("%d doubts, %v", len(got), err)
	}
	for rank, l := range got {
		if few := rank > 0; l.Outnumbered != few || few != slices.Contains(rare, l.Row) {
			t.Errorf("rank %d is row %d: %+v", rank, l.Row, l)
		}
	}
	for k, want := range map[int][]ClassSize{2: nil, 3: {{4, 3}}, 47: {{4, 3}}, 60: {{0, 49}, {1, 48}, {2, 50}, {3, 50}, {4, 3}}} {
		if got := Outnumbered(set, k); !slices.Equal(got, want) {
			t.Errorf("with %d votes %v are outnumbered, want %v", k, got, want)
		}
	}
}

func TestLabelErrors(t *testing.T) {
	x := explorer(t, 0)
	set := blobs(4, 50, 0.1)
	wrong := []int{3, 77, 120}
	for _, i := range wrong {
		set.Labels[i] = (set.Labels[i] + 1) % 4
	}
	got, err := x.LabelErrors(context.Background(), set, evaluate.KNN{K: 10, T: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	var rows []int
	for _, l := range got {
		rows = append(rows, l.Row)
		if l.Suggested != l.Row%4 || !(l.Margin() > 0.5) || l.Given+l.Other > 1+1e-9 || len(l.Nearest) != shownNeighbours {
			t.Errorf("row %d: %+v, want class %d by a wide margin", l.Row, l, l.Row%4)
		}
	}
	slices.Sort(rows)
	if !slices.Equal(rows, wrong) {
		t.Errorf("labels doubted are those of the rows %v, want %v", rows, wrong)
	}
}

func TestDuplicatesByCosine(t *testing.T) {
	x := explorer(t, 0)
	// Only a chain through 2 connects 0 and 4; 1 and 5 are copies; 3 is alone.
	set := embedded([]float64{1, 0, 0}, []float64{0, 0, 1}, []float64{1, 0.1, 0}, []float64{0, -1, 1},
		[]float64{1, 0.2, 0}, []float64{0, 0, 1})
	got, err := x.Duplicates(context.Background(), set, Duplicates{Threshold: 0.99})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !slices.Equal(got[0].Rows, []int{0, 2}) || !slices.Equal(got[1].Rows, []int{1, 5}) ||
		len(got[0].Pairs) != 1 || len(got[1].Pairs) != 1 {
		t.Fatalf("groups are %+v, want 0, 2 and 1, 5", got)
	}
	if p := got[0].Weakest(); p.A != 0 || p.B != 2 || math.Abs(float64(p.Similarity)-1/math.Sqrt(1.01)) > 1e-6 {
		t.Errorf("the pair is %+v, want 0 and 2", p)
	}
	// With 2 as the best, both are at the threshold with it.
	source := func(row int) (data.Source, error) { return data.Source{Width: 10 + row%4, Height: 10}, nil }
	got, err = x.Duplicates(context.Background(), set, Duplicates{Threshold: 0.99, Source: source})
	if err != nil || len(got) != 2 || !slices.Equal(got[0].Rows, []int{0, 2, 4}) || got[0].Best != 2 ||
		got[0].Why.Reason != MostPixels || got[0].Weakest().B != 0 || !slices.Equal(got[0].Extras(), []int{0, 4}) {
		t.Fatalf("groups are %+v (%v), want 0, 2, 4 with 2 as the best", got, err)
	}
	if got, err = x.Duplicates(context.Background(), set, Duplicates{Threshold: 1}); err != nil || len(got) != 1 ||
		!slices.Equal(got[0].Rows, []int{1, 5}) {
		t.Errorf("at a threshold of 1 the groups are %+v (%v), want the copies 1, 5", got, err)
	}
}

// TestDuplicatesByOverlay plants copies of each kind among drawings. Raw pixels take the place of
// features.
func TestDuplicatesByOverlay(t *testing.T) {
	ctx := context.Background()
	set, err := data.Open(ctx, "builtin:test?n=200&size=48", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	features, err := evaluate.Pixels(ctx, set, moco.Views{Policy: "cifar", Size: 32})
	if err != nil {
		t.Fatal(err)
	}
	var images []*data.Image
	for i := range set.Len() {
		m := &data.Image{}
		if err := set.Read(i, m); err != nil {
			t.Fatal(err)
		}
		images = append(images, m)
	}
	change := map[int]func(image.Image) image.Image{
		10: func(m image.Image) image.Image { return m },
		21: func(m image.Image) image.Image { return scaled(m, m.Bounds(), 31, 31) },
		32: func(m image.Image) image.Image { return scaled(m, m.Bounds(), 80, 100) },
		43: func(m image.Image) image.Image { return scaled(m, image.Rect(2, 3, 46, 47), 44, 44) },
		54: func(m image.Image) image.Image {
			var b bytes.Buffer
			jpeg.Encode(&b, m, &jpeg.Options{Quality: 30})
			out, err := jpeg.Decode(&b)
			if err != nil {
				t.Error(err)
			}
			return out
		},
		65: func(m image.Image) image.Image {
			out := scaled(m, m.Bounds(), 48, 48)
			for i, v := range out.Pix {
				out.Pix[i] = uint8(min(255, 20+float64(v)*0.8))
			}
			return out
		},
	}
	var want [][]int
	for i := range 200 {
		if f := change[i]; f != nil {
			want = append(want, []int{i, len(images)})
			images = append(images, fromImage(f(toImage(images[i]))))
			// Only the image's own pixels count.
			features.Features = append(features.Features, row(features, i)...)
			features.Labels = append(features.Labels, features.Labels[i])
		}
	}
	read := func(i int, dst *data.Image) error { *dst = *images[i]; return nil }
	var first []Group
	for _, workers := range []int{0, 1} {
		x := explorer(t, workers)
		// Two drawings of a soft triangle reach 0.96.
		got, err := x.Duplicates(ctx, features, Duplicates{Threshold: 0.965, Candidates: 8, Image: read})
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]int
		for _, g := range got {
			rows = append(rows, g.Rows)
		}
		if !reflect.DeepEqual(rows, want) {
			t.Errorf("groups are %v, want %v", got, want)
		}
		if first == nil {
			first = got
		} else if !reflect.DeepEqual(first, got) {
			t.Error("another number of workers gives other scores")
		}
	}
}

func toImage(m *data.Image) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, m.Width, m.Height))
	for i := range m.Width * m.Height {
		copy(out.Pix[4*i:], m.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out
}

func fromImage(m image.Image) *data.Image {
	rgba := scaled(m, m.Bounds(), m.Bounds().Dx(), m.Bounds().Dy())
	out := &data.Image{Width: rgba.Rect.Dx(), Height: rgba.Rect.Dy()}
	for i := 0; i < len(rgba.Pix); i += 4 {
		out.Pix = append(out.Pix, rgba.Pix[i:i+3]...)
	}
	return out
}

func scaled(m image.Image, from image.Rectangle, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.CatmullRom.Scale(out, out.Bounds(), m, from, draw.Src, nil)
	return out
}

// TestOddImages: edges of one pixel, long strips and flat colours make thumbnails. A flat one
// matches nothing.
func TestOddImages(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 500}, {500, 1}, {32, 32}, {33, 31}, {700, 2}} {
		img := &data.Image{Width: size[0], Height: size[1], Pix: bytes.Repeat([]uint8{200}, 3*size[0]*size[1])}
		thumb := makeThumbnail(img)
		if len(thumb) != thumbEdge*thumbEdge || slices.Min(thumb) < 199 || slices.Max(thumb) > 201 {
			t.Errorf("a flat image of %v has a thumbnail of %d to %d", size, slices.Min(thumb), slices.Max(thumb))
		}
	}
}

func TestClusterFindsBlobs(t *testing.T) {
	set := blobs(7, 60, 0.1)
	var first *Clustering
	for _, workers := range []int{0, 1, 3} {
		got, err := explorer(t, workers).Cluster(context.Background(), set, KMeans{K: 7, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		} else if !reflect.DeepEqual(first, got) {
			t.Errorf("%d workers give other clusters", workers)
		}
	}
	purity, label, share := first.Purity(set.Labels, 7)
	if purity != 1 || len(first.Clusters) != 7 || !first.Converged || first.Similarity < 0.8 {
		t.Errorf("purity %v with %d clusters, converged %v, similarity %v; want the seven blobs", purity,
			len(first.Clusters), first.Converged, first.Similarity)
	}
	slices.Sort(label)
	if !slices.Equal(label, []int{0, 1, 2, 3, 4, 5, 6}) || slices.Min(share) != 1 {
		t.Errorf("the clusters' labels are %v with shares %v", label, share)
	}
	for _, c := range first.Clusters {
		falling := func(a, b float32) int { return int(math.Copysign(1, float64(b-a))) }
		if len(c.Rows) != 60 || !slices.IsSortedFunc(c.Similarity, falling) {
			t.Errorf("a cluster has %d rows, want 60 with the most typical first", len(c.Rows))
		}
	}
}

func TestClusterOddSets(t *testing.T) {
	x := explorer(t, 0)
	same := embedded([]float64{1, 2}, []float64{1, 2}, []float64{1, 2}, []float64{2, -1})
	opposite := embedded([]float64{1, 0}, []float64{-1, 0})
	blank := &evaluate.Embedded{Dim: 2, Labels: []int{0, 0, 0}, Features: []float32{0, 0, 0, 0, 1, 0}}
	for name, c := range map[string]struct {
		set   *evaluate.Embedded
		k     int
		sizes []int
	}{
		"one image":            {embedded([]float64{3, 4}), 5, []int{1}},
		"more k than images":   {embedded([]float64{1, 0}, []float64{0, 1}), 5, []int{1, 1}},
		"more k than kinds":    {same, 4, []int{3, 1}},
		"one cluster":          {same, 1, []int{4}},
		"rows that cancel out": {opposite, 1, []int{2}},
		"rows of zeros":        {blank, 2, []int{2, 1}},
	} {
		got, err := x.Cluster(context.Background(), c.set, KMeans{K: c.k})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var sizes []int
		for _, c := range got.Clusters {
			sizes = append(sizes, len(c.Rows))
		}
		if !slices.Equal(sizes, c.sizes) {
			t.Errorf("%s: clusters of %v, want %v", name, sizes, c.sizes)
		}
	}
}

// TestRefused: a question that cannot be answered gets one sentence that says why.
func TestRefused(t *testing.T) {
	ctx, x := context.Background(), explorer(t, 0)
	none, one, two := &evaluate.Embedded{Dim: 2}, embedded([]float64{1, 0}), embedded([]float64{1, 0}, []float64{0, 1})
	unlabelled := embedded([]float64{1, 0}, []float64{0, 1})
	unlabelled.Labels, unlabelled.Classes = []int{-1, -1}, nil
	vote := evaluate.KNN{K: 5, T: 0.1}
	outliers := func(s *evaluate.Embedded, k int) error { _, err := x.Outliers(ctx, s, k); return err }
	labels := func(s *evaluate.Embedded, v evaluate.KNN) error { _, err := x.LabelErrors(ctx, s, v); return err }
	duplicates := func(s *evaluate.Embedded, d Duplicates) error { _, err := x.Duplicates(ctx, s, d); return err }
	cluster := func(s *evaluate.Embedded, m KMeans) error { _, err := x.Cluster(ctx, s, m); return err }
	image := func(int, *data.Image) error { return nil }
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"search in nothing":       {x.Search(ctx, none, two, 1, nil), "no images"},
		"neighbours of nothing":   {x.Neighbours(ctx, none, 1, nil), "no images"},
		"queries of another size": {x.Search(ctx, two, embedded([]float64{1, 0, 0}), 1, nil), "dimensions"},
		"outliers of nothing":     {outliers(none, 3), "no images"},
		"outliers of one":         {outliers(one, 3), "at least two"},
		"outliers with k of 0":    {outliers(two, 0), "k of at least 1"},
		"labels of nothing":       {labels(none, vote), "no images"},
		"labels of unlabelled":    {labels(unlabelled, vote), "no labels"},
		"labels with t of 0":      {labels(two, evaluate.KNN{K: 3}), "t above 0"},
		"duplicates of nothing":   {duplicates(none, Duplicates{Threshold: 1}), "no images"},
		"a threshold of 2":        {duplicates(two, Duplicates{Threshold: 2}), "threshold"},
		"no threshold":            {duplicates(two, Duplicates{}), "threshold"},
		"no candidates":           {duplicates(two, Duplicates{Threshold: 1, Image: image}), "candidate"},
		"clusters of nothing":     {cluster(none, KMeans{K: 2}), "no images"},
		"no clusters":             {cluster(two, KMeans{}), "at least 1"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("%s gives %v, want one sentence with %q", name, c.err, c.want)
		}
	}
	if got, err := x.LabelErrors(ctx, one, vote); err != nil || len(got) != 0 {
		t.Errorf("the label of a single image is doubted: %v, %v", got, err)
	}
	if got, err := x.Duplicates(ctx, one, Duplicates{Threshold: 0.9}); err != nil || len(got) != 0 {
		t.Errorf("a single image has the duplicates %v, %v", got, err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range []error{
		x.Neighbours(stopped, two, 1, func(int, []evaluate.Neighbour) error { return nil }),
		func() error { _, err := x.Cluster(stopped, two, KMeans{K: 2}); return err }(),
		func() error { _, err := x.Duplicates(stopped, two, Duplicates{Threshold: 0.9}); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "canceled") {
			t.Errorf("an interrupted search gives %v", err)
		}
	}
}
