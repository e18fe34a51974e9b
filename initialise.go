package moco

import (
	"fmt"
	"math"
	"slices"

	"moco/engine"
	"moco/internal/rng"
	"moco/nn"
	"moco/tensor"
)

// Each purpose has its own stream of the recipe's random numbers, so that none repeats another.
const (
	queueStream = 1 + iota // the keys that a queue starts with
	drawStream             // the keys that steps draw from a bank
	bankStream             // the features that a bank starts with
	dropStream             // the branches that drop path leaves out
)

// seeded is the stream of random numbers for one purpose of a recipe.
func (r *Recipe) seeded(purpose uint64) rng.Source { return rng.New(r.Seed, purpose) }

// Initialise writes the start of training to the variables of a Step that was compiled against s.
// The query encoder starts by the rules of package nn, the key encoder, if there is one, as its copy,
// and the dictionary full of random keys. All of it follows from the recipe's seed.
//
// trained, which may be nil, holds tensors of a trained encoder by the names of package nn. Both
// encoders then start with them.
func Initialise(r *Recipe, s engine.State, trained map[string]*tensor.Tensor) error {
	m, err := r.Mechanism()
	if err != nil {
		return err
	}
	sides := []side{query}
	if m.KeyEncoder() {
		sides = append(sides, key)
	}
	if err := initialiseEncoders(r, s, trained, sides...); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	if err := m.initialise(s); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	return nil
}

// InitialiseQuery is Initialise for a state that has only the query encoder, such as one that
// CompileFeatures made.
func InitialiseQuery(r *Recipe, s engine.State, trained map[string]*tensor.Tensor) error {
	if err := initialiseEncoders(r, s, trained, query); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	return nil
}

func initialiseEncoders(r *Recipe, s engine.State, trained map[string]*tensor.Tensor, sides ...side) error {
	write := func(name string, t *tensor.Tensor) error {
		if given := trained[name]; given != nil {
			t = given
		}
		for _, side := range sides {
			if err := s.Write(side.variable(name), t); err != nil {
				return err
			}
		}
		return nil
	}
	return writeStart(r.Seed, r.Encoder.Parameters(), r.Encoder.Buffers(), write)
}

// writeStart writes what parameters and running statistics start with.
func writeStart(seed uint64, parameters []nn.Parameter, buffers []nn.Buffer,
	write func(name string, t *tensor.Tensor) error) error {
	for _, p := range parameters {
		t := tensor.New(float, p.Shape...)
		p.Initialise(t, seed)
		if err := write(p.Name, t); err != nil {
			return err
		}
	}
	for _, b := range buffers {
		t := tensor.New(float, b.Channels)
		for i := range t.Float32s() {
			t.Float32s()[i] = b.Start
		}
		if err := write(b.Name, t); err != nil {
			return err
		}
	}
	return nil
}

// randomRows fills a matrix with directions drawn evenly from the sphere.
func randomRows(t *tensor.Tensor, random rng.Source) {
	dim := t.Shape[1]
	for row := range slices.Chunk(t.Float32s(), dim) {
		var square float64
		for i := range row {
			v := random.Normal()
			row[i] = float32(v)
			square += v * v
		}
		for i := range row {
			row[i] /= float32(math.Sqrt(square))
		}
	}
}
