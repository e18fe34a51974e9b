package vectordb

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"moco/vectors"
)

// stand is a stand-in for the part of Qdrant's REST interface that a transfer uses. It holds one
// collection in memory, its points by ID. Requests and answers follow Qdrant's documentation.
type stand struct {
	mu     sync.Mutex
	key    string // the key that it asks for
	size   int    // 0: there is no collection
	points map[string]point
	broken bool // refuses points
	puts   int  // number of requests that wrote points
}

func (s *stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(code int, result any, status any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(map[string]any{"result": result, "status": status, "time": 0.001})
	}
	fail := func(code int, reason string) { answer(code, nil, map[string]any{"error": reason}) }
	if s.key != "" && r.Header.Get("api-key") != s.key {
		fail(http.StatusUnauthorized, "Must provide an API key")
		return
	}
	var body struct {
		Vectors vectorParams
		Points  []point
	}
	if r.Method == http.MethodPut {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
	}
	switch r.Method + " " + r.URL.RequestURI() {
	case "GET /collections/my%20pictures/exists":
		answer(http.StatusOK, map[string]bool{"exists": s.size > 0}, "ok")
	case "PUT /collections/my%20pictures":
		s.size = body.Vectors.Size
		if body.Vectors.Distance != "Cosine" {
			fail(http.StatusBadRequest, "distance "+body.Vectors.Distance)
			return
		}
		answer(http.StatusOK, true, "ok")
	case "GET /collections/my%20pictures":
		params := map[string]any{"vectors": map[string]any{"size": s.size, "distance": "Cosine"}, "shard_number": 1}
		answer(http.StatusOK, map[string]any{"status": "green", "config": map[string]any{"params": params}}, "ok")
	case "PUT /collections/my%20pictures/points?wait=true":
		for _, p := range body.Points {
			if s.broken || len(p.Vector) != s.size {
				fail(http.StatusBadRequest, fmt.Sprintf("Wrong input: Vector dimension error: expected dim: %d", s.size))
				return
			}
			s.points[p.ID] = p
		}
		s.puts++
		answer(http.StatusOK, map[string]any{"operation_id": 0, "status": "completed"}, "ok")
	default:
		fail(http.StatusNotFound, "no such path: "+r.URL.RequestURI())
	}
}

// TestQdrant runs the client against a stand-in that speaks the protocol, not against a real
// server.
func TestQdrant(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := &stand{key: "se cret", points: map[string]point{}}
	server := httptest.NewServer(s)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	address := "qdrant://:se%20cret@" + host + "/my%20pictures"
	for range 2 { // the second time replaces the rows
		d, err := Open(ctx, address, 2)
		if err != nil {
			t.Fatal(err)
		}
		rows := []vectors.Row{{Path: "a", Label: "cat", Vector: []float32{1, 0}}, {Path: "b", Vector: []float32{0, 1}}}
		if err := d.Put(ctx, rows); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s.size != 2 || len(s.points) != 2 {
		t.Errorf("%d points of %d numbers, want 2 of 2", len(s.points), s.size)
	}
	for _, p := range s.points {
		label, labelled := p.Payload["label"]
		if path := p.Payload["path"]; labelled != (path == "a") || label != map[string]string{"a": "cat"}[path] ||
			len(p.Vector) != 2 {
			t.Errorf("the point %s is %+v", path, p)
		}
	}
	if _, err := Open(ctx, address, 3); err == nil || !strings.Contains(err.Error(), "vectors of 2 numbers") {
		t.Errorf("vectors of another length: %v", err)
	}
	_, err := Open(ctx, "qdrant://"+host+"/my%20pictures", 2)
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized: Must provide an API key") {
		t.Errorf("without the key: %v", err)
	}
	if _, err := Open(ctx, address+"?tls=true", 2); err == nil || strings.Contains(err.Error(), "cret") {
		t.Errorf("TLS with a server that speaks none: %v", err)
	}
	d, err := Open(ctx, address, 2)
	if err != nil {
		t.Fatal(err)
	}
	long := []vectors.Row{{Path: "d", Vector: make([]float32, numbersAtOnce)},
		{Path: "e", Vector: make([]float32, numbersAtOnce)}}
	s.mu.Lock()
	size, before := s.size, s.puts
	s.size = numbersAtOnce
	s.mu.Unlock()
	if err := d.Put(ctx, long); err != nil || s.puts != before+2 {
		t.Errorf("rows too long for one request: %v, in %d requests", err, s.puts-before)
	}
	s.mu.Lock()
	s.broken, s.size = true, size
	s.mu.Unlock()
	if err := d.Put(ctx, []vectors.Row{{Path: "c", Vector: []float32{1, 0}}}); err == nil ||
		!strings.Contains(err.Error(), "Vector dimension error") {
		t.Errorf("a refused point: %v", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.Put(stopped, []vectors.Row{{Path: "c", Vector: []float32{1, 0}}}); err == nil ||
		!strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("a stopped transfer: %v", err)
	}
}

// TestNoQdrant: the server that answers may not be Qdrant.
func TestNoQdrant(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]http.HandlerFunc{
		"none of Qdrant's": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") },
		"404 Not Found":    http.NotFound,
	} {
		server := httptest.NewServer(h)
		defer server.Close()
		_, err := Open(context.Background(), "qdrant://"+strings.TrimPrefix(server.URL, "http://")+"/x", 2)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	_, err := Open(context.Background(), "qdrant://127.0.0.1:6334/x", 2)
	if err == nil || !strings.Contains(err.Error(), "6333") {
		t.Errorf("gRPC's port: %v", err)
	}
}

// TestPointID: the IDs are those of earlier versions, and of Python's uuid module.
func TestPointID(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":           "de46ea89-c324-5b25-96db-7523b21e3ec9",
		"a":          "5cffd6c6-0bde-597e-84ec-4b017c5990f2",
		"cat/1.png":  "43abe1d0-8d9e-5514-b144-5ace6a34f3e6",
		"\u00e9\x00": "9fc8cba1-dcc6-53b4-9cdf-06999df2ee90",
	} {
		if got := pointID(path); got != want {
			t.Errorf("the ID of %q is %s, want %s", path, got, want)
		}
	}
}
