package studio

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"

	"moco/data"
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
		return 0, &refusal{http.StatusNotFound, fmt.Sprintf("there is no picture %.20q; the last one is %d", text, len(s.names)-1)}
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
		Epoch: s.epoch, Name: s.o.Name, Count: len(s.names), Unreadable: s.thumb.unreadable(),
		Vectors: s.work.features() != nil, LabelsFile: filepath.Base(s.o.Labels), LabelsPath: s.o.Labels, Work: s.work.progress(), Run: s.o.Run != "",
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

func (s *Studio) getChanges(w http.ResponseWriter, r *http.Request) error {
	since, err := query(r, "since", 0)
	if err != nil {
		return err
	}
	return send(w, s.board.since(since))
}

// facts are what is known of one picture.
type facts struct {
	Name       string   `json:"name"`
	Width      int      `json:"width"`
	Height     int      `json:"height"`
	Bytes      int64    `json:"bytes"`
	Label      string   `json:"label"`
	Truth      string   `json:"truth"`
	Decision   string   `json:"decision"`
	Prediction string   `json:"prediction"`
	Confidence *float32 `json:"confidence"`
	Second     string   `json:"second"`
	Cluster    int      `json:"cluster"`
}

func (s *Studio) getPictureFacts(w http.ResponseWriter, r *http.Request) error {
	i, err := s.number(r.PathValue("i"))
	if err != nil {
		return err
	}
	f := facts{Name: s.names[i], Cluster: -1}
	f.Label, f.Decision = s.board.of(i)
	if c := s.o.Data.Label(i); c >= 0 {
		f.Truth = s.o.Data.Classes()[c]
	}
	if f.Width, f.Height, err = s.o.Data.Size(i); err != nil {
		f.Width, f.Height = 0, 0
	}
	f.Bytes = s.o.Data.Bytes(i)
	f.Cluster = int(s.work.clusterOf(i))
	if t := s.work.classifier.now.Load(); t != nil {
		if p, ok := t.prediction(s.work.features(), i); ok {
			f.Prediction, f.Confidence, f.Second = t.c.Classes[p.Label], &p.Confidence, t.c.Classes[p.Second]
		}
	}
	return send(w, f)
}

// getThumb sends a thumbnail.
func (s *Studio) getThumb(w http.ResponseWriter, r *http.Request) error {
	i, err := s.number(r.PathValue("i"))
	if err != nil {
		return err
	}
	side, err := query(r, "s", 128)
	if err != nil {
		return err
	}
	if !slices.Contains(thumbnailSides, int(side)) {
		return refuse("s is %d, and thumbnails have %v pixels", side, thumbnailSides)
	}
	raw := s.thumb.kept(i, int(side))
	if raw == nil {
		if raw, err = s.decode(r, func() ([]byte, error) { return s.thumb.make(i, int(side)) }); err != nil {
			return s.sendBroken(w, err)
		}
	}
	return sendJPEG(w, raw)
}

// shownPixels is the longer side of a picture that is shown large.
const shownPixels = 1600

// getPicture sends a picture as large as a screen can use.
func (s *Studio) getPicture(w http.ResponseWriter, r *http.Request) error {
	i, err := s.number(r.PathValue("i"))
	if err != nil {
		return err
	}
	raw, err := s.decode(r, func() ([]byte, error) {
		how := data.Reading{}
		// A picture is reduced while it is decoded, which is faster and takes less memory.
		if width, height, err := s.o.Data.Size(i); err == nil && max(width, height) > shownPixels {
			how.Side = max(1, min(width, height)*shownPixels/max(width, height))
		}
		return s.thumb.draw(i, how, shownPixels)
	})
	if err != nil {
		return s.sendBroken(w, err)
	}
	return sendJPEG(w, raw)
}

// decode makes a picture for somebody who waits. No more than the machine has processors are made
// at once, so memory is bounded, and who has gone away is not served.
func (s *Studio) decode(r *http.Request, make func() ([]byte, error)) ([]byte, error) {
	select {
	case s.decoding <- struct{}{}:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	defer func() { <-s.decoding }()
	return make()
}

// sendBroken sends a picture in the place of one that cannot be read.
func (s *Studio) sendBroken(w http.ResponseWriter, err error) error {
	var bad *data.BadImage
	if !errors.As(err, &bad) {
		return err
	}
	w.Header().Set("X-Broken", url.PathEscape(bad.Err.Error()))
	return sendJPEG(w, brokenPicture())
}

// sendJPEG sends a picture, which the browser keeps.
func sendJPEG(w http.ResponseWriter, raw []byte) error {
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cache-Control", "private, max-age=86400")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	_, err := w.Write(raw)
	return err
}

// changeRequest is a request to change what is said of pictures.
type changeRequest struct {
	Images   []int32 `json:"images"`
	Label    string  `json:"label"`
	Decision string  `json:"decision"`
}

// readChange reads a request to change something.
func (s *Studio) readChange(w http.ResponseWriter, r *http.Request) (c changeRequest, err error) {
	if err = body(w, r, &c); err == nil {
		err = s.check(c.Images)
	}
	return c, err
}

// answerChange answers to a change that was made.
func (s *Studio) answerChange(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	s.changed()
	return send(w, s.board.tally())
}

func (s *Studio) postLabel(w http.ResponseWriter, r *http.Request) error {
	c, err := s.readChange(w, r)
	if err != nil {
		return err
	}
	name, err := className(c.Label)
	if err != nil {
		return refuse("%v", err)
	}
	return s.answerChange(w, s.board.label(r.Context(), c.Images, name))
}

func (s *Studio) postDecide(w http.ResponseWriter, r *http.Request) error {
	c, err := s.readChange(w, r)
	if err != nil {
		return err
	}
	if !slices.Contains(decisions, c.Decision) {
		return refuse("the decision %.40q is none of keep, drop, ok and \"\"", c.Decision)
	}
	return s.answerChange(w, s.board.decide(r.Context(), c.Images, c.Decision))
}

func (s *Studio) postUndo(w http.ResponseWriter, r *http.Request) error {
	return s.turnBack(w, r, false)
}
func (s *Studio) postRedo(w http.ResponseWriter, r *http.Request) error {
	return s.turnBack(w, r, true)
}

func (s *Studio) turnBack(w http.ResponseWriter, r *http.Request, again bool) error {
	images, err := s.board.turnBack(r.Context(), again)
	var nothing errNothing
	if errors.As(err, &nothing) {
		return &refusal{http.StatusConflict, nothing.Error()}
	}
	if err != nil {
		return err
	}
	s.changed()
	if images == nil {
		images = []int32{}
	}
	return send(w, struct {
		tally
		Images []int32 `json:"images"`
	}{s.board.tally(), images})
}

// postClass adds a class, or gives one another name.
func (s *Studio) postClass(w http.ResponseWriter, r *http.Request) error {
	var c struct {
		Name string  `json:"name"`
		To   *string `json:"to"`
	}
	if err := body(w, r, &c); err != nil {
		return err
	}
	name, err := className(c.Name)
	if err == nil && name == "" {
		err = errors.New("a class needs a name")
	}
	if err != nil {
		return refuse("%v", err)
	}
	if c.To == nil {
		s.board.add(name)
		return s.answerChange(w, nil)
	}
	to, err := className(*c.To)
	if err == nil && to == "" {
		err = errors.New("a class needs a name")
	}
	if err != nil {
		return refuse("%v", err)
	}
	return s.answerChange(w, s.board.rename(r.Context(), name, to))
}
