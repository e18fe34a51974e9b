package studio

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"moco/data"
)

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
