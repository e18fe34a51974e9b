package nn

import (
	"math"
	"slices"
	"strings"
	"testing"

	"moco/tensor"
)

// TestNames compares names with torchvision's, at the places that are easy to get wrong.
func TestNames(t *testing.T) {
	names := func(c Config) (out []string) {
		for _, p := range c.Parameters() {
			out = append(out, p.Name)
		}
		return out
	}
	basic := names(Config{Arch: "resnet18", Stem: "imagenet", Width: 1, Dim: 1000, Head: "linear"})
	first := []string{"conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.0.bn1.weight"}
	if len(basic) != 62 || !slices.Equal(basic[:5], first) {
		t.Errorf("resnet18 has %d parameters, first %v", len(basic), basic[:5])
	}
	shortcut := []string{"layer2.0.bn2.bias", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight"}
	if i := slices.Index(basic, shortcut[1]); i < 0 || !slices.Equal(basic[i-1:i+2], shortcut) {
		t.Errorf("the projection stands at %d of %v", i, basic)
	}
	deep := names(Config{Arch: "resnet50", Stem: "imagenet", Width: 1, Dim: 128, Head: "mlp"})
	head := []string{"fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"}
	if !slices.Contains(deep, "layer1.0.downsample.0.weight") || !slices.Contains(deep, "layer4.2.bn3.bias") ||
		!slices.Equal(deep[len(deep)-4:], head) {
		t.Errorf("resnet50's names end with %v", deep[len(deep)-4:])
	}
}

func TestShapes(t *testing.T) {
	for _, c := range []struct {
		config Config
		name   string
		want   tensor.Shape
	}{
		{Config{Arch: "resnet50", Stem: "imagenet", Width: 2, Dim: 128, Head: "linear"}, "layer4.0.conv2.weight", tensor.Shape{1024, 1024, 3, 3}},
		{Config{Arch: "resnet50", Stem: "imagenet", Width: 2, Dim: 128, Head: "linear"}, "fc.weight", tensor.Shape{128, 4096}},
		{Config{Arch: "resnet18", Stem: "cifar", Width: 0.25, Dim: 128, Head: "linear"}, "conv1.weight", tensor.Shape{16, 3, 3, 3}},
		{Config{Arch: "resnet18", Stem: "imagenet", Width: 0.5, Dim: 64, Head: "mlp"}, "conv1.weight", tensor.Shape{32, 3, 7, 7}},
		{Config{Arch: "resnet18", Stem: "strided", Width: 0.5, Dim: 64, Head: "mlp"}, "conv1.weight", tensor.Shape{32, 3, 3, 3}},
		{Config{Arch: "resnet18", Stem: "imagenet", Width: 0.5, Dim: 64, Head: "mlp"}, "fc.0.weight", tensor.Shape{256, 256}},
	} {
		p := c.config.Parameters()
		i := slices.IndexFunc(p, func(p Parameter) bool { return p.Name == c.name })
		if i < 0 || !p[i].Shape.Equal(c.want) {
			t.Errorf("%s of %+v is %v, want %v", c.name, c.config, p, c.want)
		}
	}
}

// TestInitialise: convolutions are N(0, 2/fan_out), linear layers uniform within 1/sqrt(fan_in),
// batch norm 1 and 0. All values follow from seed and name.
func TestInitialise(t *testing.T) {
	t.Parallel()
	c := Config{Arch: "resnet18", Stem: "cifar", Width: 1, Dim: 128, Head: "linear"}
	for _, p := range c.Parameters() {
		x, again := tensor.New(tensor.Float32, p.Shape...), tensor.New(tensor.Float32, p.Shape...)
		p.Initialise(x, 1)
		p.Initialise(again, 1)
		var mean, square, largest float64
		for i, v := range x.Float32s() {
			if again.Float32s()[i] != v {
				t.Fatalf("%s differs between two starts of one seed", p.Name)
			}
			mean += float64(v) / float64(len(x.Float32s()))
			square += float64(v) * float64(v) / float64(len(x.Float32s()))
			largest = max(largest, math.Abs(float64(v)))
		}
		switch {
		case strings.HasPrefix(p.Name, "fc"):
			if bound := 1 / math.Sqrt(512); largest > bound || largest < 0.9*bound {
				t.Errorf("%s reaches %v, want just under %v", p.Name, largest, bound)
			}
		case strings.Contains(p.Name, "bn") || strings.Contains(p.Name, "downsample.1"):
			want := 0.0
			if strings.HasSuffix(p.Name, "weight") {
				want = 1
			}
			if mean != want || square != want {
				t.Errorf("%s starts with mean %v, want %v everywhere", p.Name, mean, want)
			}
		default:
			want := 2 / float64(p.Shape[0]*p.Shape[2]*p.Shape[3])
			if math.Abs(square/want-1) > 0.1 || math.Abs(mean) > 0.1*math.Sqrt(want) {
				t.Errorf("%s has variance %v and mean %v, want %v and 0", p.Name, square, mean, want)
			}
		}
	}
}

// TestHeadless: without a head there are no parameters after the stages.
func TestHeadless(t *testing.T) {
	c := Config{Arch: "resnet50", Stem: "imagenet", Width: 1, Dim: 2048, Head: "none"}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	p := c.Parameters()
	if last := p[len(p)-1].Name; last != "layer4.2.bn3.bias" {
		t.Errorf("the last parameter is %s, want layer4.2.bn3.bias", last)
	}
}

func TestCheck(t *testing.T) {
	good := Config{Arch: "resnet18", Stem: "cifar", Width: 1, Dim: 128, Head: "linear"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(c *Config){
		"arch":  func(c *Config) { c.Arch = "vgg" },
		"stem":  func(c *Config) { c.Stem = "" },
		"head":  func(c *Config) { c.Head = "two" },
		"width": func(c *Config) { c.Width = math.NaN() },
		"dim":   func(c *Config) { c.Dim = 0 },
		// There are 512 features, not 128.
		"dim: ":  func(c *Config) { c.Head = "none" },
		"layers": func(c *Config) { c.Layers = []int{1, 1, 0, 1} },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "encoder."+want) {
			t.Errorf("a wrong %s gives %v", want, err)
		}
	}
}
