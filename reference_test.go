package moco

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/engine"
	"moco/engine/cpu"
	"moco/engine/enginetest"
	"moco/graph"
	"moco/nn"
	"moco/tensor"
)

// The files testdata/reference/*.json hold what PyTorch computed in float64; make_reference.py
// beside them made them. Every engine must arrive at the same losses, features, gradients,
// parameters, statistics and queue. MOCO_REFERENCE_DIR names another folder of files.

// reference is one file. Its fields tell which step it is about.
type reference struct {
	Case struct {
		Bank, Noise int // of a memory bank
		Mix         float64
		Z           string // of NCE: ema, or frozen where the file does not say
		Loss        string // of a batch: dcl, or nt_xent where the file does not say
		Block       string
		Layers      []int
		Stem        string
		Size, Dim   int
		Batch       int
		BNSplits    int `json:"bn_splits"`
		MLP         bool
		Symmetric   bool
		Views       int // of each image, of a batch; 2 where the file does not say
		Queue       int
		M, T        float64
		LR, WD      float64
		Steps       int

		// MoCo v3's cases and transformers.
		Head       string
		HeadLayers int `json:"head_layers"`
		Hidden     int
		Predictor  *Predictor
		Optimizer  string
		Betas      []float64
		LayerDecay float64 `json:"layer_decay"`

		Patch, Channels, Depth, Heads int
		Tokens, Position              string
		LayerScale                    bool `json:"layer_scale"`
		Registers                     int
		FrozenPatches                 bool `json:"frozen_patches"`
	}
	Shuffle      []int
	Steps        []referenceStep
	Loss         float64            // nt_xent has one step, hence no list
	ZRow0        []float64          `json:"z_row0"`
	Grad         map[string]summary // of nt_xent
	Z            float64            // of NCE
	BankRow0     []float64          `json:"bank_row0"`
	QueuePointer int                `json:"queue_pointer"`
	QueueRow0    []float64          `json:"queue_row0"`
	QParams      map[string]summary `json:"q_params"`
	KParams      map[string]summary `json:"k_params"`
	QRunning     map[string]summary `json:"q_running"`
	KRunning     map[string]summary `json:"k_running"`
}

type referenceStep struct {
	Loss         float64
	ContrastTop1 float64   `json:"contrast_top1"`
	QRow0        []float64 `json:"q_row0"`
	VRow0        []float64 `json:"v_row0"` // the same in a memory bank's file
	KRow0        []float64 `json:"k_row0"`
	KLast        []float64 `json:"k_last"`
	Grad         map[string]summary
}

// summary is what the files keep of a tensor.
type summary struct {
	Norm, Sum float64
	Head      []float64
}

// pseudo is make_reference.py's hash: n numbers between -1 and 1.
func pseudo(seed, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		h := uint32(seed)*0x9E3779B9 + uint32(i)
		h ^= h >> 16
		h *= 0x85EBCA6B
		h ^= h >> 13
		h *= 0xC2B2AE35
		h ^= h >> 16
		x[i] = 2*float64(h)/(1<<32) - 1
	}
	return x
}

func (r *reference) recipe() *Recipe {
	c := r.Case
	recipe := Default()
	recipe.Encoder = r.encoder()
	recipe.Views = Views{Policy: "cifar", Size: c.Size}
	recipe.Batch, recipe.BNSplits, recipe.Symmetric = c.Batch, c.BNSplits, c.Symmetric
	recipe.Queue, recipe.Momentum, recipe.Temperature = c.Queue, c.M, c.T
	recipe.LR, recipe.WeightDecay = c.LR, c.WD
	switch {
	case r.ZRow0 != nil:
		recipe.Dictionary, recipe.Loss, recipe.Views.PerImage = "batch", cmp.Or(c.Loss, "nt_xent"), c.Views
	case c.Bank > 0:
		recipe.Dictionary, recipe.Loss, recipe.Images, recipe.Queue, recipe.Mix = "bank", "nce", c.Bank, c.Noise, c.Mix
		recipe.Z = cmp.Or(c.Z, "frozen")
	case r.KParams != nil && r.Shuffle == nil:
		recipe.Dictionary, recipe.ShuffleBN = "momentum_batch", false
		if c.Predictor != nil {
			recipe.Predictor = *c.Predictor
		}
	case r.Shuffle == nil:
		recipe.Dictionary = "batch"
	}
	if c.Optimizer != "" {
		recipe.Optimizer, recipe.Betas, recipe.LayerDecay = c.Optimizer, c.Betas, c.LayerDecay
	}
	return &recipe
}

// encoder is the config of the case's encoder.
func (r *reference) encoder() nn.Config {
	c := r.Case
	e := nn.Config{Stem: c.Stem, Width: 1, Dim: c.Dim, Head: "linear", HeadLayers: c.HeadLayers, Hidden: c.Hidden}
	if c.MLP {
		e.Head = "mlp"
	}
	if c.Head != "" {
		e.Head = c.Head
	}
	switch c.Block {
	case "vit":
		e.Arch, e.Width = fmt.Sprintf("vit_ti%d", c.Patch), float64(c.Channels)/192
		e.Layers, e.Heads, e.Image = []int{c.Depth}, c.Heads, c.Size
		e.Tokens, e.Position, e.Registers = c.Tokens, c.Position, c.Registers
		e.LayerScale, e.FrozenPatches = c.LayerScale, c.FrozenPatches
	case "bottleneck":
		e.Arch, e.Layers = "resnet50", c.Layers
	default:
		e.Arch, e.Layers = "resnet18", c.Layers
	}
	return e
}

// learned are the parameters of the query side, and of the predictor behind it, in PyTorch's order.
func learned(recipe *Recipe) []nn.Parameter {
	return append(recipe.Encoder.Parameters(), recipe.Predictor.network(recipe.Encoder).Parameters()...)
}

// running are the statistics of the query side.
func running(recipe *Recipe) []nn.Buffer {
	return append(recipe.Encoder.Buffers(), recipe.Predictor.network(recipe.Encoder).Buffers()...)
}

// start is the value of a variable in the reference before the first step.
func (r *reference) start(recipe *Recipe) map[string][]float64 {
	start := map[string][]float64{}
	write := func(name string, x []float64) {
		start["encoder_q."+name] = x
		if r.KParams != nil && !strings.HasPrefix(name, "predictor.") {
			start["encoder_k."+name] = x
		}
	}
	parameters := learned(recipe)
	for i, p := range parameters {
		x := pseudo(1000+i, p.Shape.Elements())
		if p.Name == "pos_embed" && r.Case.Position == "sincos" {
			x = sincos(r.Case.Size/r.Case.Patch, r.Case.Channels)
		} else {
			scaleStart(x, p, parameters)
		}
		write(p.Name, x)
	}
	for _, b := range running(recipe) {
		x := make([]float64, b.Channels)
		for j := range x {
			x[j] = float64(b.Start)
		}
		write(b.Name, x)
	}
	switch recipe.Dictionary {
	case "queue":
		start["queue"] = unitRows(pseudo(8000, recipe.Queue*recipe.Encoder.Dim), recipe.Encoder.Dim)
	case "bank":
		start["bank"] = unitRows(pseudo(8100, recipe.Images*recipe.Encoder.Dim), recipe.Encoder.Dim)
	}
	return start
}

// scaleStart makes numbers between -1 and 1 a parameter's start. A norm is told by its weight, which has
// one axis.
func scaleStart(x []float64, p nn.Parameter, all []nn.Parameter) {
	layer, kind := "", p.Name
	if dot := strings.LastIndex(p.Name, "."); dot >= 0 {
		layer, kind = p.Name[:dot], p.Name[dot+1:]
	}
	norm := kind == "gamma" || slices.ContainsFunc(all, func(q nn.Parameter) bool {
		return q.Name == layer+".weight" && len(q.Shape) == 1
	})
	for j := range x {
		switch {
		case norm && kind != "bias":
			x[j] = 1 + 0.1*x[j]
		case norm:
			x[j] *= 0.1
		case layer == "": // tokens and positions
			x[j] *= 0.2
		case kind == "bias":
			x[j] *= 0.05
		default:
			x[j] *= math.Sqrt(3 / float64(p.Shape[1:].Elements()))
		}
	}
}

// sincos is MoCo v3's positions, in float64, of the class token and side x side patches.
func sincos(side, channels int) []float64 {
	quarter := channels / 4
	x := make([]float64, channels, (1+side*side)*channels)
	for patch := range side * side {
		for _, place := range []int{patch / side, patch % side} {
			for _, wave := range []func(float64) float64{math.Sin, math.Cos} {
				for i := range quarter {
					x = append(x, wave(float64(place)/math.Pow(10000, float64(i)/float64(quarter))))
				}
			}
		}
	}
	return x
}

// unitRows divides each row by its norm.
func unitRows(x []float64, dim int) []float64 {
	for row := range slices.Chunk(x, dim) {
		var square float64
		for _, v := range row {
			square += v * v
		}
		for j := range row {
			row[j] /= math.Sqrt(square)
		}
	}
	return x
}

// imagesNHWC is a batch of the reference's images. They are drawn in NCHW.
func (r *reference) imagesNHWC(v int) []float64 {
	n, s := r.Case.Batch, r.Case.Size
	x := pseudo(7000+v, n*3*s*s)
	y := make([]float64, len(x))
	for i := range y {
		image, pixel, c := i/(3*s*s), i/3%(s*s), i%3
		y[i] = x[(image*3+c)*s*s+pixel]
	}
	return y
}

// machine hides whether values are float64 (the interpreter) or float32.
type machine struct {
	program engine.Program
	state   engine.State
}

func (m machine) input(name string, x []float64) {
	if p, ok := m.program.(*enginetest.Program); ok {
		p.SetFloat64s(name, x)
		return
	}
	round(m.program.Input(name), x)
}

func (m machine) write(t *testing.T, name string, x []float64) {
	if s, ok := m.state.(*enginetest.State); ok {
		copy(s.Float64s(name), x)
		return
	}
	v, err := m.state.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	round(v, x)
	if err := m.state.Write(name, v); err != nil {
		t.Fatal(err)
	}
}

func (m machine) read(t *testing.T, name string) []float64 {
	if s, ok := m.state.(*enginetest.State); ok {
		return append([]float64(nil), s.Float64s(name)...)
	}
	v, err := m.state.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return widen(v)
}

func (m machine) output(name string) []float64 {
	if p, ok := m.program.(*enginetest.Program); ok {
		return p.Float64s(name)
	}
	return widen(m.program.Output(name))
}

func round(t *tensor.Tensor, x []float64) {
	for i, v := range x {
		if t.Type == tensor.Int32 {
			t.Int32s()[i] = int32(v)
		} else {
			t.Float32s()[i] = float32(v)
		}
	}
}

func widen(t *tensor.Tensor) []float64 {
	x := make([]float64, t.Shape.Elements())
	for i := range x {
		if t.Type == tensor.Int32 {
			x[i] = float64(t.Int32s()[i])
		} else {
			x[i] = float64(t.Float32s()[i])
		}
	}
	return x
}

// tolerance is how far an engine may be from the reference. Later steps have larger ones, because
// they start from parameters that differ already.
type tolerance struct{ loss, laterLoss, value, gradient, final float64 }

func TestReference(t *testing.T) {
	dir := os.Getenv("MOCO_REFERENCE_DIR")
	if dir == "" {
		dir = filepath.Join("testdata", "reference")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no *.json in %s (%v)", dir, err)
	}
	for number, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r reference
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if r.Case.Block == "" { // another test's file: kNN, colours or a curve
			continue
		}
		if r.ZRow0 != nil {
			r.Steps = []referenceStep{{Loss: r.Loss, QRow0: r.ZRow0, Grad: r.Grad}}
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			if missing := r.missing(); len(missing) > 0 {
				t.Fatalf("the file lacks %s, or has it in part", strings.Join(missing, ", "))
			}
			r.run(t, number)
		})
	}
}

// run compares the interpreter and the engine's paths with the case. MOCO_TEST_PATHS=all, as in CI,
// takes every path. Without it each case runs on the path that the machine would choose and on one
// other, which goes through all of them by the case's number. The interpreter and plain Go take
// half a minute each for a whole ResNet, so they run one only where MOCO_REFERENCE_DIR asks for
// more than the cases here.
func (r *reference) run(t *testing.T, number int) {
	large := r.Case.Size > 16
	t.Run("interpreter", func(t *testing.T) {
		if large && os.Getenv("MOCO_REFERENCE_DIR") == "" {
			t.Skip("the interpreter takes half a minute for this case: set MOCO_REFERENCE_DIR to run it")
		}
		t.Parallel()
		exact := tolerance{1e-8, 1e-7, 1e-6, 1e-6, 1e-6}
		r.check(t, enginetest.New(), 1, exact)
		for _, replicas := range r.replicas() {
			r.check(t, enginetest.New(), replicas, exact)
		}
	})
	tol := tolerance{loss: 1e-4, laterLoss: 2e-3, value: 2e-3, gradient: 1e-3, final: 2e-3}
	if r.Case.Block == "bottleneck" {
		// A ResNet-50 on four images: some activations lie within float32's rounding of zero, and
		// their ReLUs turn. That moves the gradients of the layers before them, and a step later
		// the parameters. The interpreter shows that the rule is right: with its results rounded to
		// float32 node by node, and all arithmetic exact, it is off by 1.7e-3 too.
		tol.gradient, tol.final = 1e-2, 0.05
	}
	paths := cpu.Paths() // the best first
	if large {
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == "portable" && len(paths) > 1 })
	}
	if os.Getenv("MOCO_TEST_PATHS") != "all" && len(paths) > 2 {
		paths = []string{paths[0], paths[1+number%(len(paths)-1)]}
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e, err := cpu.New(cpu.Options{Path: path, Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			r.check(t, e, 1, tol)
			for _, replicas := range r.replicas() {
				r.check(t, e, replicas, tol)
			}
		})
	}
}

// replicas are the numbers of replicas, of one or more parts of the batch each, that give the case's
// result too. In nt_xent a replica's part has both views of its images.
func (r *reference) replicas() (all []int) {
	for replicas := 2; replicas <= r.Case.BNSplits && r.ZRow0 == nil; replicas++ {
		if r.Case.BNSplits%replicas == 0 {
			all = append(all, replicas)
		}
	}
	return all
}

// missing names the fields that the file should hold and does not hold. A renamed field would
// otherwise be compared with nothing.
func (r *reference) missing() []string {
	recipe := r.recipe()
	parameters, buffers, dim := len(learned(recipe)), len(running(recipe)), recipe.Encoder.Dim
	frozen := 0
	for _, p := range learned(recipe) {
		if p.Frozen {
			frozen++
		}
	}
	var missing []string
	want := func(what string, got, n int) {
		if got != n {
			missing = append(missing, what)
		}
	}
	if len(r.Steps) == 0 {
		return []string{"steps"}
	}
	m, err := recipe.Mechanism()
	if err != nil {
		return []string{err.Error()}
	}
	want("grad", len(r.Steps[0].Grad), parameters-frozen)
	for i, s := range r.Steps {
		want(fmt.Sprintf("q_row0 or v_row0 of step %d", i), len(s.QRow0)+len(s.VRow0), dim)
		if s.Loss == 0 {
			missing = append(missing, fmt.Sprintf("loss of step %d", i))
		}
		if m.KeyEncoder() {
			want(fmt.Sprintf("k_row0 of step %d", i), len(s.KRow0), dim)
			want(fmt.Sprintf("k_last of step %d", i), len(s.KLast), dim)
		}
	}
	if r.ZRow0 == nil { // nt_xent's single step leaves no parameters
		want("q_params", len(r.QParams), parameters)
	}
	if m.KeyEncoder() {
		want("k_params", len(r.KParams), len(recipe.Encoder.Parameters()))
		want("q_running", len(r.QRunning), buffers)
		want("k_running", len(r.KRunning), len(recipe.Encoder.Buffers()))
	}
	if recipe.Dictionary == "queue" {
		want("queue_row0", len(r.QueueRow0), dim)
	}
	if r.Case.Bank > 0 {
		want("bank_row0", len(r.BankRow0), dim)
		if r.Z == 0 {
			missing = append(missing, "z")
		}
	}
	return missing
}

func (r *reference) check(t *testing.T, e engine.Engine, replicas int, tol tolerance) {
	recipe := r.recipe()
	recipe.Replicas = replicas
	g, err := Graph(recipe, recipe.Batch)
	if err != nil {
		t.Fatal(err)
	}
	mechanism, err := recipe.Mechanism()
	if err != nil {
		t.Fatal(err)
	}
	m := machine{state: e.NewState()}
	if m.program, err = e.Compile(g, m.state); err != nil {
		t.Fatal(err)
	}
	start := r.start(recipe)
	for name, x := range start {
		m.write(t, name, x)
	}
	m.input(inRate, []float64{recipe.LR})
	for i, want := range r.Steps {
		for name, x := range r.inputs(recipe, i) {
			m.input(name, x)
		}
		for name, v := range recipe.optimizer().Scalars(i + 1) {
			m.input(name, []float64{v})
		}
		if err := m.program.Run(); err != nil {
			t.Fatal(err)
		}
		loss, dim := tol.laterLoss, recipe.Encoder.Dim
		if i == 0 {
			loss = tol.loss
		}
		near(t, fmt.Sprintf("step %d: loss", i), m.output(outLoss), []float64{want.Loss}, loss)
		q, k := m.output(outQueries), m.output(outKeys)
		features := tol.value
		if i > 0 {
			features = 10 * tol.final
		}
		near(t, fmt.Sprintf("step %d: first query", i), q[:dim], append(want.QRow0, want.VRow0...), features)
		if mechanism.KeyEncoder() {
			near(t, fmt.Sprintf("step %d: first key", i), k[:dim], want.KRow0, features)
			near(t, fmt.Sprintf("step %d: last key", i), k[len(k)-dim:], want.KLast, features)
		}
		// The symmetric file of a queue gives the other half's accuracy.
		if i == 0 && mechanism.KeyEncoder() && !(recipe.Symmetric && recipe.Dictionary == "queue") {
			near(t, "accuracy", m.output(outAccuracy), []float64{want.ContrastTop1}, 1e-6)
		}
		for name, s := range want.Grad {
			s.near(t, "gradient of "+name, r.gradient(t, m, recipe, name, start[query.variable(name)]), tol.gradient)
		}
	}
	switch recipe.Dictionary {
	case "queue":
		if got := int(m.read(t, "queue_pointer")[0]); got != r.QueuePointer {
			t.Errorf("the queue's pointer is %d, want %d", got, r.QueuePointer)
		}
		near(t, "first key in the queue", m.read(t, "queue")[:recipe.Encoder.Dim], r.QueueRow0, 10*tol.final)
	case "bank":
		near(t, "Z", m.read(t, "z"), []float64{r.Z}, tol.value)
		near(t, "first key in the bank", m.read(t, "bank")[:recipe.Encoder.Dim], r.BankRow0, 10*tol.final)
	}
	for _, group := range []struct {
		prefix string
		want   map[string]summary
	}{{"encoder_q.", r.QParams}, {"encoder_k.", r.KParams}, {"encoder_q.", r.QRunning}, {"encoder_k.", r.KRunning}} {
		for name, s := range group.want {
			s.near(t, group.prefix+name, m.read(t, group.prefix+name), tol.final)
		}
	}
}

// gradient is that of the first step, as the optimizer's variables hold it behind that step.
func (r *reference) gradient(t *testing.T, m machine, recipe *Recipe, name string, start []float64) []float64 {
	t.Helper()
	if recipe.Optimizer == "adamw" { // m = (1-beta1) * gradient
		x, beta := m.read(t, "adam.m."+name), 0.9
		if recipe.Betas != nil {
			beta = recipe.Betas[0]
		}
		for j := range x {
			x[j] /= 1 - beta
		}
		return x
	}
	x := m.read(t, "sgd."+name) // ratio * (gradient + decay * parameter)
	ratio, decay := 1.0, recipe.WeightDecay
	switch {
	case recipe.Optimizer == "lars":
		ratio, decay = trust(recipe, name, start, r.Steps[0].Grad[name].Norm)
	case recipe.Optimizer == "muon" && !oneAxis(recipe, name):
		decay = 0
	}
	for j := range x {
		x[j] = x[j]/ratio - decay*start[j]
	}
	return x
}

// trust is LARS's ratio for a parameter, and its weight decay. Those with one axis have none of both.
func trust(recipe *Recipe, name string, start []float64, gradient float64) (ratio, decay float64) {
	if oneAxis(recipe, name) {
		return 1, 0
	}
	var square float64
	for _, v := range start {
		square += v * v
	}
	norm := math.Sqrt(square)
	return 0.001 * norm / (gradient + recipe.WeightDecay*norm), recipe.WeightDecay
}

// oneAxis tells whether a parameter is no matrix: a bias, or a weight of a norm.
func oneAxis(recipe *Recipe, name string) bool {
	all := learned(recipe)
	i := slices.IndexFunc(all, func(p nn.Parameter) bool { return p.Name == name })
	return len(all[i].Shape) == 1
}

// inputs is what a step is given beside its rate.
func (r *reference) inputs(recipe *Recipe, step int) map[string][]float64 {
	n := recipe.Batch
	ids := make([]float64, n)
	for i := range ids {
		ids[i] = float64(i)
	}
	const first, second, firstKeys, secondKeys = "x1", "x2", "k1", "k2"
	x1, x2 := r.imagesNHWC(2*step), r.imagesNHWC(2*step+1)
	switch {
	case r.ZRow0 != nil:
		for i := 2; i < recipe.Views.Count(); i++ {
			x2 = append(x2, r.imagesNHWC(i)...)
		}
		return map[string][]float64{inViews: append(x1, x2...), inIDs: ids}
	case recipe.Dictionary == "batch", recipe.Dictionary == "momentum_batch":
		return map[string][]float64{first: x1, second: x2, inIDs: ids}
	case recipe.Dictionary == "bank":
		var draws []float64
		noise := pseudo(8200+step, n*recipe.Queue)
		for i := range ids {
			ids[i] = float64(step*n + i)
			draws = append(draws, ids[i])
			for _, u := range noise[i*recipe.Queue : (i+1)*recipe.Queue] {
				draws = append(draws, min(math.Floor((u+1)/2*float64(recipe.Images)), float64(recipe.Images-1)))
			}
		}
		return map[string][]float64{first: r.imagesNHWC(step), inIDs: ids, inDraws: draws}
	}
	shuffle, unshuffle := make([]float64, n), make([]float64, n)
	for i, from := range r.Shuffle {
		shuffle[i], unshuffle[from] = float64(from), float64(i)
	}
	if recipe.Replicas == 1 {
		return map[string][]float64{first: x1, second: x2, inShuffle: shuffle, inUnshuffle: unshuffle}
	}
	in := map[string][]float64{first: x1, secondKeys: permuted(x2, r.Shuffle), inUnshuffle: unshuffle}
	if recipe.Symmetric {
		in[second], in[firstKeys] = x2, permuted(x1, r.Shuffle)
	}
	return in
}

// permuted is images in another order.
func permuted(x []float64, order []int) []float64 {
	var y []float64
	each := len(x) / len(order)
	for _, i := range order {
		y = append(y, x[i*each:(i+1)*each]...)
	}
	return y
}

// near compares vectors. The tolerance is relative to the norm of the reference's.
func near(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Errorf("%s has %d values, want %d", what, len(got), len(want))
		return
	}
	var distance, norm float64
	for i := range want {
		distance += (got[i] - want[i]) * (got[i] - want[i])
		norm += want[i] * want[i]
	}
	if !(math.Sqrt(distance) <= tolerance*max(math.Sqrt(norm), 1e-6)) {
		t.Errorf("%s is off by %.2g of its norm, more than %.0e: %v, want %v", what, math.Sqrt(distance/norm),
			tolerance, got[:min(4, len(got))], want[:min(4, len(want))])
	}
}

// near compares a tensor with its summary. The sum and the first values are compared relative to
// the norm, because single values may be near zero.
func (s summary) near(t *testing.T, what string, x []float64, tolerance float64) {
	t.Helper()
	if len(s.Head) == 0 || len(s.Head) > len(x) {
		t.Errorf("%s has %d values, and the file gives its first %d", what, len(x), len(s.Head))
		return
	}
	var square, sum float64
	for _, v := range x {
		square += v * v
		sum += v
	}
	norm := math.Sqrt(square)
	// What is zero in exact arithmetic is rounding, here and there: a gradient that batch norm takes
	// out, or the mean of what has been normalised.
	if s.Norm < 1e-12 {
		if !(norm <= 5e-3*tolerance) {
			t.Errorf("%s should be zero, and its norm is %.2g", what, norm)
		}
		return
	}
	if !(math.Abs(norm-s.Norm) <= tolerance*max(s.Norm, 1e-6)) {
		t.Errorf("norm of %s is %.8g, want %.8g within %.0e", what, norm, s.Norm, tolerance)
	}
	if each := s.Norm; !(math.Abs(sum-s.Sum) <= 10*tolerance*max(each*math.Sqrt(float64(len(x))), 1e-6)) {
		t.Errorf("sum of %s is %.8g, want %.8g", what, sum, s.Sum)
	}
	for i, want := range s.Head {
		if !(math.Abs(x[i]-want) <= 30*tolerance*max(s.Norm/math.Sqrt(float64(len(x))), math.Abs(want), 1e-6)) {
			t.Errorf("value %d of %s is %.8g, want %.8g", i, what, x[i], want)
		}
	}
}

// TestStepsOfAllArchitectures builds every encoder's step. It compares the number of parameters,
// and of multiply-adds for an image of 224 pixels, with torchvision's networks with 1000 outputs.
func TestStepsOfAllArchitectures(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]struct {
		parameters int
		gmacs      float64
	}{
		"resnet18": {11689512, 1.814}, "resnet34": {21797672, 3.664}, "resnet50": {25557032, 4.089},
		"resnet101": {44549160, 7.801}, "resnet152": {60192808, 11.514},
	} {
		r := Default()
		r.Encoder.Arch, r.Encoder.Dim = arch, 1000
		n := 0
		for _, p := range r.Encoder.Parameters() {
			n += p.Shape.Elements()
		}
		if n != want.parameters {
			t.Errorf("%s has %d parameters, torchvision's %d", arch, n, want.parameters)
		}
		features, err := Features(&r, 1)
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		// A graph also counts normalisation and other small operations: some percent.
		if got := float64(features.Cost().FLOPs) / 2e9; got < want.gmacs || got > 1.05*want.gmacs {
			t.Errorf("%s takes %.3f billion multiply-adds for an image, torchvision's %.3f", arch, got, want.gmacs)
		}
		for _, head := range []string{"linear", "mlp"} {
			r.Encoder.Head, r.Encoder.Width, r.Symmetric, r.MaskSameImage = head, 0.25, head == "mlp", head == "mlp"
			g, err := Graph(&r, 16)
			if err != nil {
				t.Fatalf("%s: %v", arch, err)
			}
			ids := slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Op == graph.Input && n.Name == inIDs })
			if ids != r.MaskSameImage {
				t.Errorf("%s: mask_same_image is %v, and the step takes ids: %v", arch, r.MaskSameImage, ids)
			}
		}
	}
}
