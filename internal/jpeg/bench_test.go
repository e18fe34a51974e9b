package jpeg

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var photo = flag.String("photo", "", "a JPEG file for BenchmarkDecode, instead of a drawn picture")

// BenchmarkDecode decodes one picture at each scale on each kernel path. MB/s are of pixels at full
// size.
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
				least := time.Hour // of one decoding: the mean is that of a busy machine
				for b.Loop() {
					start := time.Now()
					if _, err := decodeAt(data, scale, path); err != nil {
						b.Fatal(err)
					}
					least = min(least, time.Since(start))
				}
				b.ReportMetric(float64(least.Microseconds())/1000, "min-ms")
			})
		}
	}
}
