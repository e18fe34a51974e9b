package encoder

import (
	"errors"
	"fmt"

	"moco"
	"moco/nn"
	"moco/tensor"
)

// Start returns the tensors with which training by r starts from this encoder (moco.Initialise):
// the backbone with its running statistics, and the head if training is contrastive and the two
// heads have one shape. A classifier's head is always new.
func (e *Encoder) Start(r *moco.Recipe) (map[string]*tensor.Tensor, error) {
	if err := e.CheckStart(r); err != nil {
		return nil, err
	}
	m, err := r.Mechanism()
	if err != nil {
		return nil, err
	}
	a, b := r.Encoder, e.Recipe.Encoder
	head := !m.Classifier() && a.SameHead(b)
	start := map[string]*tensor.Tensor{}
	for _, n := range e.Weights.Tensors {
		if n.Tensor.Type == tensor.Float32 && (head || !nn.OfHead(n.Name)) {
			start[n.Name] = n.Tensor
		}
	}
	return start, nil
}

// CheckStart returns an error if training by r cannot start from this encoder. The encoder must
// have the recipe's backbone and, if the recipe names the encoder that it began with, be that one.
func (e *Encoder) CheckStart(r *moco.Recipe) error {
	a, b := r.Encoder, e.Recipe.Encoder
	switch {
	case e.SHA256 == "":
		return errors.New("start: an encoder that was not opened from a file cannot be named in the recipe; save it first")
	case r.Start != "" && r.Start != e.SHA256:
		return fmt.Errorf("start: the recipe starts from an encoder with the SHA-256 %s, and this one has %s",
			r.Start, e.SHA256)
	}
	if err := b.SameBackbone(a); err != nil {
		return fmt.Errorf("start: the encoder to start from is a %w, as the recipe says; "+
			"give encoder.arch and the other keys of encoder the former's values", err)
	}
	return nil
}
