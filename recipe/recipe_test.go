package recipe

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"moco/nn"
)

func TestRecipes(t *testing.T) {
	for _, name := range Names() {
		r, err := Load(name, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if back, err := Parse(Write(r)); err != nil || Write(back) != Write(r) {
			t.Errorf("%s does not come back as it was written: %v", name, err)
		}
	}
	if r, err := Load("moco-v1", nil); err != nil || r.WeightDecay != 1e-4 || r.Temperature != 0.07 || len(r.Milestones) != 2 {
		t.Errorf("moco-v1 is %+v, %v", r, err)
	}
	if _, err := Load("no-such-recipe", nil); err == nil || !strings.Contains(err.Error(), "moco-v2") {
		t.Errorf("an unknown recipe gives %v", err)
	}
}

func TestSettings(t *testing.T) {
	for setting, want := range map[string]string{
		"queu=7":                    `did you mean "queue"`,
		"encoder.widht=1":           `did you mean "encoder.width"`,
		"width=1":                   `did you mean "encoder.width"`,
		"encoder=3":                 "is a group",
		"something_else=1":          "a recipe has",
		"q=1":                       "a recipe has",
		"queue=0":                   "queue: must be",
		"t=-0.1":                    "t: the temperature",
		"batch=-1":                  "batch: must be",
		"bn_splits=7":               "bn_splits",
		"queue=many":                `"queue" must be a whole number`,
		"queue=1.5":                 `"queue" must be a whole number of at most 2147483647, is 1.5`,
		"queue=":                    `"queue" must be a whole number of at most 2147483647, is empty`,
		"queue={a: 1}":              `"queue" must be a whole number`,
		"epochs=99999999999999":     "epochs: must be above 0 and at most 2147483647, is 99999999999999",
		"epochs=0":                  "epochs: must be above 0",
		"seed=-1":                   `"seed" must be a whole number`,
		"seed=18446744073709551616": `"seed" must be a whole number`,
		"lr=.inf":                   `"lr" must be a number`,
		"lr=.nan":                   `"lr" must be a number`,
		"lr=fast":                   `"lr" must be a number, is "fast"`,
		"symmetric=yes":             `"symmetric" must be true or false`,
		"encoder.arch=18":           `"encoder.arch" must be a word`,
		"encoder.arch=vit":          "resnet18",
		"views.policy=v9":           "cifar",
		"schedule=linear":           "cosine, cosine_after_warmup, step",
		"dictionary=list":           "there are bank, batch, momentum_batch, queue",
		"m=1.5":                     "between 0 and 1",
		"lr":                        "want key=value",
		"encoder.stem=[1, 2":        "the setting",
		"milestones=3":              "a list of whole numbers",
		"milestones=[3, x]":         "a list of whole numbers",
		"milestones=[30, 20]":       "must rise",
		"weight_decay=-1":           "weight_decay",
		"positives=crops":           "views, frames or pairs",
		"views.from=31":             "views.from: must be at least the size of the views, 32 pixels",
		"views.from=-1":             "views.from: must be at least",
		"views.train_sizes=[16, 8]": "views.train_sizes: sizes must rise to at most views.size, 32 pixels, are [16 8]",
		"views.train_sizes=[48]":    "views.train_sizes: sizes must rise to at most views.size, 32 pixels",
		"views.train_sizes=[0]":     "views.train_sizes: sizes must rise",
		"views.crop_min=1.5":        "views.crop_min: is a share of the image's area",
		"views.crop_min=-0.1":       "views.crop_min: is a share of the image's area",
		"views.ground=red":          "want white, black, drop or a colour as #rrggbb",
		"views.ground=#12":          "want white, black, drop or a colour as #rrggbb",
		"max_gap=3":                 "goes with positives: frames, not with views",
	} {
		if _, err := Load("cifar", []string{setting}); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("the setting %s gives %v, want one line that says %q", setting, err, want)
		}
	}
	r, err := Load("cifar", []string{"queue=1e3", "lr=5e-2", "weight_decay=1E-4", "seed=18446744073709551615",
		"encoder.layers=[1, 1, 1, 1]", "encoder.width=0.5"})
	if err != nil || r.Queue != 1000 || r.LR != 0.05 || r.WeightDecay != 1e-4 || r.Seed != 1<<64-1 ||
		len(r.Encoder.Layers) != 4 || r.Encoder.Width != 0.5 || r.Encoder.Arch != "resnet18" {
		t.Errorf("good settings give %+v, %v", r, err)
	}
}

// TestEpochsWritten: whole epochs stand in files as they always did, parts of one with a fraction.
func TestEpochsWritten(t *testing.T) {
	for value, want := range map[string]string{"200": "epochs: 200\n", "2.5": "epochs: 2.5\n", "1e3": "epochs: 1000\n"} {
		r, err := Load("cifar", []string{"epochs=" + value})
		if err != nil || !strings.Contains(Write(r), want) {
			t.Errorf("epochs=%s is written without %q: %v\n%s", value, want, err, Write(r))
		}
		if back, err := Parse(Write(r)); err != nil || back.Epochs != r.Epochs {
			t.Errorf("epochs=%s comes back as %v, %v", value, back.Epochs, err)
		}
	}
}

func TestRecipeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	for content, want := range map[string]string{
		"":                                  "is empty",
		"# nothing\n":                       "is empty",
		"null":                              "mapping",
		"- 1":                               "mapping",
		"queue: 3\nqueue: 4":                "already defined",
		"queue: [":                          "mine.yaml",
		"queue: 3\n---\nqueue: 4":           "several documents",
		"lr: 0.1\nqueu: 7\n":                `mine.yaml, line 2: recipe key "queu" is not known; did you mean "queue"?`,
		"lr: 0.1\n\nencoder:\n  widht: 2\n": `mine.yaml, line 4: recipe key "encoder.widht"`,
		"encoder: {\n  arch: resnet18,\n dim: x}": `line 3: recipe key "encoder.dim" must be a whole number`,
		"encoder: null": "is a group",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, []string{"epochs=3"}); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%q gives %v, want one line that says %q", content, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("queue: 77\nviews: {policy: v2, size: 64}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := Load(path, []string{"batch=16"}); err != nil || r.Queue != 77 || r.Views.Size != 64 ||
		r.Batch != 16 || r.Momentum != 0.999 {
		t.Errorf("a file with few keys gives %+v, %v", r, err)
	}
}

// FuzzRecipe: a text is refused with an error, or gives a recipe that Write and Parse keep as it
// is.
func FuzzRecipe(f *testing.F) {
	for _, s := range []string{"", "queue: 3", "queue: 1e3\nt: .inf",
		"encoder: {width: 0.25}\nmilestones: [1, 2]\nschedule: step", "<<: {queue: 3}", "a: &a [*a]", "? [x]\n: 3",
		"seed: 18446744073709551615", "queue: 0x10\nlr: 1e-300", "queue: !!binary aGk=", "\t", "encoder:\n- 1", "lr: 1e30"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := Parse(raw)
		if err != nil {
			return
		}
		if back, err := Parse(Write(r)); err != nil || len(Differences(r, back)) > 0 {
			t.Errorf("%q is read and then does not come back: %v\n%s", raw, err, Write(r))
		}
	})
}

// TestTransformers: what an encoder is where its keys are left out follows from its architecture.
func TestTransformers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		recipe   string
		settings []string
		want     nn.Config
	}{
		"another family": {"cifar", []string{"encoder.arch=vit_ti4"},
			nn.Config{Arch: "vit_ti4", Width: 1, Dim: 128, Head: "linear", Image: 32}},
		"another size of views": {"cifar", []string{"encoder.arch=vit_s16", "views.size=224"},
			nn.Config{Arch: "vit_s16", Width: 1, Dim: 128, Head: "linear", Image: 224}},
		"another size than that of the positions": {"cifar", []string{"encoder.arch=vit_s16", "views.size=224", "encoder.image=384"},
			nn.Config{Arch: "vit_s16", Width: 1, Dim: 128, Head: "linear", Image: 384}},
		"back to a ResNet": {"cifar-vit", []string{"encoder.arch=resnet18", "encoder.layers=[1, 1, 1, 1]"},
			nn.Config{Arch: "resnet18", Stem: "imagenet", Width: 1, Dim: 128, Head: "mlp_bn", HeadLayers: 3, Hidden: 1024,
				Layers: []int{1, 1, 1, 1}}},
	} {
		r, err := Load(c.recipe, c.settings)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(r.Encoder, c.want) {
			t.Errorf("%s: %+v, want %+v", name, r.Encoder, c.want)
		}
		again, err := Parse(Write(r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%s: written and read it is %+v (%v), want %+v", name, again, err, r)
		}
	}
	for want, settings := range map[string][]string{
		"encoder.stem: a vit_ti4 has no such key":                {"encoder.arch=vit_ti4", "encoder.stem=cifar"},
		"encoder.registers: a resnet18 has no such key":          {"encoder.registers=4"},
		"views.size: vit_s16 takes images of a multiple of":      {"encoder.arch=vit_s16", "encoder.image=32", "views.size=40"},
		"betas: belong to the optimizer adamw":                   {"betas=[0.9, 0.95]"},
		"betas: must be two numbers":                             {"optimizer=adamw", "betas=[0.9]"},
		`"betas" must be a list of numbers, such as [0.9, 0.95]`: {"optimizer=adamw", "betas=0.9"},
		"layer_decay: must be 0 (none) to 1":                     {"layer_decay=1.5"},
	} {
		if _, err := Load("cifar", settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v give %v, want %q", settings, err, want)
		}
	}
}
