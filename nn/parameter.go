package nn

import (
	"math"

	"moco/internal/rng"
	"moco/tensor"
)

// Parameter is a learned tensor: its name in torchvision or timm, its shape and its initialisation.
type Parameter struct {
	Name  string
	Shape tensor.Shape
	// Frozen parameters keep their initial values: they have no gradient and no optimizer state.
	Frozen bool
	// Decays is true of matrices and convolutions, and false of biases, norms, tokens and position
	// embeddings. Optimizers that let only matrices decay ask for it.
	Decays bool
	// Depth is 0 for what embeds the image (the stem, or patches and tokens), then the number of the
	// stage or block, counted from 1, and Config.Depth()+1 for the final norm and the head.
	Depth int
	start start
}

// Buffer is a batch norm's running statistic, [Channels].
type Buffer struct {
	Name     string
	Channels int
	Start    float32
}

// Initialise fills t with the parameter's initial values. They follow from the seed and the
// parameter's name alone.
func (p Parameter) Initialise(t *tensor.Tensor, seed uint64) {
	key := []uint64{seed}
	for _, b := range []byte(p.Name) {
		key = append(key, uint64(b))
	}
	r := rng.New(key...)
	p.start(&r, t.Float32s())
}

// start fills x with initial values.
type start func(r *rng.Source, x []float32)

func constant(v float32) start {
	return func(_ *rng.Source, x []float32) {
		for i := range x {
			x[i] = v
		}
	}
}

var zeros, ones = constant(0), constant(1)

func normal(deviation float64) start {
	return func(r *rng.Source, x []float32) {
		for i := range x {
			x[i] = float32(r.Normal() * deviation)
		}
	}
}

func uniform(bound float64) start {
	return func(r *rng.Source, x []float32) {
		for i := range x {
			x[i] = float32(r.Uniform(-bound, bound))
		}
	}
}

// kaimingNormal is N(0, 2/fanOut): torchvision's rule for a ResNet's convolutions.
func kaimingNormal(fanOut int) start { return normal(math.Sqrt(2 / float64(fanOut))) }

// kaimingUniform is U(-1/sqrt(fanIn), 1/sqrt(fanIn)): PyTorch's rule for linear layers and
// convolutions, and for their biases.
func kaimingUniform(fanIn int) start { return uniform(1 / math.Sqrt(float64(fanIn))) }

// xavierUniform is U(-b, b) with b = sqrt(6/(fanIn+fanOut)) (Glorot and Bengio 2010).
func xavierUniform(fanIn, fanOut int) start { return uniform(math.Sqrt(6 / float64(fanIn+fanOut))) }

// Parameters lists the encoder's parameters in the order of PyTorch's named_parameters.
func (c Config) Parameters() []Parameter { return c.walk().parameters }

// Buffers lists the running statistics in the order of PyTorch's named_buffers, without
// num_batches_tracked.
func (c Config) Buffers() []Buffer { return c.walk().buffers }

// Entry is a tensor of a state dict.
type Entry struct {
	Name  string
	Type  tensor.Type
	Shape tensor.Shape
}

// Counts tells whether the tensor is batch norm's num_batches_tracked. Only PyTorch uses it.
func (e Entry) Counts() bool { return e.Type == tensor.Int64 }

// Fits tells whether t, which may be nil, has the entry's type and shape.
func (e Entry) Fits(t *tensor.Tensor) bool {
	return t != nil && t.Type == e.Type && t.Shape.Equal(e.Shape)
}

// StateDict lists the encoder's tensors as PyTorch's state_dict() does, in the same order.
func (c Config) StateDict() []Entry { return c.walk().entries }
