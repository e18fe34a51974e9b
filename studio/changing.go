package studio

import (
	"errors"
	"net/http"
	"slices"
)

func (s *Studio) getChanges(w http.ResponseWriter, r *http.Request) error {
	since, err := query(r, "since", 0)
	if err != nil {
		return err
	}
	return send(w, s.board.since(since))
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
