package optim

import (
	"math"
	"testing"
)

func TestSchedule(t *testing.T) {
	cosine := Schedule{Kind: "cosine", Epochs: 10}
	warm := Schedule{Kind: "cosine", Epochs: 10, Warmup: 2}
	after := Schedule{Kind: "cosine_after_warmup", Epochs: 10, Warmup: 2}
	step := Schedule{Kind: "step", Epochs: 200, Milestones: []int{120, 160}}
	for _, c := range []struct {
		s           Schedule
		epoch, want float64
	}{
		{cosine, 0, 1}, {cosine, 5, 0.5}, {cosine, 2.5, 0.5 * (1 + math.Sqrt2/2)}, {cosine, 10, 0}, {cosine, 12, 0},
		{warm, 0, 0}, {warm, 1, 0.5}, {warm, 5, 0.5},
		{after, 0, 0}, {after, 1, 0.5}, {after, 2, 1}, {after, 6, 0.5}, {after, 10, 0}, {after, 12, 0},
		{step, 0, 1}, {step, 119.99, 1}, {step, 120, 0.1}, {step, 160, 0.01}, {step, 500, 0.01},
	} {
		if got := c.s.Rate(1, c.epoch); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s at epoch %v: %v, want %v", c.s.Kind, c.epoch, got, c.want)
		}
	}
	for _, bad := range []Schedule{
		{Kind: "linear"}, {Kind: "step", Milestones: []int{3, 2}}, {Kind: "cosine", Warmup: -1},
		{Kind: "cosine_after_warmup", Epochs: 2, Warmup: 2},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
