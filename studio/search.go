package studio

import (
	"cmp"
	"context"
	"errors"
	"image"
	"io"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/loader"
	"moco/picture"
)

// searchRequest asks for pictures.
type searchRequest struct {
	Like   []int32 `json:"like"`
	Unlike []int32 `json:"unlike"`
	Text   string  `json:"text"` // a part of the name
	Limit  int     `json:"limit"`
}

// found are pictures that a search has found, the best first.
type found struct {
	Images []int     `json:"images"`
	Scores []float32 `json:"scores"`
}

// The pictures of one answer.
const (
	searchLimit = 500
	maxSearch   = 100_000
)

func (s *Studio) postSearch(w http.ResponseWriter, r *http.Request) error {
	var q searchRequest
	if err := body(w, r, &q); err != nil {
		return err
	}
	for _, list := range [][]int32{q.Like, q.Unlike} {
		if err := s.check(list); err != nil {
			return err
		}
	}
	if q.Limit <= 0 {
		q.Limit = searchLimit
	}
	q.Limit = min(q.Limit, maxSearch)
	named := s.named(q.Text)
	if len(q.Like)+len(q.Unlike) == 0 {
		all := found{Images: []int{}, Scores: []float32{}}
		for i := range s.names {
			if len(all.Images) < q.Limit && named(i) {
				all.Images, all.Scores = append(all.Images, i), append(all.Scores, 1)
			}
		}
		return send(w, all)
	}
	f := s.work.features()
	if f == nil {
		return &refusal{http.StatusConflict, "search by picture needs the features of the pictures: " +
			"give a model, or wait until they are made"}
	}
	asked := map[int]bool{}
	for _, i := range slices.Concat(q.Like, q.Unlike) {
		asked[int(i)] = true
	}
	direction := make([]float32, f.Dim)
	add(direction, f, q.Like, 1)
	add(direction, f, q.Unlike, -1)
	wanted := func(i int) bool { return !asked[i] && named(i) }
	hits, err := f.nearest(r.Context(), encoder.Normalise(direction), q.Limit, wanted)
	if err != nil {
		return err
	}
	return send(w, hits)
}

// named tells which pictures have a text in their names, whatever its case.
func (s *Studio) named(text string) func(i int) bool {
	if text = fold(strings.TrimSpace(text)); text == "" {
		return func(int) bool { return true }
	}
	names := s.folded()
	return func(i int) bool { return strings.Contains(names[i], text) }
}

// fold is a text without its case.
func fold(text string) string { return cases.Fold().String(norm.NFC.String(text)) }

// foldAll makes the names without their case, for the searches.
func (s *Studio) foldAll() []string {
	names := make([]string, len(s.names))
	for i, name := range s.names {
		names[i] = fold(name)
	}
	return names
}

// add adds the mean of pictures' features to a sum.
func add(sum []float32, f *features, images []int32, weight float32) {
	n := 0
	for _, i := range images {
		if f.row[i] >= 0 {
			n++
		}
	}
	for _, i := range images {
		if row := f.row[i]; row >= 0 {
			for k, v := range f.Row(int(row)) {
				sum[k] += weight * v / float32(n)
			}
		}
	}
}

// postSearchPicture finds the pictures that are most like one that is not in the set.
func (s *Studio) postSearchPicture(w http.ResponseWriter, r *http.Request) error {
	f, e := s.work.features(), s.o.Encoder
	if f == nil || e == nil {
		return &refusal{http.StatusConflict, "search by a picture of your own needs a model, and the features of the pictures"}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPicture))
	if err != nil {
		return err
	}
	var m picture.Image
	how := picture.Options{Ground: e.Reading().Ground, Side: e.Reading().Side}
	if _, err := s.decode(r, func() ([]byte, error) { return nil, new(picture.Decoder).Decode(raw, how, &m) }); err != nil {
		if r.Context().Err() != nil {
			return err
		}
		return &refusal{http.StatusUnprocessableEntity, "this is no picture that can be read: " + err.Error()}
	}
	if err := s.sameEncoder(r.Context(), f); err != nil {
		return err
	}
	rows, err := e.Embed(r.Context(), []image.Image{&m})
	if err != nil {
		return err
	}
	hits, err := f.nearest(r.Context(), rows[0], searchLimit, func(int) bool { return true })
	if err != nil {
		return err
	}
	return send(w, hits)
}

// sameEncoder says whether the features are of the encoder. It is found out once: the encoder must
// make those of the first picture again.
func (s *Studio) sameEncoder(ctx context.Context, f *features) error {
	s.comparing.Lock()
	defer s.comparing.Unlock()
	if s.o.Vectors == "" || s.compared {
		return nil
	}
	set := &explore.Collection{Embedded: f.Embedded, Set: s.o.Data}
	err := set.CheckEncoder(ctx, func(ctx context.Context, set *data.Set) (*evaluate.Embedded, error) {
		return evaluate.Features(ctx, s.o.Encoder, set, s.layer(), nil)
	})
	var other *explore.OtherEncoderError
	if errors.As(err, &other) {
		return &refusal{http.StatusConflict, other.Error()}
	}
	s.compared = err == nil
	return err
}

// rowsAtOnce is how many rows a goroutine takes at a time.
const rowsAtOnce = 2048

// nearest finds the pictures with the largest dot products with a direction, exactly.
func (f *features) nearest(ctx context.Context, direction []float32, limit int,
	wanted func(image int) bool) (*found, error) {
	score := make([]float32, f.Len())
	tiles := (f.Len() + rowsAtOnce - 1) / rowsAtOnce
	err := loader.Parallel(ctx, tiles, runtime.GOMAXPROCS(0), func(_, tile int) error {
		for row := tile * rowsAtOnce; row < min(f.Len(), (tile+1)*rowsAtOnce); row++ {
			score[row] = dot(f.Row(row), direction)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// A bound below which no row counts is raised again and again, so that few rows are sorted.
	var best []int
	bound := float32(math.Inf(-1))
	order := func(a, b int) int { return cmp.Or(cmp.Compare(score[b], score[a]), a-b) }
	for row, v := range score {
		if v < bound || !wanted(f.Images[row]) {
			continue
		}
		if best = append(best, row); len(best) >= 4*limit+1024 {
			slices.SortFunc(best, order)
			best = best[:limit]
			bound = score[best[limit-1]]
		}
	}
	slices.SortFunc(best, order)
	hits := &found{Images: []int{}, Scores: []float32{}}
	for _, row := range best[:min(len(best), limit)] {
		hits.Images, hits.Scores = append(hits.Images, f.Images[row]), append(hits.Scores, score[row])
	}
	return hits, nil
}

// dot is the dot product of two rows. Four sums run side by side, so that none waits for the one
// before; as variables, since an array's elements would not stay in registers.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}
