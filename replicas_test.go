package moco

import "testing"

func TestReplicaGraphs(t *testing.T) {
	for _, c := range []func(r *Recipe){
		func(r *Recipe) {},
		func(r *Recipe) { r.Symmetric = true },
		func(r *Recipe) { r.ShuffleBN = false },
		func(r *Recipe) { r.MaskSameImage = true },
		func(r *Recipe) { r.Dictionary = "batch" },
		func(r *Recipe) { r.Dictionary, r.Symmetric = "batch", true },
		func(r *Recipe) { r.Dictionary, r.Loss = "batch", "nt_xent" },
		func(r *Recipe) { r.Dictionary, r.Images, r.Queue = "bank", 100, 8 },
		func(r *Recipe) { r.Dictionary, r.Loss, r.Images, r.Queue = "bank", "softmax", 100, 8 },
		func(r *Recipe) { r.Dictionary, r.Loss, r.Images, r.Queue = "bank", "nce", 100, 8 },
		func(r *Recipe) { r.Objective, r.Encoder.Dim = "supervised", 10 },
	} {
		r := Default()
		r.Encoder.Arch, r.Encoder.Stem, r.Encoder.Width, r.Views.Size, r.Batch, r.Queue = "resnet18", "cifar", 0.0625, 16, 32, 64
		r.Replicas = 4
		c(&r)
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		g, err := Graph(&r, r.Batch)
		if err != nil {
			t.Fatal(r.Dictionary, r.Loss, err)
		}
		_ = g
	}
}
