package optim

import (
	"fmt"
	"math"
	"slices"
)

// Schedule tells how the learning rate falls during training.
type Schedule struct {
	Kind       string  // "cosine" or "step"
	Epochs     float64 // length of training
	Warmup     float64 // epochs in which the rate rises linearly to its base
	Milestones []int   // of "step": the epochs at which the rate is multiplied by Factor
	Factor     float64 // of "step"; 0 is 0.1
}

// Kinds are the kinds of schedules.
var Kinds = []string{"cosine", "step"}

// Rate is the learning rate at a time in epochs. Times have fractions, so each step has its own
// rate. For "cosine" it is base * (1 + cos(pi * epoch/Epochs)) / 2.
func (s Schedule) Rate(base, epoch float64) float64 {
	if epoch < s.Warmup {
		return base * epoch / s.Warmup
	}
	if s.Kind == "step" {
		factor := s.Factor
		if factor == 0 {
			factor = 0.1
		}
		for _, m := range s.Milestones {
			if epoch >= float64(m) {
				base *= factor
			}
		}
		return base
	}
	return base * 0.5 * (1 + math.Cos(math.Pi*min(epoch/s.Epochs, 1)))
}

// Check returns what is wrong with the schedule.
func (s Schedule) Check() error {
	if !slices.Contains(Kinds, s.Kind) {
		return fmt.Errorf("schedule: %q is not known; there are cosine and step", s.Kind)
	}
	if s.Warmup < 0 {
		return fmt.Errorf("warmup: must not be negative, is %v", s.Warmup)
	}
	if !slices.IsSorted(s.Milestones) {
		return fmt.Errorf("milestones: must rise, are %v", s.Milestones)
	}
	return nil
}
