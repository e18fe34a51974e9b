package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedule tells how the learning rate falls during training.
type Schedule struct {
	Kind       string  // one of Kinds
	Epochs     float64 // length of training
	Warmup     float64 // epochs in which the rate rises linearly to its base
	Milestones []int   // of "step": the epochs at which the rate is multiplied by Factor
	Factor     float64 // of "step"; 0 is 0.1
}

// Kinds are the kinds of schedules.
var Kinds = []string{"cosine", "cosine_after_warmup", "step"}

// Rate is the learning rate at a time in epochs. Times have fractions, so each step has its own
// rate. For "cosine" it is base * (1 + cos(pi * epoch/Epochs)) / 2. "cosine_after_warmup", which is
// MoCo v3's, counts epochs and length from the end of the warm-up, so that the fall begins at base.
func (s Schedule) Rate(base, epoch float64) float64 {
	if epoch < s.Warmup {
		return base * epoch / s.Warmup
	}
	switch s.Kind {
	case "cosine_after_warmup":
		return base * halfCosine((epoch-s.Warmup)/(s.Epochs-s.Warmup))
	case "step":
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
	return base * halfCosine(epoch/s.Epochs)
}

// halfCosine falls from 1 to 0 as x goes from 0 to 1.
func halfCosine(x float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*min(x, 1))) }

// Check returns what is wrong with the schedule.
func (s Schedule) Check() error {
	if !slices.Contains(Kinds, s.Kind) {
		return fmt.Errorf("schedule: %q is not known; there are %s", s.Kind, strings.Join(Kinds, ", "))
	}
	if s.Warmup < 0 {
		return fmt.Errorf("warmup: must not be negative, is %v", s.Warmup)
	}
	if s.Kind == "cosine_after_warmup" && s.Warmup >= s.Epochs {
		return fmt.Errorf("warmup: %v epochs leave none of %v for the cosine", s.Warmup, s.Epochs)
	}
	if !slices.IsSorted(s.Milestones) {
		return fmt.Errorf("milestones: must rise, are %v", s.Milestones)
	}
	return nil
}
