package studio

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
)

// getColumn sends a number for each picture.
func (s *Studio) getColumn(w http.ResponseWriter, r *http.Request) error {
	switch of := r.PathValue("of"); of {
	case "label", "decision":
		now := s.board.snapshot()
		column := make([]int32, len(now.marks))
		for i, m := range now.marks {
			if column[i] = m.class; of == "decision" {
				column[i] = int32(m.decision) - 1
			}
		}
		if of == "decision" {
			return sendCategories(w, column, decisions[1:])
		}
		return sendCategories(w, column, now.classes)
	case "truth":
		if len(s.o.Data.Classes()) == 0 {
			return &refusal{http.StatusNotFound, "the pictures have no classes of their own"}
		}
		column := make([]int32, len(s.names))
		for i := range column {
			column[i] = int32(s.o.Data.Label(i))
		}
		return sendCategories(w, column, s.o.Data.Classes())
	case "prediction", "confidence":
		classes, class, confidence, err := s.predictionColumns()
		if err != nil {
			return &refusal{http.StatusNotFound, err.Error()}
		}
		if of == "prediction" {
			return sendCategories(w, class, classes)
		}
		return sendNumbers(w, confidence)
	case "cluster":
		return s.sendClusters(w)
	case "outlier":
		return s.sendOutliers(w)
	default:
		return &refusal{http.StatusNotFound, fmt.Sprintf("there is no column %.40q", of)}
	}
}

// sendClusters sends the cluster of each picture.
func (s *Studio) sendClusters(w http.ResponseWriter) error {
	of := s.work.clusters.Load()
	if of == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	column, names := make([]int32, len(s.names)), []string{}
	for i := range column {
		if column[i] = s.work.clusterOf(i); column[i] >= int32(len(names)) {
			for n := len(names); n <= int(column[i]); n++ {
				names = append(names, fmt.Sprint(n+1))
			}
		}
	}
	return sendCategories(w, column, names)
}

// sendOutliers sends how far each picture is from its neighbours.
func (s *Studio) sendOutliers(w http.ResponseWriter) error {
	score, f := s.work.outliers.Load(), s.work.features()
	if score == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	column := make([]float32, len(s.names))
	for i := range column {
		if column[i] = float32(math.NaN()); f.row[i] >= 0 {
			column[i] = (*score)[f.row[i]]
		}
	}
	return sendNumbers(w, column)
}

// getLayout sends the place of each picture on the map; NaN where it has none.
func (s *Studio) getLayout(w http.ResponseWriter, r *http.Request) error {
	points, f := s.work.layout.Load(), s.work.features()
	if points == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	w.Header().Set("ETag", `"`+f.hash[:16]+`"`)
	w.Header().Set("Cache-Control", "private, no-cache")
	if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	places := make([]float32, 2*len(s.names))
	for i := range s.names {
		x, y := float32(math.NaN()), float32(math.NaN())
		if row := f.row[i]; row >= 0 {
			x, y = (*points)[row].X, (*points)[row].Y
		}
		places[2*i], places[2*i+1] = x, y
	}
	return sendBinary(w, places)
}

// sendNumbers sends a number for each picture, NaN for none.
func sendNumbers(w http.ResponseWriter, column []float32) error {
	w.Header().Set("X-Kind", "number")
	return sendBinary(w, column)
}

// sendCategories sends a category for each picture, -1 for none.
func sendCategories(w http.ResponseWriter, column []int32, categories []string) error {
	if categories == nil {
		categories = []string{}
	}
	names, err := json.Marshal(categories)
	if err != nil {
		return err
	}
	w.Header().Set("X-Kind", "category")
	w.Header().Set("X-Categories", url.PathEscape(string(names)))
	return sendBinary(w, column)
}

// sendBinary sends 32-bit values, the lowest byte first.
func sendBinary[T int32 | float32](w http.ResponseWriter, values []T) error {
	raw := make([]byte, 4*len(values))
	for i, v := range values {
		bits := uint32(0)
		switch v := any(v).(type) {
		case int32:
			bits = uint32(v)
		case float32:
			bits = math.Float32bits(v)
		}
		binary.LittleEndian.PutUint32(raw[4*i:], bits)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, err := w.Write(raw)
	return err
}
