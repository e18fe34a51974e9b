package recipe

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"moco"
	"moco/data"
	"moco/picture"
)

// TestReading: how pictures are read follows from the recipe, and stands in its file only where it
// is not the rule.
func TestReading(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings []string
		want     data.Reading
		written  string // of the keys from and ground
	}{
		{[]string{"views.size=224"}, data.Reading{Side: 504}, ""},
		{[]string{"views.size=32"}, data.Reading{Side: 72}, ""},
		{[]string{"views.size=33"}, data.Reading{Side: 74}, ""}, // 74.25
		{[]string{"views.size=34"}, data.Reading{Side: 77}, ""}, // 76.5
		{[]string{"views.size=1"}, data.Reading{Side: 2}, ""},
		{[]string{"views.from=0"}, data.Reading{Side: 72}, ""},
		{[]string{"views.from=32"}, data.Reading{Side: 32}, "from: 32"},
		{[]string{"views.from=90000"}, data.Reading{Side: 90000}, "from: 90000"},
		{[]string{"views.ground=white"}, data.Reading{Side: 72}, "ground: white"},
		{[]string{"views.ground=black"}, data.Reading{Side: 72, Ground: picture.Black}, "ground: black"},
		{[]string{"views.ground=drop"}, data.Reading{Side: 72, Ground: picture.Drop}, "ground: drop"},
		{[]string{"views.ground=#0102ff"}, data.Reading{Side: 72, Ground: picture.RGB(1, 2, 255)}, `ground: "#0102ff"`},
	} {
		r, err := Load("cifar", c.settings)
		if err != nil {
			t.Errorf("%v: %v", c.settings, err)
			continue
		}
		if got, err := r.Views.Reading(); err != nil || got != c.want {
			t.Errorf("%v: pictures are read as %v (%v), want %v", c.settings, got, err, c.want)
		}
		written := Write(r)
		for _, key := range []string{"from:", "ground:"} {
			if strings.Contains(written, key) != strings.HasPrefix(c.written, key) {
				t.Errorf("%v: the file should have %q and no more of the kind:\n%s", c.settings, c.written, written)
			}
		}
		if !strings.Contains(written, c.written) {
			t.Errorf("%v: the file lacks %s:\n%s", c.settings, c.written, written)
		}
		if back, err := Parse(written); err != nil || !reflect.DeepEqual(back.Views, r.Views) {
			t.Errorf("%v: comes back as %+v, %v", c.settings, back.Views, err)
		}
	}
	if _, err := (moco.Views{Ground: "sky"}).Reading(); err == nil {
		t.Error("an unknown ground is taken")
	}
}

// TestNormalise: a recipe names the normalisation where it is not its policy's.
func TestNormalise(t *testing.T) {
	t.Parallel()
	for setting, mean := range map[string]float32{"": 0.485, "views.normalise=half": 0.5, "views.normalise=cifar": 0.4914} {
		r, err := Load("moco-v1", slices.DeleteFunc([]string{setting}, func(s string) bool { return s == "" }))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := r.Views.Drawn(); err != nil || p.Mean[0] != mean {
			t.Errorf("%q: the mean is %v, %v; want %v first", setting, p.Mean, err, mean)
		}
	}
	if _, err := Load("moco-v1", []string{"views.normalise=mine"}); err == nil ||
		!strings.Contains(err.Error(), "there are cifar, half, imagenet") {
		t.Errorf("an unknown normalisation gives %v", err)
	}
}

// TestResize: the key chooses the filter of the plain view alone.
func TestResize(t *testing.T) {
	t.Parallel()
	for filter, bicubic := range map[string]bool{"bilinear": false, "bicubic": true} {
		r, err := Load("moco-v1", []string{"views.resize=" + filter})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := r.Views.Drawn(); err != nil || p.Bicubic != bicubic {
			t.Errorf("%s: bicubic is %v, %v", filter, p.Bicubic, err)
		}
	}
	if _, err := Load("moco-v1", []string{"views.resize=lanczos"}); err == nil ||
		!strings.Contains(err.Error(), "there are bilinear and bicubic") {
		t.Errorf("an unknown filter gives %v", err)
	}
}

// TestCropMin: the key changes how far training views are cropped, and stands in a recipe's file only
// where it is set.
func TestCropMin(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]float64{"views.policy=v3": 0.08, "views.crop_min=0.2": 0.2, "views.crop_min=0": 0.08} {
		r, err := Load("cifar", []string{setting})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Views.Drawn()
		if err != nil || p.MinScale != want {
			t.Errorf("%s: views cover %v of the image or more (%v), want %v", setting, p.MinScale, err, want)
		}
		if written := Write(r); strings.Contains(written, "crop_min") != (r.Views.CropMin != 0) {
			t.Errorf("%s is written as\n%s", setting, written)
		}
	}
	if _, err := Load("cifar", []string{"views.crop_min=0.2", "views.crop_only=true"}); err == nil {
		t.Error("crop_min beside crop_only is taken")
	}
}
