//go:build unix

package loader

import (
	"context"
	"flag"
	"fmt"
	"syscall"
	"testing"

	"moco"
	"moco/augment"
	"moco/data"
	"moco/picture"
)

var pictures = flag.String("pictures", "", "a folder of pictures for BenchmarkFill")

// BenchmarkFill draws two views of each picture in epochs after the first, in which all are in memory.
// us/image is the processor time of all threads: on a busy machine the time by the clock says little.
func BenchmarkFill(b *testing.B) {
	if *pictures == "" {
		b.Skip("give it pictures: -pictures FOLDER")
	}
	set, err := data.Open(context.Background(), *pictures, data.Options{CacheBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer set.Close()
	for _, size := range []int{64, 224} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, err := augment.Named("v2", size)
			if err != nil {
				b.Fatal(err)
			}
			n := min(40, set.Len())
			reading := data.Reading{Side: (9*size + 2) / 4, Ground: picture.White}
			l := New(set, p, Options{Batch: n, DropLast: true, Seed: 1, Workers: 2, Reading: reading})
			into := moco.Batch{Views: [][]float32{make([]float32, 3*n*size*size), make([]float32, 3*n*size*size)}}
			step := 0
			next := func() {
				epoch, at := step/l.StepsPerEpoch(), step%l.StepsPerEpoch()
				if err := l.Fill(context.Background(), epoch, at, into); err != nil {
					b.Fatal(err)
				}
				step++
			}
			for step < l.StepsPerEpoch() {
				next()
			}
			before := processorTime(b)
			for b.Loop() {
				next()
			}
			b.ReportMetric(float64(processorTime(b)-before)/1e3/float64(b.N*n), "us/image")
		})
	}
}

// processorTime is what this process has taken so far, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
