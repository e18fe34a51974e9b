package moco

import (
	"fmt"
	"os"
	"sort"
	"testing"
	"time"

	"moco/engine/cpu"
	"moco/nn"
)

// BenchmarkStep times whole steps of the cifar recipe. With MOCO_PROFILE set it also prints where
// the time goes.
func BenchmarkStep(b *testing.B) {
	for _, width := range []float64{0.25, 1} {
		b.Run(fmt.Sprintf("resnet18-cifar-width-%v", width), func(b *testing.B) {
			r := Default()
			r.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: width, Dim: 128, Head: "linear"}
			r.Views = Views{Policy: "cifar", Size: 32}
			r.Queue, r.BNSplits, r.Batch = 4096, 1, 256
			e, err := cpu.New(cpu.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s := e.NewState()
			p, err := Compile(&r, r.Batch, e, s)
			if err != nil {
				b.Fatal(err)
			}
			if err := Initialise(&r, s, nil); err != nil {
				b.Fatal(err)
			}
			batch := p.Batch()
			for _, x := range batch.Views {
				for i, v := range pseudo(1, len(x)) {
					x[i] = float32(v)
				}
			}
			for i := range r.Batch {
				batch.Shuffle[i], batch.Unshuffle[i] = int32(i), int32(i)
			}
			run := func() {
				if _, err := p.Run(Progress{StepsPerEpoch: 1}); err != nil {
					b.Fatal(err)
				}
			}
			run()
			p.Profile(os.Getenv("MOCO_PROFILE") != "")
			for b.Loop() {
				run()
			}
			seconds := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(float64(r.Batch)/seconds, "images/s")
			b.ReportMetric(float64(p.Cost().FLOPs)/seconds/1e9, "GFLOP/s")
			b.ReportMetric(float64(p.Cost().PeakBytes())/1e6, "MB")
			byLabel := map[string]time.Duration{}
			for _, t := range p.Profile(false) {
				byLabel[t.Label] += t.Time / time.Duration(t.Runs)
			}
			var labels []string
			for l := range byLabel {
				labels = append(labels, l)
			}
			sort.Slice(labels, func(i, j int) bool { return byLabel[labels[i]] > byLabel[labels[j]] })
			for _, l := range labels {
				b.Logf("%-32s %v", l, byLabel[l])
			}
		})
	}
}
