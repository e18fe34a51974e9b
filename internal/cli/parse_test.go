package cli

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/exchange"
	"moco/recipe"
	"moco/transfer"
)

// parsed reads a command line, without the command's name, as the command would.
func parsed(o options, line string) error {
	c := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(c *cobra.Command, args []string) error {
		return ready(o, c, args)
	}}
	o.bind(c)
	typed(c)
	c.SetArgs(strings.Fields(line))
	return c.Execute()
}

// TestParse: what command lines mean.
func TestParse(t *testing.T) {
	t.Parallel()
	knns := []evaluate.KNN{{K: 3, T: 0.07}, {K: 3, T: 0.1}, {K: 9, T: 0.07}, {K: 9, T: 0.1}}
	for _, c := range []struct {
		line      string
		got, want options
	}{
		{"--model run --data d --out x.npy", &embedOptions{}, &embedOptions{
			source: source{model: "run", layers: []encoder.Layer{encoder.Backbone}, batch: 64},
			data:   "d", out: "x.npy", layout: "moco", dtype: "float32", maxBad: 0.01}},
		{"--model run --data d --out parts --layout clip-retrieval --dtype float16 --shard 3/7", &embedOptions{}, &embedOptions{
			source:     source{model: "run", layers: []encoder.Layer{encoder.Backbone}, batch: 64},
			shardFlags: shardFlags{shard: "3/7"},
			data:       "d", out: "parts", layout: "clip-retrieval", dtype: "float16", maxBad: 0.01}},
		{"--model run --data d --to qdrant://h/c --features head --precision bf16 --batch 7 --max-bad 1 --threads 3", &embedOptions{}, &embedOptions{
			source:  source{model: "run", layers: []encoder.Layer{encoder.Head}, precision: "bf16", batch: 7},
			machine: machine{threads: 3}, data: "d", to: "qdrant://h/c", layout: "moco", dtype: "float32", maxBad: 1}},
		{"--model m --train a --test b --features backbone,head --k 3,9 --t 0.07,0.1", &knnOptions{}, &knnOptions{
			evalOptions: evalOptions{
				source: source{model: "m", layers: []encoder.Layer{encoder.Backbone, encoder.Head}, batch: 128, size: 32},
				train:  "a", test: "b"},
			ks: []int{3, 9}, ts: []float64{0.07, 0.1}, all: knns}},
		{"--train a --test b --train-vectors a.npy --test-vectors b.npy", &knnOptions{}, &knnOptions{
			evalOptions: evalOptions{
				source: source{layers: []encoder.Layer{encoder.Head}, batch: 128, size: 32},
				train:  "a", test: "b", trainVectors: "a.npy", testVectors: "b.npy"},
			ks: []int{200}, ts: []float64{0.1}, all: []evaluate.KNN{{K: 200, T: 0.1}}}},
		{"--model m --out x.onnx --probe p --input float", &exportOptions{}, &exportOptions{
			model: "m", out: "x.onnx", input: "float", probe: "p", output: exchange.Logits,
			write: exchange.Options{Format: exchange.ONNX, ONNX: exchange.ONNXOptions{Floats: true, Output: exchange.Logits}}}},
		{"--model m --out x --format torch", &exportOptions{}, &exportOptions{
			model: "m", out: "x", input: "uint8", format: exchange.Torch, output: exchange.Backbone, write: exchange.Options{Format: exchange.Torch}}},
		{"old.tar --out x --strip a.b --size 64 --policy v2", &importOptions{}, &importOptions{
			ImportOptions: encoder.ImportOptions{Strip: "a.b", Size: 64, Policy: "v2"}, path: "old.tar", out: "x"}},
		{"run --tensors", &infoOptions{}, &infoOptions{path: "run", tensors: true}},
		{"p --all --decode --frames --fps 2", &dataInfoOptions{}, &dataInfoOptions{
			path: "p", all: true, survey: data.Survey{Sample: -1, Decode: true}, read: data.Options{Frames: true, FPS: 2}}},
		{"--out nowhere --steps 5", &demoOptions{}, &demoOptions{out: "nowhere", steps: 5}},
		{"--model run --train a --test b --labels 1% --seeds 2 --lr 0.1 --weight-decay 0 --set schedule=step", &finetuneOptions{}, &finetuneOptions{
			model: "run", recipe: "cifar", train: "a", test: "b", labels: "1%", seeds: 2, rate: 0.1,
			set: []string{"schedule=step", "lr=0.1", "weight_decay=0"}, share: must(data.ParseShare("1%"))}},
	} {
		if err := parsed(c.got, c.line); err != nil {
			t.Errorf("%T of %s: %v", c.got, c.line, err)
		} else if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s is\n%+v\nwant\n%+v", c.line, c.got, c.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestParseTrain: flags that stand for keys of the recipe, and those that are for one kind of
// positives.
func TestParseTrain(t *testing.T) {
	t.Parallel()
	o := &trainOptions{}
	err := parsed(o, "--data d --out r --recipe moco-v1 --epochs 3 --batch 64 --seed 7 --precision bf16 --set positives=pairs --pairs p.csv --init e")
	r := o.learn
	if err != nil || r.Epochs != 3 || r.Batch != 64 || r.Seed != 7 || r.Precision != "bf16" || r.Positives != "pairs" {
		t.Errorf("the recipe is %+v, %v", r, err)
	}
	if o.again != ` --pairs "p.csv" --init "e"` || o.read.Pairs != "p.csv" || o.read.Frames {
		t.Errorf("a resumed run needs %q; the images are read by %+v", o.again, o.read)
	}
	o = &trainOptions{}
	if err := parsed(o, "--data d --out r --set positives=frames --fps 2"); err != nil || !o.read.Frames || o.read.FPS != 2 || o.again != " --fps 2" {
		t.Errorf("frames: %+v, %q, %v", o.read, o.again, err)
	}
	dir := t.TempDir()
	raw := recipe.Write(must(recipe.Load("moco-v1", []string{"epochs=5"})))
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(raw), 0o644); err != nil {
		t.Fatal(err)
	}
	o = &trainOptions{}
	if err := parsed(o, "--data d --resume --out "+dir); err != nil || o.learn.Epochs != 5 {
		t.Errorf("a resumed run's recipe is its own: %+v, %v", o.learn, err)
	}
}

// TestParseComparisons: the commands of many runs.
func TestParseComparisons(t *testing.T) {
	t.Parallel()
	c := &compareOptions{}
	err := parsed(c, "--study momentum --data d --monitor-train a --monitor-test b --out o --seeds 4 --epochs 2.5 --set t=0.3")
	if err != nil || c.study.Seeds != 4 || strings.Join(c.set, " ") != "t=0.3 epochs=2.5" {
		t.Errorf("compare: %+v, %v", c, err)
	}
	o := &transferOptions{}
	err = parsed(o, "--pretrain p --train a --test b --out o --arms scratch,moco --labels 1%,all --seeds 2 --epochs 3.5 --finetune-epochs 4 --finetune-set lr=1")
	x := o.comparison
	if err != nil || strings.Join(x.Arms, " ") != "scratch moco" || len(x.Labels) != 2 || x.Labels[1] != data.All || x.Seeds != 2 || x.Recipe.Epochs != 3.5 ||
		strings.Join(x.TuningSettings, " ") != "lr=1 epochs=4" {
		t.Errorf("transfer: %+v, %v", o, err)
	}
	if want := transfer.Arms(); err == nil {
		o := &transferOptions{}
		if err := parsed(o, "--pretrain p --train a --test b --out o"); err != nil || !reflect.DeepEqual(o.comparison.Arms, want) {
			t.Errorf("all arms: %v, %v", o.comparison.Arms, err)
		}
	}
}

// TestParseRefuses: what is wrong with a command line is said before anything is opened.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	here := filepath.Join(t.TempDir(), "here.pth")
	if err := os.WriteFile(here, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	train, knn, linear := "--data d --out r ", "--train a --test b ", "--model m --train a --test b "
	explore := func(q explorer) options { return &exploreOptions{question: q, command: "x"} }
	for _, c := range []struct {
		o    options
		line string
		want string
	}{
		{&trainOptions{}, train + "--steps 0", "--steps 0"},
		{&trainOptions{}, train + "--monitor-every 0", "--monitor-every 0"},
		{&trainOptions{}, train + "--precision fp16", "must be fp32 or bf16"},
		{&trainOptions{}, train + "--set positives=pairs", "--pairs"},
		{&trainOptions{}, train + "--pairs p", "positives=pairs"},
		{&trainOptions{}, train + "--fps 1", "positives=frames"},
		{&trainOptions{}, train + "--set positives=frames --fps 0", "above 0"},
		{&trainOptions{}, train + "--monitor-train x", "[monitor-test]"},
		{&trainOptions{}, train + "--recipe cifra", "cifra"},
		{&knnOptions{}, knn + "--model m --k 0", "k of at least 1"},
		{&knnOptions{}, knn + "--model m --features head,neck", "must be head or backbone"},
		{&knnOptions{}, knn + "--model m --features head,head", "twice"},
		{&knnOptions{}, knn + "--model m --batch 0", "--batch 0"},
		{&knnOptions{}, knn + "--model pixels --size 0", "--size 0"},
		{&knnOptions{}, knn + "--train-vectors a.npy --test-vectors b.npy --features head", "vectors are of one layer"},
		{&knnOptions{}, knn + "--train-vectors a.csv --test-vectors b.npy", ".parquet"},
		{&linearOptions{linear: evaluate.DefaultLinear()}, linear + "--features head,backbone", "must be head or backbone"},
		{&linearOptions{linear: evaluate.DefaultLinear()}, linear + "--rates -1", "positive learning rates"},
		{&linearOptions{linear: evaluate.DefaultLinear()}, knn + "--model pixels --views", "need an encoder"},
		{&finetuneOptions{}, linear + "--labels some", "want all"},
		{&finetuneOptions{}, linear + "--seeds 0", "--seeds 0"},
		{&finetuneOptions{}, linear + "--recipe cifar", "--model scratch"},
		{&embedOptions{}, "--model m --data d --out x.csv", ".parquet"},
		{&embedOptions{}, "--model m --data d --to mysql://x", "no database that is known"},
		{&embedOptions{}, "--model m --data d --out x.npy --max-bad NaN", "is a share"},
		{&exportOptions{}, "--model m --out x.bin", ".onnx"},
		{&exportOptions{}, "--model m --out x.pth --output head", "--output is for ONNX"},
		{&exportOptions{}, "--model m --out x.onnx --output head --probe p", "--probe makes logits"},
		{&benchOptions{}, "--steps 0", "--steps 0"},
		{&benchOptions{}, "--paths avx2", "--layers"},
		{&compareOptions{}, "--study mechanism --data d --monitor-train a --monitor-test b --out o", "mechanisms"},
		{&transferOptions{}, "--pretrain p --train a --test b --out o --arms moco,none", "moco, supervised, scratch"},
		{&transferOptions{}, "--pretrain p --train a --test b --out o --set seed=2", "--seeds"},
		{&transferOptions{}, "--pretrain p --train a --test b --out o --arms scratch --epochs 2", "nothing is pretrained"},
		{&transferOptions{}, "--pretrain p --train a --test b --out o --arms moco,scratch --model m --epochs 2", "nothing is pretrained"},
		{&transferOptions{}, "--pretrain p --train a --test b --out o --arms moco --supervised-set lr=1", "leaves out"},
		{explore(&search{}), "--model m --data d --k 0", "--k must be"},
		{explore(&search{}), "--model m --data d --show -1", "--show"},
		{explore(&dedupe{}), "--model m --data d --threshold 2", "--threshold"},
		{explore(&dedupe{}), "--model m --data d --by name", "must be overlay or features"},
		{explore(&outliers{}), "--model m --vectors x.npy --data d", "not both"},
		{explore(&clusters{}), "--model m --data d --iterations 0", "--iterations must be"},
	} {
		err := parsed(c.o, c.line)
		var recipe *recipe.Error
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T of %s: %v, want an error that says %q", c.o, c.line, err, c.want)
		} else if !errors.As(err, &usageError{}) && !errors.As(err, &recipe) {
			t.Errorf("%T of %s: %v is no usage error", c.o, c.line, err)
		}
	}
	for _, c := range []struct {
		o    options
		line string
		want string
	}{
		{explore(&clusters{}), "--model m --data d --html no/where/x.html", "there is no folder"},
		{&linearOptions{linear: evaluate.DefaultLinear()}, linear + "--save no/where/x", "there is no folder"},
		{&linearOptions{linear: evaluate.DefaultLinear()}, linear + "--save " + here, "there already"},
		{explore(&clusters{}), "--model m --data d --html " + here, "there already"},
		{&exportOptions{}, "--model m --out " + here, "there already"},
		{&importOptions{}, "x --out " + here, "there already"},
		{&demoOptions{}, "--out " + filepath.Dir(here), "not empty"},
	} {
		if err := parsed(c.o, c.line); err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitFailed {
			t.Errorf("%T of %s: %v, want %q, which is not the command line's fault", c.o, c.line, err, c.want)
		}
	}
}
