package data

import (
	"reflect"
	"slices"
	"testing"
)

func TestParseShare(t *testing.T) {
	for _, c := range []struct {
		text string
		want Share
		bad  bool
	}{
		{"all", Share{Fraction: 1}, false}, {"1%", Share{Fraction: 0.01}, false}, {"12.5%", Share{Fraction: 0.125}, false}, {"10", Share{PerClass: 10}, false},
		{"100%", All, false}, {"0%", Share{}, true}, {"101%", Share{}, true}, {"NaN%", Share{}, true}, {"0", Share{}, true}, {"-3", Share{}, true}, {"", Share{}, true}, {"half", Share{}, true},
	} {
		got, err := ParseShare(c.text)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("ParseShare(%q) = %+v, %v; want %+v, an error: %v", c.text, got, err, c.want, c.bad)
		}
		if err == nil && c.text != "100%" && got.String() != c.text {
			t.Errorf("%+v is written %q, want %q", got, got.String(), c.text)
		}
	}
}

func TestShareChoose(t *testing.T) {
	classes := []string{"a", "b", "c"}
	labels := make([]int, 300)
	for i := range labels {
		labels[i] = min(2, i/100*i%7%3)
	}
	count := func(images []int) []int {
		n := make([]int, 3)
		for _, i := range images {
			n[labels[i]]++
		}
		return n
	}
	whole, none, err := All.Choose(labels, classes, 1)
	if err != nil || len(whole) != 300 || len(none) != 0 {
		t.Fatalf("all: %d and %d images, %v; want 300 and 0", len(whole), len(none), err)
	}
	all := count(whole)
	ten, rest, err := Share{Fraction: 0.1}.Choose(labels, classes, 1)
	if err != nil {
		t.Fatal(err)
	}
	for c, n := range count(ten) {
		if want := (all[c] + 5) / 10; n != want {
			t.Errorf("10%% of the %d images of class %d are %d, want %d", all[c], c, n, want)
		}
	}
	if both := slices.Sorted(slices.Values(append(slices.Clone(ten), rest...))); !reflect.DeepEqual(both, whole) || !slices.IsSorted(ten) {
		t.Error("the share and the rest together are not all images, in order")
	}
	if again, _, _ := (Share{Fraction: 0.1}).Choose(labels, classes, 1); !reflect.DeepEqual(again, ten) {
		t.Error("the same seed chose others")
	}
	if other, _, _ := (Share{Fraction: 0.1}).Choose(labels, classes, 2); reflect.DeepEqual(other, ten) {
		t.Error("another seed chose the same")
	}
	few, _, err := Share{PerClass: 2}.Choose(labels, classes, 1)
	if err != nil || !reflect.DeepEqual(count(few), []int{2, 2, 2}) {
		t.Errorf("2 of each class: %v, %v", count(few), err)
	}
	for _, i := range few {
		if !slices.Contains(ten, i) {
			t.Errorf("image %d is in the smaller share and not in the larger", i)
		}
	}
	if _, _, err := (Share{PerClass: 1000}).Choose(labels, classes, 1); err == nil {
		t.Error("1000 of each class of 100 were chosen")
	}
	if _, _, err := (Share{PerClass: 1}).Choose([]int{0, -1}, classes, 1); err == nil {
		t.Error("an image without a label was taken")
	}
}
