package data

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"moco/internal/rng"
)

// Share says how many labelled images of each class a classifier learns from.
type Share struct {
	Fraction float64 // of each class's images, rounded, but at least one; 1: all
	PerClass int     // or so many of each class, where it is above 0
}

// All is every image.
var All = Share{Fraction: 1}

// ParseShare reads "all", a percentage such as "1%", or a number of images of each class such as
// "10".
func ParseShare(s string) (Share, error) {
	if s == "all" {
		return All, nil
	}
	if number, ok := strings.CutSuffix(s, "%"); ok {
		if v, err := strconv.ParseFloat(number, 64); err == nil && v > 0 && v <= 100 {
			return Share{Fraction: v / 100}, nil
		}
	} else if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return Share{PerClass: n}, nil
	}
	return Share{}, fmt.Errorf("%q: want all, a percentage such as 1%%, or a number of images of each class "+
		"such as 10", s)
}

// String is what ParseShare reads.
func (s Share) String() string {
	switch {
	case s.PerClass > 0:
		return strconv.Itoa(s.PerClass)
	case s.Fraction == 1:
		return "all"
	}
	return strconv.FormatFloat(100*s.Fraction, 'g', -1, 64) + "%"
}

// shareStream is the purpose of the random numbers that a share is drawn with.
const shareStream = 500

// Choose draws the share of each class, by the seed, and returns the places of the images that are
// in it and of the rest, each in rising order. The same seed gives the same images; a smaller share
// is part of a larger one.
func (s Share) Choose(labels []int, classes []string, seed uint64) (in, rest []int, err error) {
	byClass := make([][]int, len(classes))
	order := make([]int, len(labels))
	random := rng.New(seed, shareStream)
	random.Perm(order)
	for _, i := range order {
		if labels[i] < 0 {
			return nil, nil, fmt.Errorf("image %d has no label; give folders with one folder a class", i)
		}
		byClass[labels[i]] = append(byClass[labels[i]], i)
	}
	chosen := make([]bool, len(labels))
	for c, images := range byClass {
		n := s.PerClass
		if n == 0 {
			n = min(len(images), max(1, int(math.Round(s.Fraction*float64(len(images))))))
		}
		if n > len(images) {
			return nil, nil, fmt.Errorf("%d images of each class are asked for, and the class %q has %d",
				n, classes[c], len(images))
		}
		for _, i := range images[:n] {
			chosen[i] = true
		}
	}
	for i, yes := range chosen {
		if yes {
			in = append(in, i)
		} else {
			rest = append(rest, i)
		}
	}
	return in, rest, nil
}
