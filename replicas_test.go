package moco

import (
	"fmt"
	"testing"

	"moco/engine/cpu"
)

// everyMechanism changes the default recipe to each mechanism, and to what changes their steps.
var everyMechanism = map[string]func(r *Recipe){
	"queue":          func(*Recipe) {},
	"queue, ids":     func(r *Recipe) { r.MaskSameImage = true },
	"symmetric":      func(r *Recipe) { r.Symmetric = true },
	"in order":       func(r *Recipe) { r.ShuffleBN = false },
	"batch":          func(r *Recipe) { r.Dictionary = "batch" },
	"batch, both":    func(r *Recipe) { r.Dictionary, r.Symmetric = "batch", true },
	"batch, nt_xent": func(r *Recipe) { r.Dictionary, r.Loss = "batch", "nt_xent" },
	"batch, dcl":     func(r *Recipe) { r.Dictionary, r.Loss = "batch", "dcl" },
	"batch, 4 views": func(r *Recipe) { r.Dictionary, r.Loss, r.Views.PerImage = "batch", "dcl", 4 },
	"bank":           func(r *Recipe) { r.Dictionary, r.Images = "bank", 50000 },
	"bank, softmax":  func(r *Recipe) { r.Dictionary, r.Loss, r.Images = "bank", "softmax", 50000 },
	"bank, nce":      func(r *Recipe) { r.Dictionary, r.Loss, r.Images, r.Queue = "bank", "nce", 50000, 512 },
	"momentum batch": momentumOfBatch,
	"supervised":     func(r *Recipe) { r.Objective, r.Encoder.Dim = "supervised", 10 },
}

// TestReplicaMemory: replicas that take turns hold the activations of one, so a batch of eight of them
// takes little more memory than one of an eighth.
func TestReplicaMemory(t *testing.T) {
	t.Parallel()
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range everyMechanism {
		plan := func(batch, replicas int) int64 {
			r := Default()
			r.Encoder.Arch, r.Encoder.Stem, r.Views.Size, r.Queue = "resnet18", "cifar", 32, 4096
			r.Batch, r.BNSplits, r.Replicas = batch, replicas, replicas
			change(&r)
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			s, err := Compile(&r, batch, e, e.NewState())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer s.Close()
			return s.Cost().PeakBytes()
		}
		one, eight := plan(256, 1), plan(2048, 8)
		if eight > one*13/10 {
			t.Errorf("%s: a batch of 2048 in 8 replicas takes %d MB, one of 256 takes %d MB", name, eight>>20, one>>20)
		}
		t.Logf("%s: %d MB, and %d MB for 8 replicas", name, one>>20, eight>>20)
	}
}

// TestOneReplica: replicas: 1 is the step without replicas, node for node.
func TestOneReplica(t *testing.T) {
	t.Parallel()
	for name, change := range everyMechanism {
		nodes := func(replicas int) (all []string) {
			r := Default()
			r.Replicas = replicas
			change(&r)
			g, err := Graph(&r, 256)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, n := range g.Nodes {
				if n.Varies {
					t.Fatalf("%s: %v varies", name, n)
				}
				all = append(all, n.String())
			}
			return all
		}
		if a, b := nodes(0), nodes(1); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: replicas: 1 is another graph", name)
		}
	}
}
