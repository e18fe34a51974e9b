//go:build unix

package jpeg

import (
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
)

var photo = flag.String("photo", "", "a JPEG file for BenchmarkDecode")

// BenchmarkDecode decodes one picture at each scale on each kernel path. MB/s are of pixels at full
// size. min-ms is the processor time, of all threads, that one decoding takes at least: on a busy
// machine the mean says little.
func BenchmarkDecode(b *testing.B) {
	data, err := os.ReadFile(*photo)
	if err != nil {
		b.Skip("give it a file: -photo FILE")
	}
	config, err := DecodeConfig(data)
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range Paths() {
		for _, scale := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("%s/1:%d", path, scale), func(b *testing.B) {
				b.SetBytes(int64(3 * config.Width * config.Height))
				least := int64(1) << 62
				for b.Loop() {
					start := processorTime(b)
					if _, err := decodeAt(data, scale, path); err != nil {
						b.Fatal(err)
					}
					least = min(least, processorTime(b)-start)
				}
				b.ReportMetric(float64(least)/1e6, "min-ms")
			})
		}
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
