package moco

import (
	"math"
	"strings"
	"testing"

	"moco/engine"
	"moco/engine/cpu"
	"moco/nn"
	"moco/tensor"
)

// small is a recipe of a step that takes a millisecond, compiled and initialised.
func small(t *testing.T, batch int, change func(r *Recipe)) (*Recipe, engine.Program, engine.State) {
	t.Helper()
	r := Default()
	r.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 1.0 / 16, Dim: 8, Head: "linear", Layers: []int{1, 1, 1, 1}}
	r.Views, r.Batch, r.BNSplits, r.Queue, r.Temperature = Views{"cifar", 8}, batch, 1, 6, 0.2
	change(&r)
	g, err := Step(&r, batch)
	if err != nil {
		t.Fatal(err)
	}
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewState()
	p, err := e.Compile(g, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := Initialise(&r, s); err != nil {
		t.Fatal(err)
	}
	for v, name := range []string{"x1", "x2"} {
		round(p.Input(name), pseudo(20+v, p.Input(name).Shape.Elements()))
	}
	for i := range batch { // a rotation, and its inverse
		p.Input("shuffle").Int32s()[i] = int32((i + 1) % batch)
		p.Input("unshuffle").Int32s()[(i+1)%batch] = int32(i)
	}
	return &r, p, s
}

func read(t *testing.T, s engine.State, name string) *tensor.Tensor {
	t.Helper()
	v, err := s.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestMaskSameImage computes the loss of a second step by hand: keys of the query's own image are in the queue and must not count.
func TestMaskSameImage(t *testing.T) {
	for _, masked := range []bool{false, true} {
		r, p, s := small(t, 4, func(r *Recipe) { r.MaskSameImage = masked })
		ids := []int32{7, 3, 9, 3} // one image twice in the batch
		if masked {
			copy(p.Input("ids").Int32s(), ids)
		} else if p.Input("ids") != nil {
			t.Error("ids are asked for without a mask")
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
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
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		q, k, dim := p.Output("q").Float32s(), p.Output("k").Float32s(), r.Encoder.Dim
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
		if got := float64(p.Output("loss").Float32s()[0]); math.Abs(got-want) > 1e-5*want {
			t.Errorf("masked %v: the loss is %v, by hand %v", masked, got, want)
		}
	}
}

// TestKeysAreNotLearned: the key encoder moves by momentum alone, and with m of 1 not at all.
func TestKeysAreNotLearned(t *testing.T) {
	_, p, s := small(t, 4, func(r *Recipe) { r.Momentum = 1 })
	p.Input("lr").Float32s()[0] = 0.1
	q, k := read(t, s, "encoder_q.conv1.weight"), read(t, s, "encoder_k.conv1.weight")
	for range 2 {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
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

// TestQueueTakesAnyBatch: the pointer wraps, also where the batch is longer than the queue.
func TestQueueTakesAnyBatch(t *testing.T) {
	for _, c := range []struct{ batch, queue, want int }{{4, 6, 2}, {3, 6, 0}, {8, 6, 4}, {5, 1, 0}} {
		_, p, s := small(t, c.batch, func(r *Recipe) { r.Queue = c.queue })
		for range 2 {
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
		}
		if got := int(read(t, s, "queue_pointer").Int32s()[0]); got != c.want {
			t.Errorf("after two batches of %d the pointer of a queue of %d is %d, want %d", c.batch, c.queue, got, c.want)
		}
		k, queue := p.Output("k").Float32s(), read(t, s, "queue").Float32s()
		last := (c.want + c.queue - 1) % c.queue
		for j := range 8 {
			if queue[last*8+j] != k[len(k)-8+j] {
				t.Fatalf("batch %d, queue %d: the newest key does not stand before the pointer", c.batch, c.queue)
			}
		}
	}
}

func TestChanceAndSpread(t *testing.T) {
	r := Default()
	if got, want := r.ChanceLoss(), math.Log(65537); math.Abs(got-want) > 1e-12 {
		t.Errorf("chance is %v, want %v", got, want)
	}
	r.Symmetric = true
	if got, want := r.ChanceLoss(), 2*math.Log(65537); math.Abs(got-want) > 1e-12 {
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
	r := Default()
	if err := r.Check(); err != nil {
		t.Errorf("the default recipe: %v", err)
	}
	bad := Recipe{}
	err := bad.Check()
	for _, key := range []string{"objective", "dictionary", "loss", "encoder.arch", "encoder.stem", "encoder.head", "encoder.width", "encoder.dim", "queue", "t:", "batch", "bn_splits", "views.size", "views.policy", "epochs", "schedule", "checkpoint_every"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("an empty recipe's errors do not name %s: %v", key, err)
		}
	}
}
