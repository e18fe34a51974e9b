package encoder_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco/encoder"
	"moco/tensor"
	"moco/weights"
)

// samples are the files of weights/testdata. Each has the prefix of its encoder, or a part of the
// error.
var samples = map[string]struct{ prefix, refused string }{
	"allhalf.pth":            {prefix: ""},                   // num_batches_tracked as float16
	"ema_float.pth":          {prefix: ""},                   // as float32
	"meta_width.safetensors": {prefix: ""},                   // metadata with a width
	"top_width.pth":          {prefix: "state_dict.module."}, // a width at the top
	"with_torchversion.pth":  {prefix: "state_dict."},
	"with_yacs.pth":          {prefix: "state_dict."},
	"gray1ch.pth":            {refused: "a stem of one channel"},
	"lfs.pth":                {refused: "a git-lfs pointer"},
	"nan.pth":                {refused: "layer1.0.conv1.weight holds NaN"},
	"whole.pth":              {refused: `torch.save(torch.load(`},
}

// TestSamples: every sample is opened, or refused with a helpful sentence.
func TestSamples(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("../weights/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want, known := samples[file.Name()]
		if !known && !file.IsDir() {
			t.Errorf("%s has no place in the table of samples", file.Name())
		}
		if !known {
			continue
		}
		t.Run(file.Name(), func(t *testing.T) {
			t.Parallel()
			e, err := encoder.Open(context.Background(), filepath.Join("../weights/testdata", file.Name()))
			if want.refused != "" {
				if err == nil || !strings.Contains(err.Error(), want.refused) || strings.Contains(err.Error(), "\n") {
					t.Errorf("the error is %v, want one line that says %q", err, want.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			r := e.Imported
			if r == nil || r.Prefix != want.prefix || r.Encoder.Arch != "resnet18" || len(r.Used) != 120 ||
				len(r.LeftOut) > 0 || len(r.Notes) > 0 {
				t.Errorf("opened as %v", r)
			}
			if c := e.Weights.Get("bn1.num_batches_tracked"); c == nil || c.Type != tensor.Int64 || len(c.Shape) != 0 {
				t.Errorf("its counter is %v", c)
			}
		})
	}
	for name := range samples {
		if !slices.ContainsFunc(files, func(f os.DirEntry) bool { return f.Name() == name }) {
			t.Errorf("the sample %s is not there", name)
		}
	}
}

// TestNotFinite: no function returns an encoder with weights that are not finite.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	zero := float32(0)
	for name, value := range map[string]float32{"NaN": zero / zero, "infinite": 1 / zero, "minus infinite": -1 / zero} {
		for _, tensor := range []string{"layer4.1.bn2.running_var", "conv1.weight", "fc.bias"} {
			f := loaded(t, "old.tar")
			good, _, err := encoder.Import(f, encoder.ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			good.Get(tensor).Float32s()[0] = value
			if _, err := encoder.FromFile(good, encoder.Options{}); !errors.Is(err, encoder.ErrNotFinite) ||
				!strings.Contains(err.Error(), tensor) {
				t.Errorf("%s in %s of moco's own: %v", name, tensor, err)
			}
			// Import takes tensors without a copy.
			if _, _, err := encoder.Import(f, encoder.ImportOptions{}); !errors.Is(err, encoder.ErrNotFinite) {
				t.Errorf("%s in %s of foreign weights: %v", name, tensor, err)
			}
		}
	}
}

// TestCounters: nothing computes with a counter, so it may have any type and value.
func TestCounters(t *testing.T) {
	t.Parallel()
	const name = "layer2.0.bn1.num_batches_tracked"
	float := func(v ...float32) *tensor.Tensor { return tensor.FromFloat32s(v, len(v)) }
	int32s := tensor.New(tensor.Int32, 1)
	int32s.Int32s()[0] = 7
	bytes := tensor.New(tensor.Uint8)
	bytes.Bytes()[0] = 7
	zero := float32(0)
	for what, c := range map[string]struct {
		counter *tensor.Tensor
		want    int64
	}{
		"float": {float(7), 7}, "int32": {int32s, 7}, "uint8": {bytes, 7}, "several": {float(7, 8), 0},
		"none": {nil, 0}, "NaN": {float(zero / zero), 0}, "infinite": {float(1 / zero), 0},
		"empty": {tensor.New(tensor.Float32, 0, 3), 0},
	} {
		f := loaded(t, "old.tar")
		f.Tensors = slices.DeleteFunc(f.Tensors, func(n weights.Named) bool { return n.Name == name })
		if c.counter != nil {
			f.Tensors = append(f.Tensors, weights.Named{Name: name, Tensor: c.counter})
		}
		out, report, err := encoder.Import(f, encoder.ImportOptions{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := out.Get(name); got.Type != tensor.Int64 || len(got.Shape) != 0 || got.Int64s()[0] != c.want {
			t.Errorf("%s becomes %v %v %v, want %d", what, got.Type, got.Shape, got.Int64s(), c.want)
		}
		if used := slices.Contains(report.Used, name); used != (c.counter != nil) || slices.Contains(report.LeftOut, name) {
			t.Errorf("%s: the report has it used: %v", what, used)
		}
	}
}

// TestStripExactly: an exact prefix wins over prefixes that end in it, and over guesses.
func TestStripExactly(t *testing.T) {
	t.Parallel()
	three := func() *weights.File {
		f := &weights.File{}
		for _, prefix := range []string{"student.backbone.", "backbone.", "teacher.backbone.", ""} {
			for _, n := range loaded(t, "old.tar").Tensors {
				f.Tensors = append(f.Tensors, weights.Named{Name: prefix + n.Name, Tensor: n.Tensor})
			}
		}
		return f
	}
	for strip, want := range map[string]string{
		"backbone": "backbone.", "backbone.": "backbone.", "student.backbone": "student.backbone.",
		"student.backbone.": "student.backbone.", ".": "",
	} {
		_, report, err := encoder.Import(three(), encoder.ImportOptions{Strip: strip})
		if err != nil || report.Prefix != want {
			t.Errorf("%q takes %v, %v; want %q", strip, report, err, want)
		}
	}
	var choice *encoder.ChoiceError
	_, _, err := encoder.Import(three(), encoder.ImportOptions{})
	if !errors.As(err, &choice) || !choice.Several || len(choice.Prefixes) != 4 || strings.Contains(err.Error(), "--") {
		t.Errorf("without a prefix: %v", err)
	}
	_, _, err = encoder.Import(three(), encoder.ImportOptions{Strip: "ackbone"})
	if !errors.As(err, &choice) || choice.Several {
		t.Errorf("part of a name: %v", err)
	}
}

// TestCommands: a file that asks Python to run something opens, because nothing is run, but with a
// warning.
func TestCommands(t *testing.T) {
	t.Parallel()
	f := loaded(t, "old.tar")
	f.Globals = []string{"argparse.Namespace", "os.system"}
	f.Skipped = []weights.Skipped{{Name: "freqs", Why: "numbers of type C64"}}
	_, report, err := encoder.Import(f, encoder.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if last := report.Notes[len(report.Notes)-1]; !strings.Contains(last, "asks Python to call os.system,") {
		t.Errorf("the notes are %q", report.Notes)
	}
	if !slices.Contains(report.LeftOut, "freqs") {
		t.Errorf("left out are %v", report.LeftOut)
	}
	f = &weights.File{Tensors: []weights.Named{{Name: "x", Tensor: tensor.New(tensor.Float32, 1)}},
		Module: &weights.KindError{Kind: weights.KindModule}}
	var kind *weights.KindError
	if _, _, err := encoder.Import(f, encoder.ImportOptions{}); !errors.As(err, &kind) || kind.Kind != weights.KindModule {
		t.Errorf("other tensors beside a whole module: %v", err)
	}
}
