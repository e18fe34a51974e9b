package evaluate

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestClassified(t *testing.T) {
	test := &Embedded{Dim: 3, Classes: []string{"b", "c"}, Labels: []int{0, 0, 1, 1}, Features: []float32{
		0.1, 0.9, 0, // b: right
		0.9, 0.1, 0, // a: wrong
		0.3, 0.3, 0.4, // c: right
		0.4, 0.4, 0.2, // a and b tie: a
	}}
	s, err := Classified([]string{"a", "b", "c"}, test)
	if err != nil || s.Top1 != 50 || s.Top5 != 0 ||
		fmt.Sprint(s.Confusion, s.Predicted) != "[[0 0 0] [1 1 0] [1 0 1]] [1 0 2 0]" {
		t.Errorf("the score is %+v, %v", s, err)
	}
	six := &Embedded{Dim: 6, Labels: []int{0, 5}, Features: []float32{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6}}
	if s, err := Classified([]string{"a", "b", "c", "d", "e", "f"}, six); err != nil || s.Top1 != 50 || s.Top5 != 50 {
		t.Errorf("of six classes the score is %+v, %v", s, err)
	}
	nan := float32(math.NaN())
	broken := &Embedded{Dim: 3, Labels: []int{0, 1}, Features: []float32{nan, nan, nan, nan, 1, nan}}
	if s, err := Classified([]string{"a", "b", "c"}, broken); err != nil || s.Top1 != 0 {
		t.Errorf("logits that are no numbers score %v%%, %v", s.Top1, err)
	}
	for want, classes := range map[string][]string{"one for each of 2": {"a", "b"},
		`"c" of the test images is not among`: {"a", "b", "d"}} {
		if _, err := Classified(classes, test); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v gives %v", classes, err)
		}
	}
	if _, err := Classified([]string{"a", "b", "c"},
		&Embedded{Dim: 3, Labels: []int{-1}, Features: make([]float32, 3)}); err == nil ||
		!strings.Contains(err.Error(), "labelled") {
		t.Errorf("unlabelled images give %v", err)
	}
}

func TestSpread(t *testing.T) {
	for want, values := range map[string][]float64{"not run": nil, "40.00%": {40},
		"41.00% (40.00 to 42.00)": {42, 40, 41}, "0.10% (0.10 to 0.10)": {0.1, 0.1, 0.1}} {
		if got := Summarise(values).String(); got != want {
			t.Errorf("the spread of %v is %s, want %s", values, got, want)
		}
	}
	if s := Summarise([]float64{0.1, 0.1, 0.1}); s.Mean != 0.1 {
		t.Errorf("rounding takes the mean to %v", s.Mean)
	}
}
