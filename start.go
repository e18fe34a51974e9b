package moco

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"moco/engine"
)

// InitialiseFrom is Initialise, but that the encoder starts from a trained one: its backbone, running statistics too, and, where training is
// contrastive and the two heads have one shape, its head. The key encoder, if there is one, starts as the copy. A classifier's head is always new.
func InitialiseFrom(r *Recipe, s engine.State, start *Encoder) error {
	if err := r.CheckStart(start); err != nil {
		return err
	}
	if err := Initialise(r, s); err != nil {
		return err
	}
	a, b := r.Encoder, start.Recipe.Encoder
	head := r.Objective == "contrastive" && a.Head == b.Head && a.Dim == b.Dim
	var names []string
	for _, p := range a.Parameters() {
		if head || !strings.HasPrefix(p.Name, "fc.") {
			names = append(names, p.Name)
		}
	}
	for _, b := range a.Buffers() {
		names = append(names, b.Name)
	}
	encoders := []string{"encoder_q."}
	if r.Objective == "contrastive" && r.Dictionary == "queue" {
		encoders = append(encoders, "encoder_k.")
	}
	for _, name := range names {
		t, err := start.state.Read("encoder_q." + name)
		if err != nil {
			return fmt.Errorf("initialise: %w", err)
		}
		for _, encoder := range encoders {
			if err := s.Write(encoder+name, t); err != nil {
				return fmt.Errorf("initialise: %w", err)
			}
		}
	}
	return nil
}

// CheckStart says whether training by r can start from an encoder: it must be the one that the recipe was begun with, if it names one, and
// have its backbone.
func (r *Recipe) CheckStart(start *Encoder) error {
	a, b := r.Encoder, start.Recipe.Encoder
	switch {
	case start.SHA256 == "":
		return errors.New("start: an encoder that was not opened from a file cannot be named in the recipe; save it first")
	case r.Start != "" && r.Start != start.SHA256:
		return fmt.Errorf("start: the recipe starts from an encoder with the SHA-256 %s, and this one has %s", r.Start, start.SHA256)
	case a.Arch != b.Arch || a.Stem != b.Stem || a.Width != b.Width || !slices.Equal(a.Layers, b.Layers):
		return fmt.Errorf("start: the encoder to start from is a %s with %s stem and width %v, and the recipe has %s, %s, %v; set encoder.arch, encoder.stem and encoder.width to the former",
			b.Arch, b.Stem, b.Width, a.Arch, a.Stem, a.Width)
	}
	return nil
}
