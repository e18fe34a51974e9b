package choose

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"moco"
	"moco/engine"
	"moco/recipe"
)

// computer is a machine of known speed, whose clock moves when it measures.
type computer struct {
	flops  float64 // a second, in float32
	half   float64 // how many times as fast bf16 is
	first  float64 // seconds an image
	again  float64
	bytes  float64 // of memory an image of a step takes, at 32 pixels and width 1
	clock  time.Time
	paced  int
	cancel context.CancelFunc // called by the first measurement
}

func (c *computer) cost(r *moco.Recipe) (engine.Cost, error) {
	size, width := float64(r.Views.Size), r.Encoder.Width
	one := 4e9 * size * size / 1024 * width * width
	if r.Encoder.Stem == "imagenet" {
		one /= 14
	}
	bytes := c.bytes * size * size / 1024 * width
	n := float64(r.Batch)
	return engine.Cost{FLOPs: int64(one * n), VariableBytes: int64(1.3e8 * width * width), WorkBytes: int64(bytes * n)}, nil
}

func (c *computer) pace(ctx context.Context, r *moco.Recipe) (Pace, error) {
	if c.cancel != nil {
		c.cancel()
	}
	if err := ctx.Err(); err != nil {
		return Pace{}, err
	}
	c.paced++
	c.clock = c.clock.Add(2 * time.Second)
	cost, _ := c.cost(r)
	speed := c.flops
	if r.Precision == "bf16" {
		speed *= c.half
	}
	return Pace{Start: 0.5, Step: float64(cost.FLOPs) / speed, First: c.first, Again: c.again, Save: 0.3}, nil
}

// twoCores is a machine of two processors.
func twoCores() *computer {
	return &computer{flops: 2e11, half: 1.3, first: 4e-4, again: 1e-4, bytes: 4e6, clock: time.Unix(0, 0)}
}

// reading makes it take some seconds for an image, whenever it is read.
func (c *computer) reading(seconds float64) *computer {
	c.first, c.again = seconds, seconds
	return c
}

// times makes it so many times as fast.
func (c *computer) times(n float64) *computer {
	c.flops, c.first, c.again = c.flops*n, c.first/n, c.again/n
	return c
}

// emulating makes bf16 slow.
func (c *computer) emulating() *computer { c.half = 0.5; return c }

// cramped makes steps take more memory than there is for a batch of 128.
func (c *computer) cramped() *computer { c.bytes *= 200; return c }

func plannerFor(f Facts, c *computer, budget time.Duration, settings ...string) *planner {
	p := &planner{facts: f, machine: c, now: func() time.Time { return c.clock },
		options: Options{Budget: budget, Began: time.Unix(0, 0), Workers: 2, Memory: 16 << 30}}
	if len(settings) > 0 {
		p.options.Change = func(r moco.Recipe) (moco.Recipe, error) { return recipe.Change(r, settings) }
	}
	return p
}

func squares(n, edge int) Facts {
	return Facts{Images: n, Looked: min(n, looks), Smallest: edge, Edge: edge, Largest: edge, Pixels: float64(edge * edge)}
}

func clipArt(n int) Facts {
	return Facts{Images: n, Looked: min(n, looks), Smallest: 24, Edge: 500, Largest: 4000, Pixels: 4e5}
}

func photos(n int) Facts {
	return Facts{Images: n, Looked: min(n, looks), Smallest: 3024, Edge: 3024, Largest: 3024, Pixels: 12e6}
}

func TestChoices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		facts  Facts
		on     *computer
		budget time.Duration
		want   string
	}{
		{"CIFAR in ten minutes", squares(50000, 32), twoCores(), 10 * time.Minute,
			"32 px, cifar, width 0.25, 512 of 2048, bf16"},
		{"CIFAR in an hour", squares(50000, 32), twoCores(), time.Hour,
			"32 px, cifar, width 0.75, 512 of 2048, bf16"},
		{"CIFAR in six hours", squares(50000, 32), twoCores(), 6 * time.Hour,
			"32 px, cifar, width 1, 512 of 4096, bf16"},
		{"CIFAR on 32 cores", squares(50000, 32), twoCores().times(16), 6 * time.Hour,
			"32 px, cifar, width 1, 512 of 4096, bf16"},
		{"CIFAR without a budget", squares(50000, 32), twoCores(), 0,
			"32 px, cifar, width 0.5, 512 of 2048, fp32"},
		{"clip art in three minutes", clipArt(8121), twoCores(), 3 * time.Minute,
			"64 px, strided, width 0.25, 64 of 128, bf16"},
		{"clip art in ten minutes", clipArt(8121), twoCores(), 10 * time.Minute,
			"64 px, strided, width 0.25, 256 of 512, bf16"},
		{"clip art in a day", clipArt(8121), twoCores(), 24 * time.Hour,
			"128 px, imagenet, width 1, 256 of 2048, bf16"},
		{"photos, read slowly", photos(500), twoCores().reading(0.15), 2 * time.Hour,
			"128 px, imagenet, width 1, 16 of 128, bf16"},
		{"photos without a budget", photos(500), twoCores(), 0,
			"64 px, strided, width 0.25, 16 of 128, fp32"},
		{"sixty pictures", clipArt(60), twoCores(), 5 * time.Minute,
			"64 px, strided, width 0.25, 8 of 16, bf16, few"},
		{"sixty pictures without a budget", clipArt(60), twoCores(), 0,
			"64 px, strided, width 0.25, 8 of 16, fp32, few"},
		{"two pictures", clipArt(2), twoCores(), 0,
			"64 px, strided, width 0.25, 2 of 1, fp32, few"},
		{"three pictures", clipArt(3), twoCores(), time.Minute,
			"96 px, imagenet, width 0.5, 2 of 1, bf16, few"},
		{"two million pictures", clipArt(2_000_000), twoCores(), 10 * time.Minute,
			"64 px, strided, width 0.25, 256 of 512, bf16"},
		{"two million photos, read slowly", photos(2_000_000), twoCores().reading(0.15), 10 * time.Minute,
			"128 px, imagenet, width 1, 16 of 32, bf16"},
		{"digits of 28 pixels", squares(60000, 28), twoCores(), 10 * time.Minute,
			"28 px, cifar, width 0.5, 256 of 1024, bf16"},
		{"pictures of 48 pixels", squares(10000, 48), twoCores(), 10 * time.Minute,
			"48 px, cifar, width 0.25, 512 of 1024, bf16"},
		{"pictures of 64 pixels, in a day", squares(100000, 64), twoCores(), 24 * time.Hour,
			"64 px, strided, width 0.5, 512 of 4096, bf16"},
		{"where bf16 is emulated", squares(50000, 32), twoCores().emulating(), 10 * time.Minute,
			"32 px, cifar, width 0.25, 512 of 2048, fp32"},
		{"where there is little memory", squares(50000, 32), twoCores().cramped(), 10 * time.Minute,
			"32 px, cifar, width 0.25, 64 of 2048, bf16"},
		{"five thousand drawings, a minute", squares(5000, 32), twoCores(), time.Minute,
			"32 px, cifar, width 0.25, 64 of 256, bf16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			choice, err := plannerFor(c.facts, c.on, c.budget).choose(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			r := choice.Recipe
			got := fmt.Sprintf("%d px, %s, width %v, %d of %d, %s",
				r.Views.Size, r.Encoder.Stem, r.Encoder.Width, r.Batch, r.Queue, r.Precision)
			if len(choice.Warnings) > 0 {
				got += ", few"
			}
			if got != c.want {
				t.Errorf("chose %s, want %s\n%s", got, c.want, strings.Join(choice.Reasons, "\n"))
			}
			sound(t, choice, c.facts)
			inTime(t, choice, c.on, c.facts, c.budget)
		})
	}
}

// sound holds a choice to what is right of any.
func sound(t *testing.T, choice *Choice, f Facts) {
	t.Helper()
	r := choice.Recipe
	if r.Queue >= f.Images || r.Batch > f.Images || r.BNSplits != 1 {
		t.Errorf("a queue of %d, batches of %d, bn_splits %d for %d pictures", r.Queue, r.Batch, r.BNSplits, f.Images)
	}
	if r.Optimizer != "muon" || r.Dictionary != "batch" || r.Loss != "dcl" || len(r.Views.TrainSizes) != 3 && r.Views.Size > 20 || r.Views.Count() != 4 {
		t.Errorf("%s with %s by %s, %d views of %v", r.Loss, r.Dictionary, r.Optimizer, r.Views.Count(), r.Views.Sizes())
	}
	if r.Momentum < 0.9 || r.Momentum > 0.999 || float64(r.Warmup) > float64(r.Epochs)/10 {
		t.Errorf("m %v, %v epochs of warm-up in %v", r.Momentum, r.Warmup, r.Epochs)
	}
	if r.Views.Size*4 > f.Edge*5 {
		t.Errorf("views of %d pixels of pictures of %d", r.Views.Size, f.Edge)
	}
	back, err := recipe.Parse(recipe.Write(r))
	if err != nil || recipe.Write(back) != recipe.Write(r) {
		t.Errorf("the recipe does not come back as it was written: %v\n%s", err, recipe.Write(r))
	}
	flagged := func(s string) bool { return strings.Contains(s, "\n") || strings.Contains(s, "--") }
	if len(choice.Reasons) != 3 || slices.ContainsFunc(choice.Reasons, flagged) {
		t.Errorf("the reasons are no three lines without flags: %q", choice.Reasons)
	}
}

// inTime holds a choice to its budget on the machine it was made for.
func inTime(t *testing.T, choice *Choice, on *computer, f Facts, budget time.Duration) {
	t.Helper()
	r := choice.Recipe
	if budget == 0 {
		if r.Epochs > mostEpochs || on.paced > 3 {
			t.Errorf("%v epochs, and %d questions for the pace", r.Epochs, on.paced)
		}
		return
	}
	pace, _ := on.pace(context.Background(), &r)
	n, b := f.Images, r.Batch
	spent := on.clock.Add(-2 * time.Second).Sub(time.Unix(0, 0)).Seconds()
	takes := spent + pace.seconds(float64(r.Epochs.Steps(n/b))/float64(n/b), n, b, choice.SaveEvery)
	if share := takes / budget.Seconds(); share > 1.02 || share < 0.94 && r.Epochs < mostEpochsInBudget {
		t.Errorf("takes %.0f s of %.0f (%v epochs)", takes, budget.Seconds(), r.Epochs)
	}
}

// TestFixed: what the user has fixed stays, and the rest goes with it.
func TestFixed(t *testing.T) {
	t.Parallel()
	for setting, holds := range map[string]func(r moco.Recipe) bool{
		"batch=256":       func(r moco.Recipe) bool { return r.Batch == 256 && r.Queue%256 == 0 && r.LR == 0.06 },
		"batch=512":       func(r moco.Recipe) bool { return r.Batch == 512 && r.Epochs > 5 },
		"encoder.width=1": func(r moco.Recipe) bool { return r.Encoder.Width == 1 && r.Epochs < 5 },
		"precision=fp32":  func(r moco.Recipe) bool { return r.Precision == "fp32" },
		"queue=64":        func(r moco.Recipe) bool { return r.Queue == 64 && r.Dictionary == "queue" },
		"m=0.5":           func(r moco.Recipe) bool { return r.Momentum == 0.5 && r.Dictionary == "queue" },
		"epochs=3":        func(r moco.Recipe) bool { return r.Epochs == 3 && r.Momentum < 0.997 && r.Queue <= 1024 },
		"views.size=24":   func(r moco.Recipe) bool { return slices.Equal(r.Views.Sizes(), []int{12, 12, 16}) },
		"dictionary=bank": func(r moco.Recipe) bool { return r.Dictionary == "bank" && !r.MaskSameImage },
		"dictionary=queue": func(r moco.Recipe) bool {
			return r.Loss == "info_nce" && r.ShuffleBN && r.MaskSameImage && r.Views.Largest() == 24 && r.Optimizer == "sgd"
		},
		"optimizer=sgd":         func(r moco.Recipe) bool { return r.Dictionary == "batch" && r.Batch == 64 && r.LR == 0.06 },
		"optimizer=adamw":       func(r moco.Recipe) bool { return r.Dictionary == "batch" && r.Batch == 64 && r.LR == 0.001 },
		"symmetric=true":        func(r moco.Recipe) bool { return r.Dictionary == "queue" && r.Symmetric },
		"views.train_sizes=[8]": func(r moco.Recipe) bool { return slices.Equal(r.Views.Sizes(), []int{8}) },
		"views.train_sizes=[]":  func(r moco.Recipe) bool { return slices.Equal(r.Views.Sizes(), []int{32}) },
		"objective=supervised":  func(r moco.Recipe) bool { return r.Objective == "supervised" },
		"mask_same_image=false": func(r moco.Recipe) bool { return !r.MaskSameImage },
		"dictionary=batch":      func(r moco.Recipe) bool { return r.Dictionary == "batch" },
		"encoder.arch=resnet50": func(r moco.Recipe) bool { return r.Encoder.Arch == "resnet50" },
	} {
		choice, err := plannerFor(squares(50000, 32), twoCores(), 10*time.Minute, setting).choose(context.Background())
		if err != nil || !holds(choice.Recipe) {
			t.Errorf("with %s: %v\n%s", setting, err, recipe.Write(choice.Recipe))
		}
	}
	p := plannerFor(squares(50000, 32), twoCores(), 10*time.Minute)
	given, err := recipe.Load("cifar", nil)
	if err != nil {
		t.Fatal(err)
	}
	p.options.Recipe = &given
	choice, err := p.choose(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	d := recipe.Differences(given, choice.Recipe)
	if len(d) != 1 || !strings.HasPrefix(d[0], "epochs") || len(choice.Reasons) != 1 {
		t.Errorf("a given recipe is changed in %q, because %q", d, choice.Reasons)
	}
}

// TestWidthGoesWithOptimizer: Muon learns more of each view, and takes a wider encoder earlier than
// others.
func TestWidthGoesWithOptimizer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		budget  time.Duration
		setting string
		want    float64
	}{
		{time.Hour, "seed=1", 0.75},
		{time.Hour, "optimizer=muon", 0.75},
		{time.Hour, "optimizer=sgd", 0.5},
		{time.Hour, "optimizer=adamw", 0.5},
		{time.Hour, "dictionary=queue", 0.5},
		{6 * time.Hour, "optimizer=muon", 1},
		{6 * time.Hour, "optimizer=sgd", 0.75},
	} {
		choice, err := plannerFor(squares(50000, 32), twoCores(), c.budget, c.setting).choose(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := choice.Recipe.Encoder.Width; got != c.want {
			t.Errorf("%s in %v: width %v, want %v\n%s", c.setting, c.budget, got, c.want, strings.Join(choice.Reasons, "\n"))
		}
	}
}

// TestLengthWithoutBudget: a length that the user has fixed is told with its time, not with the hour
// that is chosen for.
func TestLengthWithoutBudget(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"epochs=2.5": "2.5 epochs, 975 steps: about 11m on an ordinary machine with 2 processors (nothing was measured)",
		"epochs=50":  "50 epochs, 4,850 steps: about 3h31m on an ordinary machine with 2 processors (nothing was measured)",
		"batch=64":   "14 epochs, 10,934 steps: about 1h on an ordinary machine with 2 processors (nothing was measured)",
	} {
		p := plannerFor(squares(50000, 32), twoCores(), 0, setting)
		choice, err := p.choose(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := choice.Reasons[2]; got != want {
			t.Errorf("with %s: %s\nwant %s", setting, got, want)
		}
	}
}

// TestBudgetsRecipe: the commands of docs/results.md's tables of budgets have the same recipes on any
// machine.
func TestBudgetsRecipe(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		epochs, width, optimizer string
		batch                    int
		rate, warmup             float64
	}{
		{"5.59", "0.5", "muon", 512, 0.085, 0.28}, {"19.1", "0.75", "muon", 512, 0.085, 0.96}, {"33.8", "1", "muon", 512, 0.085, 1},
		{"41", "0.5", "muon", 512, 0.085, 1},
		{"7.4", "0.5", "sgd", 64, 0.06, 0.37}, {"46", "0.5", "sgd", 64, 0.06, 1}, {"64.5", "0.75", "sgd", 64, 0.06, 1},
	} {
		name := row.epochs + " epochs at width " + row.width + " by " + row.optimizer
		on := func(speed float64) moco.Recipe {
			settings := []string{"epochs=" + row.epochs, "encoder.width=" + row.width, "precision=bf16"}
			if row.optimizer != "muon" {
				settings = append(settings, "optimizer="+row.optimizer)
			}
			choice, err := plannerFor(squares(50000, 32), twoCores().times(speed), 0, settings...).choose(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return choice.Recipe
		}
		r := on(1)
		if r.Encoder.Arch != "resnet10" || r.Optimizer != row.optimizer || r.Batch != row.batch || r.LR != row.rate ||
			r.WeightDecay != 1e-3 || r.Warmup != row.warmup || r.Temperature != 0.1 ||
			!slices.Equal(r.Views.Sizes(), []int{16, 20, 24}) || r.Views.Count() != 4 {
			t.Errorf("%s: it is not the recipe of the table:\n%s", name, recipe.Write(r))
		}
		for _, speed := range []float64{0.1, 10, 100} {
			if d := recipe.Differences(r, on(speed)); len(d) != 0 {
				t.Errorf("%s: on a machine %v times as fast it differs in %q", name, speed, d)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if _, err := plannerFor(squares(1, 32), twoCores(), 0).choose(context.Background()); !errors.Is(err, ErrOnePicture) {
		t.Errorf("a single picture gives %v", err)
	}
	var short *BudgetError
	_, err := plannerFor(squares(50000, 32), twoCores(), 3*time.Second).choose(context.Background())
	if !errors.As(err, &short) || short.Enough <= short.Spent {
		t.Fatalf("three seconds give %v", err)
	}
	if _, err := plannerFor(squares(50000, 32), twoCores(), short.Enough).choose(context.Background()); err != nil {
		t.Errorf("what was said to be enough gives %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := twoCores()
	c.cancel = cancel
	if _, err := plannerFor(squares(50000, 32), c, time.Hour).choose(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupt while measuring gives %v", err)
	}
}

// TestPace: the length that is found for a time takes that time, within the first epoch and behind
// it.
func TestPace(t *testing.T) {
	t.Parallel()
	p := Pace{Start: 2, Step: 0.1, First: 0.02, Again: 0.001, Save: 0.5}
	for _, seconds := range []float64{3, 10, 30, 35, 100, 1e4} {
		epochs := p.epochs(seconds, 1000, 32, 4)
		if got := p.seconds(epochs, 1000, 32, 4); epochs <= 0 || math.Abs(got-seconds) > 1e-9*seconds {
			t.Errorf("%v s are %v epochs, which take %v s", seconds, epochs, got)
		}
	}
	if e := p.epochs(1, 1000, 32, 4); e != 0 {
		t.Errorf("a second, in which nothing can start, is %v epochs", e)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{10 * time.Minute: "10m", 2 * time.Hour: "2h", 90 * time.Minute: "1h30m",
		42 * time.Second: "42s", 200 * time.Millisecond: "200ms", 61 * time.Second: "1m1s"} {
		if got := plain(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
