package choose

import "moco"

// rung is a size of views with an encoder that goes with it: more of either learns more, given more
// time.
type rung struct {
	size  int
	arch  string
	stem  string
	width float64
	// views is how many an encoder of this cost should see at least before the one below it would
	// have learned as much in the same time, and muon is the same with Muon, which learns more of
	// each. The figures are rules of thumb (docs/results.md, "The most accuracy an hour").
	views, muon float64
}

// A picture is taken for a thumbnail up to this shorter side, in pixels: the CIFAR stem keeps every
// pixel, where the ImageNet stem would begin by leaving fifteen of sixteen.
const thumbnail = 56

// rungs are the steps of cost for pictures of a size, the cheapest first. Up to 64 pixels the encoder
// has few blocks, which are wider for it or see more pixels: at equal cost it learns at least what
// ResNet-18 does, and much more at 64 pixels, which the ImageNet stem would reduce to 16.
func rungs(f Facts) []rung {
	if f.Edge < thumbnail {
		size := min(32, max(16, (f.Edge+3)/4*4))
		if f.Edge > 40 {
			size = 48
		}
		// On CIFAR-10 and at equal cost SGD's width 0.75 is level with 0.5 at 4.3e6 views and ahead at
		// 12.9e6. With Muon 0.5 is a point behind 0.25 at 3e5, 0.75 half a point behind 0.5 at 1e6, and 1
		// level with 0.75 at 1.1e6.
		return []rung{{size, "resnet10", "cifar", 0.25, 0, 0}, {size, "resnet10", "cifar", 0.5, 6e5, 6e5},
			{size, "resnet10", "cifar", 0.75, 6e6, 1.5e6}, {size, "resnet10", "cifar", 1, 16e6, 3e6}}
	}
	// Nobody has compared these with Muon.
	all := []rung{{64, "resnet10", "strided", 0.25, 0, 0}, {64, "resnet10", "strided", 0.5, 8e5, 8e5},
		{96, "resnet18", "imagenet", 0.5, 4e6, 4e6}, {96, "resnet18", "imagenet", 1, 12e6, 12e6},
		{128, "resnet18", "imagenet", 1, 24e6, 24e6}}
	for i, r := range all {
		if r.size*4 > f.Edge*5 { // it would enlarge whole pictures
			return all[:i]
		}
	}
	return all
}

// enough is the number of views at which a rung is worth its cost on a set, with an optimizer: few
// pictures are known by heart before.
func (r rung) enough(images int, optimizer string) float64 {
	views := r.views
	if optimizer == "muon" {
		views = r.muon
	}
	return min(views, 2000*float64(images))
}

// recipe is what a rung begins with: the batch as dictionary, with a loss that takes all views of an
// image as queries and as keys, and Muon. In runs of minutes and hours the one learns more than a
// queue at equal cost, and the other more than SGD (docs/results.md). Everything that follows from the
// number of pictures and steps is filled in by derive.
func (r rung) recipe(f Facts) moco.Recipe {
	c := r.withQueue(f)
	c.Dictionary, c.Loss, c.ShuffleBN, c.WeightDecay = "batch", "dcl", false, 1e-3
	c.Optimizer = "muon"
	c.Batch = batchFor(&c, f.Images)
	return c
}

// withQueue is what a rung begins with where the user has fixed what only a queue, or another
// dictionary than the batch, has.
func (r rung) withQueue(f Facts) moco.Recipe {
	c := moco.Default()
	c.Encoder.Arch, c.Encoder.Stem, c.Encoder.Width = r.arch, r.stem, r.width
	c.Views.Policy, c.Views.Size = "v2", r.size
	if f.Edge < thumbnail { // a blur made for 224 pixels would leave nothing of them
		c.Views.Policy = "cifar"
	}
	c.Temperature, c.BNSplits, c.WeightDecay = 0.1, 1, 5e-4
	c.Batch = batchFor(&c, f.Images)
	c.Queue = queueAtMost(f.Images)
	return c
}

// Base is the recipe that all choices begin with, with what the user has fixed.
func Base(change func(moco.Recipe) (moco.Recipe, error)) (moco.Recipe, error) {
	f := Facts{Images: 1 << 20, Edge: 224}
	p := planner{facts: f, options: Options{Change: change}}
	return p.begin(rungs(f)[0])
}

// withViews fills in what the user has not fixed of the views.
//
// In training they grow from a half to three quarters of the size that pictures are encoded at, if the
// encoder takes these: at equal cost that teaches more, even where a queue or a bank holds keys of
// smaller views for a while. Four are drawn of each image, if the mechanism takes as many: that teaches
// no less, and fewer pictures have to be read (docs/results.md, "The most accuracy an hour").
func withViews(r moco.Recipe) moco.Recipe {
	if m, err := r.Mechanism(); err == nil && m.ManyViews() && r.Views.PerImage == 0 {
		r.Views.PerImage = 4
	}
	if r.Views.TrainSizes != nil {
		return r
	}
	const least = 8 // smaller views hold nothing
	sizes := []int{r.Views.Size / 2 &^ 3, r.Views.Size * 5 / 8 &^ 3, r.Views.Size * 3 / 4 &^ 3}
	for _, size := range sizes {
		if size < least || r.Encoder.CheckImage(size) != nil {
			return r
		}
	}
	r.Views.TrainSizes = sizes
	return r
}
