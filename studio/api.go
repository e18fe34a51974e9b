package studio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
)

// The most that a request may hold.
const (
	maxJSON    = 8 << 20
	maxPicture = 32 << 20
)

// handler answers requests at an address.
func (s *Studio) handler(at net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", s.page)
	for pattern, f := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"GET /api/state":            s.getState,
		"GET /api/names":            s.getNames,
		"GET /api/column/{of}":      s.getColumn,
		"GET /api/layout":           s.getLayout,
		"GET /api/classifier":       s.getClassifier,
		"GET /api/run":              s.getRun,
		"GET /api/export/{file}":    s.getExport,
		"POST /api/export/links":    s.postLinks,
		"GET /api/clean/duplicates": s.getDuplicates,
		"GET /api/clean/outliers":   s.getOutliers,
		"GET /api/clean/doubtful":   s.getDoubtful,
		"POST /api/search":          s.postSearch,
		"POST /api/search/picture":  s.postSearchPicture,
		"GET /api/changes":          s.getChanges,
		"GET /api/picture/{i}":      s.getPictureFacts,
		"GET /thumb/{i}":            s.getThumb,
		"GET /picture/{i}":          s.getPicture,
		"POST /api/label":           s.postLabel,
		"POST /api/accept":          s.postAccept,
		"POST /api/decide":          s.postDecide,
		"POST /api/undo":            s.postUndo,
		"POST /api/redo":            s.postRedo,
		"POST /api/class":           s.postClass,
	} {
		mux.Handle(pattern, answer(f))
	}
	mux.HandleFunc("GET /api/events", s.hub.serve)
	mux.Handle("GET /api/", answer(func(http.ResponseWriter, *http.Request) error {
		return &refusal{http.StatusNotFound, "there is nothing of that name and method"}
	}))
	return newGuard(s.o.Token, at, mux)
}

// refusal is an error with the status that it has in HTTP.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// refuse is a refusal of a request that makes no sense.
func refuse(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// answer makes a handler of a function that may fail.
func answer(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		var no *refusal
		var large *http.MaxBytesError
		switch {
		case err == nil || r.Context().Err() != nil:
		case errors.As(err, &no):
			fail(w, no.status, no.text)
		case errors.As(err, &large):
			fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", large.Limit))
		default:
			fail(w, http.StatusInternalServerError, err.Error())
		}
	})
}

// fail answers with an error.
func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text})
}

// send answers with a value as JSON.
func send(w http.ResponseWriter, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(raw)
	return err
}

// body reads a request's JSON.
func body(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(v); err != nil {
		return refuse("the request is no JSON of the right form: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse("the request holds more than one value")
	}
	return nil
}

// number reads a picture's number.
func (s *Studio) number(text string) (int, error) {
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 || i >= len(s.names) {
		return 0, &refusal{http.StatusNotFound,
			fmt.Sprintf("there is no picture %.20q; the last one is %d", text, len(s.names)-1)}
	}
	return i, nil
}

// check refuses pictures that are not there.
func (s *Studio) check(images []int32) error {
	for _, i := range images {
		if i < 0 || int(i) >= len(s.names) {
			return refuse("there is no picture %d; the last one is %d", i, len(s.names)-1)
		}
	}
	return nil
}

// query reads a whole number of the address, or a default where it is missing.
func query(r *http.Request, name string, otherwise int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, refuse("%s is %.40q, which is no whole number", name, text)
	}
	return v, nil
}

// state is what a page begins with.
type state struct {
	Epoch      string              `json:"epoch"`
	Name       string              `json:"name"`
	Count      int                 `json:"count"`
	Unreadable int                 `json:"unreadable"`
	Model      *string             `json:"model"`
	Vectors    bool                `json:"vectors"`
	LabelsFile string              `json:"labels_file"`
	LabelsPath string              `json:"labels_path"`
	Work       map[string]progress `json:"work"`
	Advice     string              `json:"advice"`
	Run        bool                `json:"run"`
	tally
}

func (s *Studio) getState(w http.ResponseWriter, _ *http.Request) error {
	st := state{
		Epoch: s.epoch, Name: s.o.Name, Count: len(s.names), Unreadable: s.unreadable(),
		Vectors: s.work.features() != nil, LabelsFile: filepath.Base(s.o.Labels), LabelsPath: s.o.Labels,
		Work: s.work.progress(), Run: s.o.Run != "",
		tally: s.board.tally(),
	}
	if s.o.Model != "" {
		st.Model = &s.o.Model
	}
	if s.o.Encoder == nil && s.o.Vectors == "" {
		st.Advice = s.o.Advice
	}
	return send(w, st)
}

// unreadable is how many pictures are known to be unreadable: all of them, once the features are made
// here, and before that those that were looked at.
func (s *Studio) unreadable() int {
	n := s.thumb.unreadable()
	if f := s.work.features(); f != nil && s.o.Vectors == "" {
		n = max(n, f.Bad)
	}
	return n
}

// maxNames is the most names that one answer holds.
const maxNames = 5000

func (s *Studio) getNames(w http.ResponseWriter, r *http.Request) error {
	from, err := query(r, "from", 0)
	if err != nil {
		return err
	}
	count, err := query(r, "count", 500)
	if err != nil {
		return err
	}
	if from < 0 || count < 0 {
		return refuse("from and count are not negative")
	}
	from = min(from, int64(len(s.names)))
	to := min(from+min(count, maxNames), int64(len(s.names)))
	return send(w, map[string][]string{"names": s.names[from:to]})
}
