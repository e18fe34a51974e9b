package moco

import (
	"math"
	"slices"
	"strings"
	"testing"

	"moco/engine"
	"moco/engine/cpu"
	"moco/nn"
	"moco/tensor"
)

// small is a compiled and initialised step that takes a millisecond, with its recipe.
func small(t *testing.T, batch int, change func(r *Recipe)) (*Recipe, *Step, engine.State) {
	t.Helper()
	r := Default()
	r.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 1.0 / 16, Dim: 8, Head: "linear", Layers: []int{1, 1, 1, 1}}
	r.Views, r.Batch, r.BNSplits, r.Queue, r.Temperature = Views{Policy: "cifar", Size: 8}, batch, 1, 6, 0.2
	change(&r)
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewState()
	p, err := Compile(&r, batch, e, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := Initialise(&r, s, nil); err != nil {
		t.Fatal(err)
	}
	for v, name := range []string{"x1", "x2", inViews} {
		if in := p.program.Input(name); in != nil {
			round(in, pseudo(20+v, in.Shape.Elements()))
		}
	}
	for i := range p.batch.Shuffle { // a rotation, and its inverse
		p.batch.Shuffle[i] = int32((i + 1) % batch)
		p.batch.Unshuffle[(i+1)%batch] = int32(i)
	}
	return &r, p, s
}

// run runs a step at the beginning of training.
func run(t *testing.T, p *Step) Metrics {
	t.Helper()
	m, err := p.Run(Progress{StepsPerEpoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t *testing.T, s engine.State, name string) *tensor.Tensor {
	t.Helper()
	v, err := s.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestMaskSameImage computes the loss of a second step by hand. The queue holds keys of the query's
// own image, and they must not count.
func TestMaskSameImage(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		r, p, s := small(t, 4, func(r *Recipe) { r.MaskSameImage = masked })
		ids := []int32{7, 3, 9, 3} // one image twice in the batch
		if masked {
			copy(p.batch.IDs, ids)
		} else if p.batch.IDs != nil {
			t.Error("ids are asked for without a mask")
		}
		run(t, p)
		queue := read(t, s, "queue").Float32s()
		owners := make([]int32, r.Queue)
		if masked {
			copy(owners, read(t, s, "queue_ids").Int32s())
			for i, want := range []int32{7, 3, 9, 3, noImage, noImage} {
				if owners[i] != want {
					t.Fatalf("after a step the queue's keys belong to %v", owners)
				}
			}
		}
		loss := run(t, p).Loss
		q, k, dim := p.program.Output(outQueries).Float32s(), p.program.Output(outKeys).Float32s(), r.Encoder.Dim
		similarity := func(a, b []float32) float64 {
			var s float64
			for j := range dim {
				s += float64(a[j]) * float64(b[j])
			}
			return math.Exp(s / r.Temperature)
		}
		var want float64
		for i := range 4 {
			row := q[i*dim : (i+1)*dim]
			positive := similarity(row, k[i*dim:(i+1)*dim])
			sum := positive
			for j := range r.Queue {
				if !masked || owners[j] != ids[i] {
					sum += similarity(row, queue[j*dim:(j+1)*dim])
				}
			}
			want -= math.Log(positive/sum) / 4
		}
		if math.Abs(loss-want) > 1e-5*want {
			t.Errorf("masked %v: the loss is %v, by hand %v", masked, loss, want)
		}
	}
}

// TestKeysAreNotLearned: only the momentum moves the key encoder; with m of 1 it stays.
func TestKeysAreNotLearned(t *testing.T) {
	t.Parallel()
	_, p, s := small(t, 4, func(r *Recipe) { r.Momentum, r.LR = 1, 0.1 })
	q, k := read(t, s, "encoder_q.conv1.weight"), read(t, s, "encoder_k.conv1.weight")
	for range 2 {
		run(t, p)
	}
	if string(read(t, s, "encoder_k.conv1.weight").Bytes()) != string(k.Bytes()) {
		t.Error("the key encoder has changed, though m is 1")
	}
	if string(read(t, s, "encoder_q.conv1.weight").Bytes()) == string(q.Bytes()) {
		t.Error("the query encoder has not changed")
	}
	if string(read(t, s, "encoder_k.bn1.running_mean").Bytes()) == string(read(t, s, "encoder_q.bn1.running_mean").Bytes()) {
		t.Error("both encoders have the same running statistics, though they saw other views")
	}
}

// TestQueueTakesAnyBatch: the pointer wraps, even where the batch is longer than the queue.
func TestQueueTakesAnyBatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ batch, queue, want int }{{4, 6, 2}, {3, 6, 0}, {8, 6, 4}, {5, 1, 0}} {
		_, p, s := small(t, c.batch, func(r *Recipe) { r.Queue = c.queue })
		for range 2 {
			run(t, p)
		}
		if got := int(read(t, s, "queue_pointer").Int32s()[0]); got != c.want {
			t.Errorf("after two batches of %d the pointer of a queue of %d is %d, want %d", c.batch, c.queue, got, c.want)
		}
		k, queue := p.program.Output(outKeys).Float32s(), read(t, s, "queue").Float32s()
		last := (c.want + c.queue - 1) % c.queue
		for j := range 8 {
			if queue[last*8+j] != k[len(k)-8+j] {
				t.Fatalf("batch %d, queue %d: the newest key does not stand before the pointer", c.batch, c.queue)
			}
		}
	}
}

func TestChanceAndSpread(t *testing.T) {
	t.Parallel()
	r := Default()
	m, err := r.Mechanism()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Chance(r.Batch), math.Log(65537); math.Abs(got-want) > 1e-12 {
		t.Errorf("chance is %v, want %v", got, want)
	}
	r.Symmetric = true
	if got, want := m.Chance(r.Batch), 2*math.Log(65537); math.Abs(got-want) > 1e-12 {
		t.Errorf("chance of the symmetric loss is %v, want %v", got, want)
	}
	const n, dim = 4000, 16
	spread, collapsed := make([]float32, n*dim), make([]float32, n*dim)
	x := pseudo(5, n*dim)
	for row := range n {
		var norm float64
		for _, v := range x[row*dim : (row+1)*dim] {
			norm += v * v
		}
		for j := range dim {
			spread[row*dim+j] = float32(x[row*dim+j] / math.Sqrt(norm))
			collapsed[row*dim+j] = 0.25
		}
	}
	if got := Spread(spread, dim); math.Abs(got-0.25) > 0.01 {
		t.Errorf("features all over the sphere have a spread of %v, want about 1/sqrt(16)", got)
	}
	if got := Spread(collapsed, dim); got != 0 {
		t.Errorf("collapsed features have a spread of %v", got)
	}
}

func TestCheckNamesEveryKey(t *testing.T) {
	t.Parallel()
	r := Default()
	if err := r.Check(); err != nil {
		t.Errorf("the default recipe: %v", err)
	}
	bad := Recipe{Objective: "contrastive"}
	err := bad.Check()
	if err == nil {
		t.Fatal("an empty recipe is no error")
	}
	var named []string
	for line := range strings.Lines(err.Error()) {
		key, _, _ := strings.Cut(line, ":")
		named = append(named, key)
	}
	for _, key := range []string{"dictionary", "loss", "encoder.arch", "encoder.head", "encoder.width", "encoder.dim",
		"t", "batch", "bn_splits", "views.size", "views.policy", "epochs", "schedule", "optimizer", "positives", "precision",
		"accumulate", "checkpoint_every"} {
		if !slices.Contains(named, key) {
			t.Errorf("an empty recipe's errors have no line for %s:\n%v", key, err)
		}
	}
}

// TestSenselessCombinations compares each refusal with its reason.
func TestSenselessCombinations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(r *Recipe)
		want   string // empty: the recipe is allowed
	}{
		{func(r *Recipe) { r.Objective = "rotation" }, "there are contrastive, supervised"},
		{func(r *Recipe) { r.Objective = "supervised" }, ""},
		{func(r *Recipe) { r.Objective, r.Encoder.Head = "supervised", "mlp" }, "ends in a linear classifier"},
		{func(r *Recipe) { r.Dictionary = "batch" }, ""},
		{func(r *Recipe) { r.Dictionary, r.Loss = "batch", "nt_xent" }, ""},
		{func(r *Recipe) { r.Dictionary, r.Loss = "batch", "nce" }, "drawn uniformly from a stored feature"},
		{func(r *Recipe) { r.Dictionary, r.Loss = "batch", "softmax" }, "a stored feature of every image"},
		{func(r *Recipe) { r.Loss = "nce" }, "needs dictionary: bank, not queue"},
		{func(r *Recipe) { r.Dictionary, r.Loss = "batch", "dcl" }, ""},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Symmetric = "batch", "dcl", true }, "symmetric: dcl compares both views"},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Views.PerImage = "batch", "dcl", 4 }, ""},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Views.PerImage = "batch", "dcl", 1 }, "views.per_image: must be 2 to 16"},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Views.PerImage = "batch", "nt_xent", 4 }, "takes two views of an image, not 4"},
		{func(r *Recipe) { r.Views.PerImage = 3 }, "takes two views of an image, not 3"},
		{func(r *Recipe) { r.Objective, r.Views.PerImage = "supervised", 3 }, "takes two views of an image, not 3"},
		{func(r *Recipe) { r.Loss = "dcl" }, "needs dictionary: batch, not queue"},
		{func(r *Recipe) { r.Loss = "nt_xent" }, "needs dictionary: batch, not queue"},
		{func(r *Recipe) { r.Dictionary, r.Loss = "bank", "nt_xent" }, "the other views of the same batch"},
		{func(r *Recipe) { r.Dictionary, r.Batch, r.BNSplits = "batch", 1, 1 }, "has no negatives"},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Symmetric = "batch", "nt_xent", true }, "compares both views"},
		{func(r *Recipe) { r.Dictionary, r.Accumulate = "batch", 4 }, ""},
		{func(r *Recipe) { r.Dictionary, r.Accumulate, r.BNSplits = "batch", 4, 2 }, "set bn_splits to a multiple"},
		{func(r *Recipe) { r.Accumulate = 2 }, "a queue is as long whatever the batch"},
		{func(r *Recipe) { momentumOfBatch(r) }, ""},
		{func(r *Recipe) { momentumOfBatch(r); r.Loss = "nt_xent" }, "needs dictionary: batch, not momentum_batch"},
		{func(r *Recipe) { momentumOfBatch(r); r.Batch, r.BNSplits = 1, 1 }, "has no negatives"},
		{func(r *Recipe) { momentumOfBatch(r); r.Symmetric = false }, "takes each view as query and as key"},
		{func(r *Recipe) { momentumOfBatch(r); r.ShuffleBN = true }, "in the order of queries"},
		{func(r *Recipe) { momentumOfBatch(r); r.Accumulate = 2 }, "nothing has to be encoded twice"},
		{func(r *Recipe) { r.Queue = 0 }, "queue: must be 1"},
		{func(r *Recipe) { r.Dictionary = "bank" }, ""},
		{func(r *Recipe) { r.Dictionary, r.Queue = "bank", 0 }, ""},
		{func(r *Recipe) { r.Dictionary, r.Images = "bank", 1000 }, "cannot give a sample of 65536"},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Queue = "bank", "nce", 0 }, "use loss: softmax"},
		{func(r *Recipe) { r.Dictionary, r.Loss, r.Temperature = "bank", "nce", 0.01 }, "float32 cannot hold"},
		{func(r *Recipe) { r.Dictionary, r.Symmetric = "bank", true }, "stored and not made"},
		{func(r *Recipe) { r.Dictionary, r.MaskSameImage = "bank", true }, "one key an image"},
		{func(r *Recipe) { r.Dictionary, r.Mix = "bank", 1 }, "mix: is the share"},
		{func(r *Recipe) { r.Dictionary, r.Z = "bank", "no" }, "frozen or ema"},
		{func(r *Recipe) { r.Dictionary, r.Accumulate = "bank", 2 }, "a bank is as large"},
		{func(r *Recipe) { r.MomentumEnd = 1.5 }, "m_end"},
		{func(r *Recipe) { r.TemperatureEnd = -1 }, "t_end"},
	} {
		r := Default()
		c.change(&r)
		err := r.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// momentumOfBatch makes a recipe one of MoCo v3.
func momentumOfBatch(r *Recipe) {
	r.Dictionary, r.Symmetric, r.ShuffleBN = "momentum_batch", true, false
}

// TestStepsOfCombinations runs each dictionary with each of its losses. The loss starts near
// chance, and repeated steps on one batch lower it.
func TestStepsOfCombinations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dictionary, loss, optimizer string
		queue                       int
		half                        string
	}{
		{"queue", "info_nce", "sgd", 6, "fp32"}, {"batch", "info_nce", "sgd", 6, "fp32"}, {"batch", "nt_xent", "lars", 6, "fp32"},
		{"batch", "info_nce", "muon", 6, "fp32"},
		{"bank", "info_nce", "sgd", 6, "fp32"}, {"bank", "info_nce", "sgd", 0, "bf16"}, {"bank", "softmax", "sgd", 6, "fp32"},
		{"bank", "nce", "sgd", 6, "fp32"}, {"bank", "nce", "lars", 9, "bf16"},
		{"momentum_batch", "info_nce", "sgd", 6, "fp32"}, {"momentum_batch", "info_nce", "lars", 6, "fp32"},
	} {
		r, p, s := small(t, 4, func(r *Recipe) {
			r.Dictionary, r.Loss, r.Optimizer, r.Queue, r.BankPrecision, r.Images, r.Z = c.dictionary, c.loss, c.optimizer, c.queue, c.half, 16, "ema"
			r.Momentum, r.MomentumEnd, r.TemperatureEnd, r.LR = 0.9, 1, 0.3, 0.02
			if c.dictionary == "momentum_batch" {
				momentumOfBatch(r)
			}
		})
		ids := []int32{3, 8, 0, 15}
		var first, last float64
		for step := range 30 {
			copy(p.batch.IDs, ids)
			m, err := p.Run(Progress{Step: step % 2, StepsPerEpoch: 1 << 30})
			if err != nil {
				t.Fatal(err)
			}
			last = m.Loss
			if step == 0 {
				first = last
			}
		}
		if chance := p.mechanism.Chance(4); !(first > 0.1*chance && first < 5*chance) {
			t.Errorf("%v: the first loss is %v, chance %v", c, first, chance)
		}
		if !(last < 0.9*first) {
			t.Errorf("%v: the loss goes from %v to %v", c, first, last)
		}
		if c.dictionary == "bank" {
			bank, start := read(t, s, "bank").Float32s(), tensor.New(tensor.Float32, 16, 8)
			randomRows(start, r.seeded(bankStream))
			for i := range 16 {
				moved := math.Abs(float64(bank[i*8]-start.Float32s()[i*8])) > 0.01
				if moved && !slices.Contains(ids, int32(i)) {
					t.Errorf("%v: row %d of the bank moved, and its image is not in the batch", c, i)
				}
			}
		}
	}
}

// TestAccumulate compares a batch encoded in parts with one whose batch norm has as many splits.
// Loss, velocities and statistics must be the same.
func TestAccumulate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		loss  string
		views int
	}{{"info_nce", 2}, {"nt_xent", 2}, {"dcl", 2}, {"dcl", 4}} {
		var whole map[string][]float32
		for _, parts := range []int{1, 2, 4} {
			if parts == 2 {
				whole = nil // a different number of splits
			}
			for _, accumulate := range []int{1, parts} {
				_, p, s := small(t, 8, func(r *Recipe) {
					r.Dictionary, r.Loss, r.BNSplits, r.Accumulate, r.LR = "batch", c.loss, parts, accumulate, 0.1
					r.Views.PerImage = c.views
				})
				copy(p.batch.IDs, []int32{0, 1, 2, 3, 4, 5, 6, 7})
				got := map[string][]float32{"loss": {float32(run(t, p).Loss)}}
				for _, name := range s.Names() {
					if strings.HasPrefix(name, "sgd.") || strings.Contains(name, "running") {
						got[name] = read(t, s, name).Float32s()
					}
				}
				if accumulate == 1 {
					whole = got
					continue
				}
				for name, want := range whole {
					for i := range want {
						if math.Abs(float64(got[name][i]-want[i])) > 1e-4*(1+math.Abs(float64(want[i]))) {
							t.Errorf("%s, %d views, in %d parts: value %d of %s is %v, want %v", c.loss, c.views, parts, i, name, got[name][i], want[i])
							break
						}
					}
				}
			}
		}
	}
}

func TestBankOfUnknownSize(t *testing.T) {
	t.Parallel()
	r := Default()
	r.Dictionary = "bank"
	if _, err := Graph(&r, 8); err == nil ||
		!strings.Contains(err.Error(), "a bank stores a feature for every image, so their number must be known") {
		t.Errorf("got %v", err)
	}
}

func TestRamps(t *testing.T) {
	t.Parallel()
	r := Default()
	r.Momentum, r.MomentumEnd, r.Temperature, r.TemperatureEnd = 0.99, 1, 0.1, 0.2
	for _, c := range []struct{ progress, m, t float64 }{{0, 0.99, 0.1}, {0.5, 0.995, 0.15}, {1, 1, 0.2}} {
		if m, temperature := r.MomentumAt(c.progress), r.TemperatureAt(c.progress); math.Abs(m-c.m) > 1e-9 ||
			math.Abs(temperature-c.t) > 1e-9 {
			t.Errorf("after %v of the training m is %v and t %v, want %v and %v", c.progress, m, temperature, c.m, c.t)
		}
	}
	r.MomentumEnd, r.TemperatureEnd = 0, 0
	if r.MomentumAt(0.7) != 0.99 || r.TemperatureAt(0.7) != 0.1 {
		t.Error("m or t changes without a ramp")
	}
}

func TestViewsGrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sizes []int
		want  []int // at 0, 1/4, 1/2, 3/4 and all of the training
	}{
		{nil, []int{32, 32, 32, 32, 32}},
		{[]int{24}, []int{24, 24, 24, 24, 24}},
		{[]int{16, 32}, []int{16, 16, 32, 32, 32}},
		{[]int{16, 20, 24}, []int{16, 16, 20, 24, 24}},
	} {
		v := Views{Size: 32, TrainSizes: c.sizes}
		for i, want := range c.want {
			if got := v.SizeAt(float64(i) / 4); got != want {
				t.Errorf("%v: views of %d pixels when %d quarters are done, want %d", c.sizes, got, i, want)
			}
		}
	}
}
