package classify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"moco/encoder"
	"moco/tensor"
)

// The notes that a classifier keeps with its probe.
const (
	temperatureNote = "temperature"
	strengthNote    = "c"
	estimateNote    = "estimate"
)

// ErrNoEncoder is the error of saving a classifier without saying which encoder's features it
// takes.
var ErrNoEncoder = errors.New("the classifier does not know which encoder its features come from, " +
	"and without that its file could be used with the wrong one")

// Save writes the classifier as the file of an encoder.Probe: weight and bias as safetensors, of
// which logits come that are calibrated already, and in the metadata the encoder, the classes, the
// temperature, C and the Estimate. So everything that takes a probe takes a classifier.
func (c *Classifier) Save(path string) error {
	if c.Encoder == "" || c.Layer == "" {
		return ErrNoEncoder
	}
	estimate, err := json.Marshal(c.Estimate)
	if err != nil {
		return err
	}
	p := c.Probe()
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	p.Notes = map[string]string{temperatureNote: number(c.Temperature), strengthNote: number(c.C),
		estimateNote: string(estimate)}
	return p.Save(path)
}

// Open reads a classifier that Save wrote, to be used with the encoder and layer that it was made
// for: see Check. A probe of another origin is one too, without calibration and estimate.
func Open(ctx context.Context, path string) (*Classifier, error) {
	p, err := encoder.LoadProbe(ctx, path)
	if err != nil {
		return nil, err
	}
	c, err := fromProbe(p)
	if err != nil {
		return nil, fmt.Errorf("open the classifier %s: %w", path, err)
	}
	return c, nil
}

// Check returns an error if the features of an encoder are not those that the classifier takes: an
// *encoder.OtherProbeError, for instance.
func (c *Classifier) Check(e *encoder.Encoder) error { return c.Probe().Check(e) }

// fromProbe makes a classifier of a probe.
func fromProbe(p *encoder.Probe) (*Classifier, error) {
	if len(p.Classes) < 2 {
		return nil, ErrFewClasses
	}
	c := &Classifier{Classes: p.Classes, Dim: p.Weight.Shape[1], Layer: p.Features, Encoder: p.Encoder, Temperature: 1,
		weight: p.Weight.Float32s(), bias: p.Bias.Float32s(), Estimate: Estimate{Interval: interval(0, 0)}}
	for i := range c.weight {
		c.weight[i] *= p.Scale
		if v := c.weight[i]; v-v != 0 {
			return nil, errors.New("its weights are not finite")
		}
	}
	for _, v := range c.bias {
		if v-v != 0 {
			return nil, errors.New("its weights are not finite")
		}
	}
	if text, ok := p.Notes[estimateNote]; ok {
		if err := json.Unmarshal([]byte(text), &c.Estimate); err != nil {
			return nil, fmt.Errorf("its estimate: %w", err)
		}
	}
	for note, to := range map[string]*float64{temperatureNote: &c.Temperature, strengthNote: &c.C} {
		text, ok := p.Notes[note]
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(v > 0) || math.IsInf(v, 1) {
			return nil, fmt.Errorf("its %s %q is no positive number", note, text)
		}
		*to = v
	}
	return c, nil
}

// Probe is the classifier as a linear probe, whose logits are calibrated: their softmax is what
// Probabilities gives.
func (c *Classifier) Probe() *encoder.Probe {
	p := &encoder.Probe{Weight: tensor.New(tensor.Float32, len(c.Classes), c.Dim),
		Bias: tensor.New(tensor.Float32, len(c.Classes)), Scale: 1, Features: c.Layer, Classes: c.Classes, Encoder: c.Encoder}
	copy(p.Weight.Float32s(), c.weight)
	copy(p.Bias.Float32s(), c.bias)
	return p
}
