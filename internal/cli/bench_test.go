package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"moco/engine/cpu"
	"moco/internal/bench"
	"moco/internal/sys"
)

// tiny is a recipe that takes no time: ResNet-18 with the CIFAR stem, so narrow that no row is
// full.
var tiny = []string{"--recipe", "cifar", "--set", "encoder.width=0.0625", "--set", "encoder.dim=8", "--set", "queue=16", "--set", "views.size=16", "--batch", "8", "--steps", "1"}

// benchJSON runs moco bench and decodes its one object; a field that report does not know is an
// error.
func benchJSON(t *testing.T, report any, more ...string) {
	t.Helper()
	code, stdout, stderr := command(append(append([]string{"bench", "--json"}, tiny...), more...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(report); err != nil || d.More() {
		t.Fatalf("not one object of the report's fields (%v):\n%s", err, stdout)
	}
}

// TestBenchSize: training steps are measured at the size of their largest views, and the trained
// encoder's forward pass at the size that pictures are encoded at.
func TestBenchSize(t *testing.T) {
	t.Parallel()
	growing := []string{"--set", "dictionary=batch", "--set", "loss=dcl", "--set", "shuffle_bn=false", "--set", "views.train_sizes=[8,12]"}
	for want, more := range map[int][]string{12: growing, 16: append(growing, "--forward")} {
		var r struct {
			Event string
			bench.Report
		}
		benchJSON(t, &r, more...)
		if r.Size != want {
			t.Errorf("%v is measured at %d pixels, want %d", more, r.Size, want)
		}
	}
}

func TestBenchReport(t *testing.T) {
	t.Parallel()
	for mode, more := range map[string][]string{"step": nil, "forward": {"--forward"}} {
		t.Run(mode, func(t *testing.T) {
			var r struct {
				Event string
				bench.Report
			}
			benchJSON(t, &r, more...)
			if r.Event != "done" || r.Mode != mode || r.Arch != "resnet18" || r.Stem != "cifar" || r.Width != 0.0625 || r.Size != 16 || r.Batch != 8 || r.Steps != 1 || r.Workers < 1 || r.Engine == "" {
				t.Errorf("the setup is %+v", r.Setup)
			}
			if !(r.SecondsPerStep > 0) || r.MedianSecondsPerStep != r.SecondsPerStep || !near(r.ImagesPerSecond, 8/r.SecondsPerStep) || r.MedianImagesPerSecond != r.ImagesPerSecond {
				t.Errorf("times of one step: %+v", r)
			}
			if r.FLOPs <= 0 || !near(r.GFLOPs, float64(r.FLOPs)/r.SecondsPerStep/1e9) || !(r.PeakGFLOPs > 0) || !near(r.PeakShare, r.GFLOPs/r.PeakGFLOPs) {
				t.Errorf("%d operations, %v GFLOP/s of %v", r.FLOPs, r.GFLOPs, r.PeakGFLOPs)
			}
			if r.VariableBytes <= 0 || r.WorkBytes <= 0 || r.PlannedBytes != r.VariableBytes+r.WorkBytes || r.ResidentBytes < 0 {
				t.Errorf("memory: %+v", r.Memory)
			}
			var shares, convolutions float64
			counts := map[string]int{}
			for i, k := range r.Kinds {
				shares += k.Share
				if strings.Contains(k.Kind, "Conv") || strings.Contains(k.Kind, "MatMul") {
					convolutions += k.Share
				}
				name := k.Kind[:len(k.Kind)-len(strings.TrimLeftFunc(k.Kind, unicode.IsLetter))] // "ConvGradInput" of "ConvGradInput+Add"
				counts[name] += k.Count
				if !(k.Seconds > 0) || k.GFLOPs < 0 || k.GBs < 0 || i > 0 && k.Seconds > r.Kinds[i-1].Seconds {
					t.Errorf("kinds, slowest first: %+v", r.Kinds)
				}
			}
			if !near(shares, 1) || !near(convolutions+r.RestShare, 1) || !(r.RestSeconds > 0 && r.RestSeconds < r.SecondsPerStep) {
				t.Errorf("shares add to %v, of them convolutions %v; the rest %v in %v s", shares, convolutions, r.RestShare, r.RestSeconds)
			}
			// ResNet-18 has 20 convolutions, and the images need no gradient. An engine may make
			// several operations of one.
			want := map[string]int{"Conv": 40, "ConvGradInput": 19, "ConvGradWeight": 20}
			if mode == "forward" {
				want = map[string]int{"Conv": 20, "ConvGradInput": 0, "ConvGradWeight": 0}
			}
			for name, n := range want {
				if counts[name] < n || n == 0 && counts[name] > 0 {
					t.Errorf("%d times %s, want %d", counts[name], name, n)
				}
			}
		})
	}
}

// near is true of two ways to compute one number.
func near(a, b float64) bool { return a > b*(1-1e-6) && a < b*(1+1e-6) }

func TestBenchLayers(t *testing.T) {
	t.Parallel()
	// The convolutions of ResNet-18 with the CIFAR stem at width 1/16 and 16 pixels: how often each
	// occurs in the encoder.
	want := []string{
		"3>4 k3 s1 p1 16x16 x1",
		"4>4 k3 s1 p1 16x16 x4",
		"4>8 k3 s2 p1 16x16 x1", "8>8 k3 s1 p1 8x8 x3", "4>8 k1 s2 p0 16x16 x1",
		"8>16 k3 s2 p1 8x8 x1", "16>16 k3 s1 p1 4x4 x3", "8>16 k1 s2 p0 8x8 x1",
		"16>32 k3 s2 p1 4x4 x1", "32>32 k3 s1 p1 2x2 x3", "16>32 k1 s2 p0 4x4 x1",
	}
	for name, more := range map[string][]string{"step": nil, "forward": {"--forward"}} {
		t.Run(name, func(t *testing.T) {
			var r struct {
				Event string
				bench.LayersReport
			}
			benchJSON(t, &r, append(more, "--layers")...)
			if r.Event != "done" || r.Mode != "layers" || !(r.PeakGFLOPs > 0) || r.PlannedBytes <= 0 {
				t.Errorf("the report is %+v", r)
			}
			seconds := map[string]float64{}
			var got []string
			for i, l := range r.Layers {
				encoders := 2
				if name == "forward" {
					encoders = 1
				}
				if l.Forward == nil {
					t.Fatalf("%v has no forward pass", l)
				}
				times := l.Forward.Count / encoders
				got = append(got, fmt.Sprintf("%d>%d k%d s%d p%d %dx%d x%d", l.In, l.Out, l.Kernel, l.Stride, l.Pad, l.Height, l.Width, times))
				if g := l.WeightGradient; (g != nil) != (name == "step") || g != nil && g.Count != times {
					t.Errorf("%v: weight gradient %+v", l, g)
				}
				if g := l.DataGradient; (g != nil) != (name == "step" && i > 0) || g != nil && g.Count != times { // images need none
					t.Errorf("%v: data gradient %+v", l, g)
				}
				for _, which := range bench.Computations() {
					p := l.Pass(which)
					if p == nil {
						continue
					}
					seconds[which.Key] += float64(p.Count) * p.Seconds
					if !(p.Seconds > 0 && p.GFLOPs > 0) || !near(p.PeakShare, p.GFLOPs/r.PeakGFLOPs) {
						t.Errorf("%v, %s: %+v", l, which.Name, p)
					}
					if !(p.Error >= 0 && p.Error < 1e-3) {
						t.Errorf("%v, %s: off by %v of the root mean square", l, which.Name, p.Error)
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("the convolutions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for key, s := range seconds {
				if !near(r.Seconds[key], s) || !(r.GFLOPs[key] > 0) {
					t.Errorf("%s of a step: %v s, want %v; %v GFLOP/s", key, r.Seconds[key], s, r.GFLOPs[key])
				}
			}
		})
	}
}

func TestBenchLayersForPeople(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(append(append([]string{"bench"}, tiny...), "--layers", "--forward")...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"resnet18 (cifar stem", "of peak", "error", "3x3/2", "16>32", "4x4", "forward"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing:\n%s", want, stdout)
		}
	}
	if lines := strings.Count(stdout, "\n"); lines != 3+1+11+1 || strings.Contains(stdout, "grad") {
		t.Errorf("%d lines, want a row for each of 11 forms and no gradient:\n%s", lines, stdout)
	}
}

// TestBenchLayersOnPaths: each instruction set has a report of its own, in bf16 as in float32.
func TestBenchLayersOnPaths(t *testing.T) {
	t.Parallel()
	paths := cpu.Paths()
	for precision, largest := range map[string]float64{"fp32": 1e-3, "bf16": 0.05} {
		code, stdout, stderr := command(append(append([]string{"bench", "--json"}, tiny...), "--layers",
			"--precision", precision, "--paths", strings.Join(paths, ","))...)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		d := json.NewDecoder(strings.NewReader(stdout))
		for _, path := range paths {
			var r bench.LayersReport
			if err := d.Decode(&r); err != nil {
				t.Fatal(err)
			}
			if r.Engine != "cpu/"+path || r.Precision != precision {
				t.Errorf("a report on %s in %s, want %s in %s", r.Engine, r.Precision, path, precision)
			}
			var error float64
			for _, l := range r.Layers {
				for _, c := range bench.Computations() {
					if p := l.Pass(c); p != nil {
						error = max(error, p.Error)
					}
				}
			}
			// Results of bf16 are rounded to 8 bits: with errors of float32, they would be float32's.
			if error > largest || precision == "bf16" && error < 1e-3 {
				t.Errorf("%s in %s: off by %v of the root mean square", path, precision, error)
			}
		}
	}
}

func TestBenchBeyondMemory(t *testing.T) {
	t.Parallel()
	if sys.FreeMemory() == 0 {
		t.Skip("this system does not tell how much memory is free")
	}
	for _, more := range [][]string{nil, {"--forward"}, {"--layers"}} {
		code, _, stderr := command(append([]string{"bench", "--batch", "1073741824"}, more...)...)
		if code != 1 || !strings.Contains(stderr, "use a smaller --batch") {
			t.Errorf("bench %v: exit code %d: %s", more, code, stderr)
		}
		oneSentence(t, stderr)
	}
}
