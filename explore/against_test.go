package explore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"moco/data"
	"moco/evaluate"
	"moco/vectors"
)

// earlier are n rows of a file of vectors.
func earlier(n int, row func(i int) []float32) iter.Seq2[vectors.Row, error] {
	return func(yield func(vectors.Row, error) bool) {
		for i := range n {
			if !yield(vectors.Row{Path: fmt.Sprintf("old/%d.png", i), Vector: row(i)}, nil) {
				return
			}
		}
	}
}

// TestDuplicatesAmong: new images are compared with each other and with older ones, which lie in
// several tiles; older ones are not compared with each other.
func TestDuplicatesAmong(t *testing.T) {
	t.Parallel()
	const rows = TileRows + 100
	direction := func(i int) []float32 {
		sin, cos := math.Sincos(float64(i) / rows * math.Pi)
		return []float32{float32(3 * cos), float32(3 * sin), 0} // of length 3
	}
	set := &evaluate.Embedded{Dim: 3, Labels: []int{-1, -1, -1, -1}}
	for _, v := range [][]float32{direction(5), direction(TileRows + 50), {0, 0, 3}, {0, 0.03, 3}} {
		for _, x := range v {
			set.Features = append(set.Features, x/3)
		}
	}
	icon := badge(48, red, plus)
	pictures := map[string]*data.Image{ // near, and of one picture, but for those of row 5
		"old/5.png": badge(48, blue, plus), fmt.Sprintf("old/%d.png", TileRows+50): icon,
	}
	old := Earlier{
		Rows: earlier(rows, direction),
		Image: func(path string, dst *data.Image) error {
			img, ok := pictures[path]
			if !ok {
				return fs.ErrNotExist
			}
			*dst = *img
			return nil
		},
		Source: func(path string) (data.Source, error) { return data.Source{Width: 24, Height: 24}, nil },
	}
	d := Duplicates{
		Threshold: 0.95, Candidates: 3,
		Image: func(row int, dst *data.Image) error {
			*dst = *[]*data.Image{icon, icon, flat(9, 9, red), flat(9, 9, red)}[row]
			return nil
		},
		Source: func(row int) (data.Source, error) { return data.Source{Width: 48, Height: 48}, nil },
	}
	got, err := explorer(t, 0).DuplicatesAmong(context.Background(), set, d, old)
	if err != nil || got.Rows != rows || len(got.Groups) != 2 || got.Gone == 0 {
		t.Fatalf("%+v, %v; want two groups among %d rows", got, err, rows)
	}
	first := got.Groups[0] // both icons are copies of the older one
	path := got.Old[first.Best-set.Len()]
	if path != fmt.Sprintf("old/%d.png", TileRows+50) || !slices.Equal(first.Extras(), []int{0, 1}) ||
		first.Why.Reason != AlreadyThere || !strings.Contains(first.Why.String(), "but smaller") {
		t.Errorf("the first group is %+v, its best %s, because %q", first, path, first.Why)
	}
	if !slices.Equal(got.Groups[1].Rows, []int{2, 3}) {
		t.Errorf("the flat pictures' group is %+v", got.Groups[1])
	}

	d.Image, d.Threshold = nil, 0.9999
	old.Rows = earlier(rows, direction)
	got, err = explorer(t, 1).DuplicatesAmong(context.Background(), set, d, old)
	if err != nil || len(got.Groups) != 3 || got.Old[got.Groups[0].Best-set.Len()] != "old/5.png" {
		t.Errorf("by features: %+v, %v", got, err)
	}
}

// TestEarlierThatFails: vectors of another encoder, damaged ones and those that cannot be read.
func TestEarlierThatFails(t *testing.T) {
	t.Parallel()
	set := embedded([]float64{1, 0}, []float64{0, 1})
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		rows iter.Seq2[vectors.Row, error]
		want func(error) bool
	}{
		"another length": {earlier(1, func(int) []float32 { return make([]float32, 3) }), func(err error) bool {
			var other *OtherEncoderError
			return errors.As(err, &other) && other.Dim == 3 && other.Makes == 2
		}},
		"NaN": {earlier(1, func(int) []float32 { return []float32{float32(math.NaN()), 1} }), func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "not finite")
		}},
		"a file that breaks off": {
			func(yield func(vectors.Row, error) bool) { yield(vectors.Row{}, broken) },
			func(err error) bool { return errors.Is(err, broken) },
		},
	} {
		_, err := explorer(t, 1).DuplicatesAmong(context.Background(), set,
			Duplicates{Threshold: 0.9, Candidates: 2}, Earlier{Rows: c.rows})
		if !c.want(err) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
