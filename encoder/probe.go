package encoder

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"

	"moco/tensor"
	"moco/weights"
)

// Probe is a linear classifier on the features of a frozen encoder (He et al. 2020, Sec. 4.1). The
// logits of features x of length one are Weight*(Scale*x) + Bias.
type Probe struct {
	Weight, Bias *tensor.Tensor // float32 [classes, dim], [classes]
	Scale        float32
	Features     Layer // the layer that it takes
	Classes      []string
	Encoder      string // SHA-256 of the encoder's file
	// Notes are further metadata, of whoever made the probe: package classify keeps there that the
	// logits are calibrated, and what accuracy to expect. They may be nil.
	Notes map[string]string
}

// OtherProbeError is the error of a linear probe that was trained on another encoder's features.
// Probe and Encoder are SHA-256 sums: of the encoder that the probe belongs to, and of this
// encoder.
type OtherProbeError struct{ Probe, Encoder string }

func (e *OtherProbeError) Error() string {
	return fmt.Sprintf("the probe belongs to another encoder: that has the SHA-256 %s, this one %s", e.Probe, e.Encoder)
}

// Check returns an error if the probe does not belong to an encoder: an *OtherProbeError, or that
// of features of another length.
func (p *Probe) Check(e *Encoder) error {
	if p.Encoder != e.SHA256 {
		return &OtherProbeError{Probe: p.Encoder, Encoder: e.SHA256}
	}
	want, err := e.DimOf(p.Features)
	if err != nil {
		return err
	}
	if dim := p.Weight.Shape[1]; dim != want {
		return fmt.Errorf("the probe takes features of %d numbers, and this encoder's %s gives %d", dim, p.Features, want)
	}
	return nil
}

// ErrNoProbe is the error of a file that holds no linear probe.
var ErrNoProbe = errors.New("it is no linear probe")

// probeKind marks a probe's file in its metadata.
const probeKind = "linear probe"

// probeKeys are the metadata that a probe itself has.
var probeKeys = []string{"format", "kind", "features", "encoder", "scale", "classes"}

// Save writes the probe as safetensors: the tensors "weight" and "bias", and in the metadata all
// that computing logits from features needs. It refuses a probe that has diverged.
func (p *Probe) Save(path string) error {
	for _, v := range slices.Concat(p.Weight.Float32s(), p.Bias.Float32s()) {
		if v-v != 0 {
			return errors.New("the classifier has diverged and is not worth keeping; train it with smaller rates")
		}
	}
	classes, err := json.Marshal(p.Classes)
	if err != nil {
		return err
	}
	metadata := map[string]string{}
	maps.Copy(metadata, p.Notes)
	maps.Copy(metadata, map[string]string{"format": "pt", "kind": probeKind, "features": string(p.Features),
		"encoder": p.Encoder, "scale": strconv.FormatFloat(float64(p.Scale), 'f', -1, 32), "classes": string(classes)})
	_, err = weights.Save(path, &weights.File{
		Tensors:  []weights.Named{{Name: "weight", Tensor: p.Weight}, {Name: "bias", Tensor: p.Bias}},
		Metadata: metadata,
	})
	return err
}

// LoadProbe reads a file that Save wrote. The error is ErrNoProbe for another file of weights.
func LoadProbe(ctx context.Context, path string) (*Probe, error) {
	f, err := weights.Load(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open the probe: %w", err)
	}
	p, err := probeOf(f)
	if err != nil {
		return nil, fmt.Errorf("open the probe %s: %w", path, err)
	}
	return p, nil
}

// IsProbe tells whether a file is a probe, by the metadata at its beginning.
func IsProbe(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const most = 1 << 20
	var length uint64
	if err := binary.Read(f, binary.LittleEndian, &length); err != nil || length > most {
		return false
	}
	var head struct {
		Metadata struct {
			Kind string `json:"kind"`
		} `json:"__metadata__"`
	}
	raw, err := io.ReadAll(io.LimitReader(f, int64(length)))
	return err == nil && json.Unmarshal(raw, &head) == nil && head.Metadata.Kind == probeKind
}

func probeOf(f *weights.File) (*Probe, error) {
	m := f.Metadata
	if m["kind"] != probeKind {
		return nil, ErrNoProbe
	}
	p := &Probe{Weight: f.Get("weight"), Bias: f.Get("bias"), Features: Layer(m["features"]), Encoder: m["encoder"]}
	for key, value := range m {
		if !slices.Contains(probeKeys, key) {
			if p.Notes == nil {
				p.Notes = map[string]string{}
			}
			p.Notes[key] = value
		}
	}
	scale, err := strconv.ParseFloat(m["scale"], 32)
	if p.Scale = float32(scale); err != nil || !(math.Abs(scale) <= math.MaxFloat32) {
		return nil, fmt.Errorf("its scale %q is no number", m["scale"])
	}
	if err := json.Unmarshal([]byte(m["classes"]), &p.Classes); err != nil {
		return nil, fmt.Errorf("its list of classes: %w", err)
	}
	if p.Features != Head && p.Features != Backbone {
		return nil, fmt.Errorf("its features are %q; there are head and backbone", p.Features)
	}
	for _, t := range []*tensor.Tensor{p.Weight, p.Bias} {
		if t == nil || t.Type != tensor.Float32 {
			return nil, errors.New("it lacks the float32 tensors weight and bias")
		}
	}
	if n := len(p.Classes); n == 0 || len(p.Weight.Shape) != 2 || p.Weight.Shape[0] != n ||
		!p.Bias.Shape.Equal(tensor.Shape{n}) {
		return nil, fmt.Errorf("weight is %v and bias %v, which do not fit %d classes", p.Weight.Shape, p.Bias.Shape, n)
	}
	return p, nil
}
