package picture

import (
	"bytes"
	"image/png"
	"os"
	"strings"
	"testing"
)

// MOCO_BENCH_PICTURES names files, separated by commas, to decode: here, and PNGs by the standard
// library too.
func BenchmarkFiles(b *testing.B) {
	names := os.Getenv("MOCO_BENCH_PICTURES")
	if names == "" {
		b.Skip("MOCO_BENCH_PICTURES is not set")
	}
	for name := range strings.SplitSeq(names, ",") {
		content, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			var d Decoder
			var m Image
			for b.Loop() {
				if err := d.Decode(content, Options{}, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
		if format, _ := Sniff(content); format == "png" {
			b.Run(name+" by image/png", func(b *testing.B) {
				for b.Loop() {
					if _, err := png.Decode(bytes.NewReader(content)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
