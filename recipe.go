package moco

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"moco/augment"
	"moco/data"
	"moco/nn"
	"moco/optim"
	"moco/picture"
)

// Recipe is everything that decides what a run learns, except for the images. Its keys in YAML are
// the names in the tags. Package recipe reads and writes it as a file.
type Recipe struct {
	Objective  string    `yaml:"objective"`           // contrastive, or supervised: cross-entropy with labels
	Encoder    nn.Config `yaml:"encoder"`             // f_q and f_k
	Dictionary string    `yaml:"dictionary"`          // queue (MoCo), batch (end-to-end), bank (memory bank) or momentum_batch (MoCo v3)
	Loss       string    `yaml:"loss"`                // info_nce; nt_xent or dcl with a batch; nce or softmax with a bank
	Predictor  Predictor `yaml:"predictor,omitempty"` // of a momentum batch's queries

	Queue          int     `yaml:"queue"`           // K, the number of keys: of the queue, or drawn from the bank (0: all)
	Momentum       float64 `yaml:"m"`               // of the momentum encoder
	MomentumEnd    float64 `yaml:"m_end,omitempty"` // m rises to it along a cosine; 0: m stays
	Temperature    float64 `yaml:"t"`               // of the softmax
	TemperatureEnd float64 `yaml:"t_end,omitempty"` // t goes to it along a cosine; 0: t stays
	Symmetric      bool    `yaml:"symmetric"`       // each view is query and key in turn
	BNSplits       int     `yaml:"bn_splits"`       // parts of a batch with batch-norm statistics of their own
	// Replicas is the number of equal shares of a batch that are learned from side by side, on as many
	// processes as there are, or in turn. Each has batch-norm statistics of its own.
	Replicas      int     `yaml:"replicas"`
	ShuffleBN     bool    `yaml:"shuffle_bn"`       // keys are encoded in another order than queries
	MaskSameImage bool    `yaml:"mask_same_image"`  // another view of the query's image is no negative
	Accumulate    int     `yaml:"accumulate"`       // parts in which a batch is encoded, through the loss
	Mix           float64 `yaml:"mix"`              // share of the old feature in a bank's new one
	Z             string  `yaml:"z"`                // nce's constant: ema (averaged over steps), or frozen from the first step
	BankPrecision string  `yaml:"bank_precision"`   // fp32 or bf16
	Images        int     `yaml:"images,omitempty"` // in the bank; the data say

	// Positives says what a positive pair is: two views of an image (views), of two frames of a video
	// (frames), or of two images of a group (pairs).
	Positives string `yaml:"positives"`
	MaxGap    int    `yaml:"max_gap,omitempty"` // most frames between the two of a video; 0: anywhere in it
	Views     Views  `yaml:"views"`

	Precision   string  `yaml:"precision"` // of activations and products, fp32 or bf16; all else is float32
	Batch       int     `yaml:"batch"`
	DropLast    bool    `yaml:"drop_last"` // leave out the images at an epoch's end that do not fill a batch
	Epochs      Epochs  `yaml:"epochs"`
	LR          float64 `yaml:"lr"`
	Schedule    string  `yaml:"schedule"`             // cosine, cosine_after_warmup or step
	Milestones  []int   `yaml:"milestones,omitempty"` // epochs at which "step" divides the rate by ten
	Warmup      float64 `yaml:"warmup"`               // epochs of linear warm-up
	Optimizer   string  `yaml:"optimizer"`            // sgd, lars, muon or adamw
	SGDMomentum float64 `yaml:"sgd_momentum"`         // of sgd, lars and muon
	// Betas are adamw's shares of the old moments in the new ones; nil is 0.9 and 0.999.
	Betas       []float64 `yaml:"betas,omitempty"`
	WeightDecay float64   `yaml:"weight_decay"`
	// LayerDecay multiplies the learning rate once for each layer between a parameter and the head: for
	// fine-tuning. 0 is the same rate for all.
	LayerDecay float64 `yaml:"layer_decay,omitempty"`

	Seed            uint64  `yaml:"seed"`
	Start           string  `yaml:"start,omitempty"`  // SHA-256 of the encoder that training starts from; empty: random weights
	CheckpointEvery int     `yaml:"checkpoint_every"` // steps; an epoch's end is always one
	MaxBad          float64 `yaml:"max_bad"`          // share of the images that may be unreadable
}

// Epochs is a length of training in passes over the images. It may end within a pass: 2.5 is two and a
// half.
type Epochs float64

// String writes whole epochs without a fraction.
func (e Epochs) String() string { return strconv.FormatFloat(float64(e), 'f', -1, 64) }

// MarshalYAML writes e as String does: the YAML library would make 200.0 of 200.
func (e Epochs) MarshalYAML() ([]byte, error) { return []byte(e.String()), nil }

// Steps is the number of steps that e takes, at least one.
func (e Epochs) Steps(perEpoch int) int { return max(1, int(math.Round(float64(e)*float64(perEpoch)))) }

// Views says how the views of an image are made.
type Views struct {
	Policy   string `yaml:"policy" json:"policy"`                           // v1, v2, v3, cifar, shapes or flip
	Size     int    `yaml:"size" json:"size"`                               // pixels a side of pictures that are encoded
	CropOnly bool   `yaml:"crop_only,omitempty" json:"crop_only,omitempty"` // only the policy's crop and flip, to learn from labels
	// TrainSizes are the sizes of views in equal stretches of training, rising to at most Size; empty is
	// Size throughout. Small views cost less, and the first steps learn as much from them (progressive
	// resizing). The last ones may be smaller than Size, too: a random crop, enlarged, shows things
	// larger than the whole picture does, which the encoder later sees (Touvron et al. 2019, FixRes).
	TrainSizes []int `yaml:"train_sizes,omitempty" json:"train_sizes,omitempty"`
	// PerImage is the number of views that are drawn of each image; 0 is two. With the loss dcl there
	// may be more: each view's positive is then the mean of the image's others.
	PerImage int `yaml:"per_image,omitempty" json:"per_image,omitempty"`
	// CropMin is the least share of the image's area that a view covers. 0 is the policy's own.
	CropMin float64 `yaml:"crop_min,omitempty" json:"crop_min,omitempty"`
	// From is the shorter side, in pixels, that larger pictures are reduced to before views are drawn.
	// 0 is the rule: two and a quarter times Size.
	From int `yaml:"from,omitempty" json:"from,omitempty"`
	// Ground is what transparent pixels are laid on: white, black, #rrggbb, or drop, which leaves
	// transparency out. Empty is white.
	Ground string `yaml:"ground,omitempty" json:"ground,omitempty"`
	// Normalise is imagenet, cifar or half (from -1 to 1): mean and deviation of each channel. Empty
	// is the policy's own.
	Normalise string `yaml:"normalise,omitempty" json:"normalise,omitempty"`
	// Resize is bicubic where the plain view of evaluation is resized so; empty or bilinear: as
	// views in training are.
	Resize string `yaml:"resize,omitempty" json:"resize,omitempty"`
}

// Reading is how pictures are read before views are drawn: reduced, and on a ground.
func (v Views) Reading() (data.Reading, error) {
	r := data.Reading{Side: v.From}
	if r.Side == 0 {
		r.Side = (9*v.Size + 2) / 4 // rounded, a half up
	}
	if v.Ground == "" {
		return r, nil
	}
	var err error
	if r.Ground, err = picture.ParseGround(v.Ground); err != nil {
		return r, fmt.Errorf("views.ground: %w", err)
	}
	return r, nil
}

// Sizes are the sizes of views in equal stretches of training.
func (v Views) Sizes() []int {
	if len(v.TrainSizes) > 0 {
		return v.TrainSizes
	}
	return []int{v.Size}
}

// Largest is the size of the largest views in training.
func (v Views) Largest() int { return slices.Max(v.Sizes()) }

// maxPerImage bounds the views of an image: a step's graph grows with them.
const maxPerImage = 16

// Count is the number of views that are drawn of each image.
func (v Views) Count() int { return max(2, v.PerImage) }

// SizeAt is the size of views when a share of the training is done, 0 to 1.
func (v Views) SizeAt(progress float64) int {
	sizes := v.Sizes()
	return sizes[min(int(progress*float64(len(sizes))), len(sizes)-1)]
}

// Drawn is the policy by which views are drawn: the named one at the size, or only its crop and
// flip, with its own normalisation or the named one.
func (v Views) Drawn() (augment.Policy, error) {
	p, err := augment.Named(v.Policy, v.Size)
	if v.CropMin != 0 {
		p.MinScale = v.CropMin
	}
	if v.CropOnly {
		p = p.CropAndFlip()
	}
	p.Bicubic = v.Resize == "bicubic"
	if v.Resize != "" && !p.Bicubic && v.Resize != "bilinear" {
		err = errors.Join(err, fmt.Errorf("views.resize: %q is not known; there are bilinear and bicubic", v.Resize))
	}
	if err != nil || v.Normalise == "" {
		return p, err
	}
	n, err := augment.NormalisedBy(v.Normalise)
	p.Mean, p.Std = n.Mean, n.Std
	return p, err
}

// Grouped tells whether a positive pair is of two images of one group, a video or a group of pairs,
// rather than of two views of one image.
func (r *Recipe) Grouped() bool { return r.Positives == "frames" || r.Positives == "pairs" }

// Masks tells whether negatives leave out keys of the query's own image or, where positives are
// grouped, of its group. A group's keys are always left out: another frame of the same video is not
// a negative.
func (r *Recipe) Masks() bool { return r.MaskSameImage || r.Grouped() }

// Default is the recipe that others start from: MoCo v1's values where the paper gives them.
func Default() Recipe {
	return Recipe{
		Objective: "contrastive", Dictionary: "queue", Loss: "info_nce",
		Encoder:   nn.Config{Arch: "resnet50", Stem: "imagenet", Width: 1, Dim: 128, Head: "linear"},
		Positives: "views",
		Queue:     65536, Momentum: 0.999, Temperature: 0.07, BNSplits: 8, Replicas: 1, ShuffleBN: true,
		Accumulate: 1, Mix: 0.5, Z: "ema", BankPrecision: "fp32", Optimizer: "sgd",
		Views:     Views{Policy: "v1", Size: 224},
		Precision: "fp32", Batch: 256, DropLast: true,
		Epochs: 200, LR: 0.03, Schedule: "cosine", SGDMomentum: 0.9, WeightDecay: 1e-4,
		CheckpointEvery: 1000, MaxBad: 0.01,
	}
}

// parts is the number of parts of a batch with batch-norm statistics of their own: a replica is at
// least one.
func (r *Recipe) parts() int { return max(r.BNSplits, r.Replicas) }

// BatchUnit is what the size of every batch must be a multiple of.
func (r *Recipe) BatchUnit() int { return max(r.parts(), r.Accumulate) }

// schedule is the recipe's learning-rate schedule.
func (r *Recipe) schedule() optim.Schedule {
	return optim.Schedule{Kind: r.Schedule, Epochs: float64(r.Epochs), Warmup: r.Warmup, Milestones: r.Milestones}
}

// ForSize is the recipe in a stretch of training whose views have a size.
func (r *Recipe) ForSize(size int) *Recipe {
	of := *r
	of.Views.Size, of.Views.TrainSizes = size, nil
	return &of
}

// Rate is the learning rate at a time counted in epochs.
func (r *Recipe) Rate(epoch float64) float64 { return r.schedule().Rate(r.LR, epoch) }

// MomentumAt is m when a share of the training is done, 0 to 1.
func (r *Recipe) MomentumAt(progress float64) float64 {
	return ramp(r.Momentum, r.MomentumEnd, progress)
}

// TemperatureAt is t when a share of the training is done, 0 to 1.
func (r *Recipe) TemperatureAt(progress float64) float64 {
	return ramp(r.Temperature, r.TemperatureEnd, progress)
}

// ramp goes from one value to another along half a cosine. With an end of 0 the value stays.
func ramp(from, to, progress float64) float64 {
	if to == 0 {
		return from
	}
	return to - (to-from)*0.5*(1+math.Cos(math.Pi*min(progress, 1)))
}

// optimizer turns gradients into new parameters.
func (r *Recipe) optimizer() optim.Optimizer {
	switch r.Optimizer {
	case "lars":
		return optim.LARS{Momentum: r.SGDMomentum, WeightDecay: r.WeightDecay, Trust: 0.001}
	case "muon":
		return optim.Muon{Momentum: r.SGDMomentum, WeightDecay: r.WeightDecay}
	case "adamw":
		a := optim.AdamW{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: r.WeightDecay}
		if len(r.Betas) == 2 {
			a.Beta1, a.Beta2 = r.Betas[0], r.Betas[1]
		}
		return a
	}
	return optim.SGD{Momentum: r.SGDMomentum, WeightDecay: r.WeightDecay}
}

// Check returns everything that is wrong with the recipe, a line each: the key, the rule, the
// value. What a mechanism demands of the other keys is checked by the mechanism.
func (r *Recipe) Check() error {
	var errs []error
	wrong := func(bad bool, format string, a ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	if m, err := r.Mechanism(); err != nil {
		errs = append(errs, err)
	} else {
		m.check(wrong)
		wrong(r.Predictor != (Predictor{}) && !m.predicts(), "predictor: %v has none; leave the key out", m)
		wrong(r.Views.Count() > 2 && !m.ManyViews(),
			"views.per_image: %v takes two views of an image, not %d; the loss dcl takes more", m, r.Views.PerImage)
	}
	if err := r.Encoder.Check(); err != nil {
		errs = append(errs, err)
	} else if err := r.Encoder.CheckImage(r.Views.Size); err != nil {
		errs = append(errs, fmt.Errorf("views.size: %w", err))
	}
	wrong(!(r.Momentum >= 0 && r.Momentum <= 1), "m: must lie between 0 and 1, is %v", r.Momentum)
	wrong(!(r.MomentumEnd >= 0 && r.MomentumEnd <= 1), "m_end: must lie between 0 and 1, is %v", r.MomentumEnd)
	wrong(!(r.Temperature > 0), "t: the temperature must be above 0, is %v", r.Temperature)
	wrong(!(r.TemperatureEnd >= 0), "t_end: must not be negative, is %v", r.TemperatureEnd)
	wrong(r.Accumulate < 1, "accumulate: must be at least 1, is %d", r.Accumulate)
	wrong(r.Batch < 1, "batch: must be at least 1, is %d", r.Batch)
	wrong(r.Precision != "fp32" && r.Precision != "bf16", "precision: must be fp32 or bf16, is %q", r.Precision)
	wrong(r.BNSplits < 1, "bn_splits: must be at least 1, is %d", r.BNSplits)
	wrong(r.Replicas < 1, "replicas: must be at least 1, is %d", r.Replicas)
	if r.Batch >= 1 && r.BNSplits >= 1 && r.Replicas >= 1 {
		wrong(r.Batch%r.BNSplits != 0, "bn_splits: a batch of %d cannot be cut into %d equal parts", r.Batch, r.BNSplits)
		wrong(r.Batch%r.Replicas != 0, "replicas: a batch of %d cannot be cut into %d equal shares", r.Batch, r.Replicas)
		wrong(r.BNSplits%r.Replicas != 0 && r.Replicas%r.BNSplits != 0,
			"replicas: of the %d parts of bn_splits each of %d replicas must have the same number, or be one itself",
			r.BNSplits, r.Replicas)
		vectors := r.Encoder.Head == "mlp_bn" || r.Predictor.Layers > 1 || r.Predictor.Norm
		wrong(vectors && r.Batch/r.parts() < 2, "batch: the batch norm of heads needs at least 2 images in each part; "+
			"%d images are in %d parts (bn_splits, replicas)", r.Batch, r.parts())
	}
	switch r.Positives {
	case "views", "frames", "pairs":
	default:
		wrong(true, "positives: must be views, frames or pairs, is %q", r.Positives)
	}
	wrong(r.MaxGap < 0, "max_gap: must be at least 1 frame, or 0 for anywhere in the video, is %d", r.MaxGap)
	wrong(r.MaxGap > 0 && r.Positives != "frames",
		"max_gap: counts frames of a video, so it goes with positives: frames, not with %s", r.Positives)
	r.checkViews(wrong)
	wrong(!(r.Epochs > 0 && r.Epochs <= math.MaxInt32), "epochs: must be above 0 and at most %d, is %v", math.MaxInt32, r.Epochs)
	wrong(!(r.LR >= 0), "lr: must not be negative, is %v", r.LR)
	if err := r.schedule().Check(); err != nil {
		errs = append(errs, err)
	}
	switch r.Optimizer {
	case "sgd", "lars", "muon":
		wrong(r.Betas != nil, "betas: belong to the optimizer adamw, and this is %s", r.Optimizer)
	case "adamw":
		good := func(b float64) bool { return b >= 0 && b < 1 }
		wrong(r.Betas != nil && !(len(r.Betas) == 2 && good(r.Betas[0]) && good(r.Betas[1])),
			"betas: must be two numbers of at least 0 and below 1, are %v", r.Betas)
	default:
		wrong(true, "optimizer: must be sgd, lars, muon or adamw, is %q", r.Optimizer)
	}
	wrong(!(r.LayerDecay >= 0 && r.LayerDecay <= 1), "layer_decay: must be 0 (none) to 1, is %v", r.LayerDecay)
	wrong(!(r.SGDMomentum >= 0 && r.SGDMomentum < 1), "sgd_momentum: must be at least 0 and below 1, is %v", r.SGDMomentum)
	wrong(!(r.WeightDecay >= 0), "weight_decay: must not be negative, is %v", r.WeightDecay)
	wrong(r.CheckpointEvery < 1, "checkpoint_every: must be at least 1 step, is %d", r.CheckpointEvery)
	wrong(!(r.MaxBad >= 0 && r.MaxBad <= 1), "max_bad: is a share, 0 to 1, is %v", r.MaxBad)
	return errors.Join(errs...)
}

// checkViews checks the keys of views, and whether the encoder takes their sizes.
func (r *Recipe) checkViews(wrong func(bad bool, format string, a ...any)) {
	v := r.Views
	wrong(v.PerImage != 0 && (v.PerImage < 2 || v.PerImage > maxPerImage),
		"views.per_image: must be 2 to %d, or 0 for 2, is %d", maxPerImage, v.PerImage)
	wrong(v.Size < 1 || v.Size > 4096, "views.size: must be 1 to 4096 pixels, is %d", v.Size)
	p, err := v.Drawn()
	wrong(err != nil, "%w", err)
	if err == nil {
		wrong(!(v.CropMin >= 0 && p.MinScale <= p.MaxScale),
			"views.crop_min: is a share of the image's area, above 0 and at most %v, or 0 for the policy's own; is %v",
			p.MaxScale, v.CropMin)
		wrong(v.CropMin != 0 && v.CropOnly,
			"views.crop_min: crop_only crops as the policy does for training with labels; leave crop_min out")
	}
	sizes := v.Sizes()
	wrong(!slices.IsSorted(sizes) || sizes[0] < 1 || sizes[len(sizes)-1] > v.Size,
		"views.train_sizes: sizes must rise to at most views.size, %d pixels, are %v", v.Size, v.TrainSizes)
	for _, size := range v.TrainSizes {
		err := r.Encoder.CheckImage(size)
		wrong(err != nil, "views.train_sizes: %w", err)
	}
	wrong(v.From != 0 && v.From < v.Size,
		"views.from: must be at least the size of the views, %d pixels, or 0 for 2.25 times that, is %d", v.Size, v.From)
	_, err = v.Reading()
	wrong(err != nil, "%w", err)
}
