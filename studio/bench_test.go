package studio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/evaluate"
	"moco/internal/rng"
)

// many is the pictures of the benchmarks, and wide the length of their features.
const many, wide = 100_000, 512

// drawn are features of 40 groups, made once.
var drawn = sync.OnceValue(func() *evaluate.Embedded {
	const groups = 40
	r := rng.New(7)
	centres := make([]float64, groups*wide)
	for i := range centres {
		centres[i] = r.Normal()
	}
	e := &evaluate.Embedded{Dim: wide, Features: make([]float32, many*wide), Labels: make([]int, many), Images: make([]int, many)}
	for i := range many {
		row := e.Row(i)
		for k := range row {
			row[k] = float32(centres[i%groups*wide+k] + 1.5*r.Normal())
		}
		encoder.Normalise(row)
		e.Images[i], e.Labels[i] = i, -1
	}
	return e
})

// largeStudio is a studio of many pictures whose features are there, with nothing at work.
func largeStudio(b *testing.B) (*Studio, http.Handler) {
	b.Helper()
	set, err := data.Open(b.Context(), fmt.Sprintf("builtin:test?n=%d", many), data.Options{})
	if err != nil {
		b.Fatal(err)
	}
	engine, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	s, err := Open(b.Context(), Options{Data: set, Labels: filepath.Join(dir, "l.csv"), Folder: dir, Engine: engine})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		s.Close()
		set.Close()
	})
	s.work.rows.Store(newFeatures(drawn(), many))
	return s, s.handler(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
}

// asked sends a request as the page does.
func asked(b *testing.B, s *Studio, h http.Handler, path string, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("POST", "http://127.0.0.1:80"+path, bytes.NewReader(raw))
	r.Header.Set(TokenHeader, s.Token())
	r.Header.Set("Origin", "http://127.0.0.1:80")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		b.Fatalf("%s gives %d: %s", path, w.Code, w.Body)
	}
}

// BenchmarkLabel labels a picture, as the page does with a key.
func BenchmarkLabel(b *testing.B) {
	s, h := largeStudio(b)
	for i := 0; b.Loop(); i++ {
		asked(b, s, h, "/api/label", map[string]any{"images": []int{i % many}, "label": fmt.Sprint(i % 8)})
	}
}

// BenchmarkSearch finds the 500 pictures that are most like one and least like another.
func BenchmarkSearch(b *testing.B) {
	s, h := largeStudio(b)
	for i := 0; b.Loop(); i++ {
		asked(b, s, h, "/api/search", map[string]any{"like": []int{i % many}, "unlike": []int{(i + 1) % many}})
	}
}

// BenchmarkFollow fits the classifier again after a label among 500 of 40 classes, predicts all
// pictures, and chooses what to label next.
func BenchmarkFollow(b *testing.B) {
	s, h := largeStudio(b)
	for i := range 500 {
		asked(b, s, h, "/api/label", map[string]any{"images": []int{i * 7}, "label": fmt.Sprint(i * 7 % 40)})
	}
	s.work.classifier.now.Store(s.work.fit(b.Context()))
	for i := 500; b.Loop(); i++ {
		asked(b, s, h, "/api/label", map[string]any{"images": []int{i * 7 % many}, "label": fmt.Sprint(i * 7 % 40)})
		s.work.classifier.now.Store(s.work.fit(b.Context()))
	}
}
