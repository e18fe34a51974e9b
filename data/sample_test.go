package data

import (
	"context"
	"slices"
	"testing"
)

func TestSample(t *testing.T) {
	s, err := Open(context.Background(), "builtin:train?n=100&size=8", Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err := s.Sample(23, 1)
	if err != nil {
		t.Fatal(err)
	}
	count := map[int]int{}
	var got, want Image
	for i := range a.Len() {
		count[a.Label(i)]++
		from := slices.Index(s.names, a.Name(i))
		if err := a.Read(i, &got); err != nil {
			t.Fatal(err)
		}
		if err := s.Read(from, &want); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Pix, want.Pix) || a.Label(i) != s.Label(from) {
			t.Errorf("image %d of the sample is not %s", i, a.Name(i))
		}
	}
	if a.Len() != 23 || len(count) != 10 {
		t.Errorf("a sample of %d images with %d classes, want 23 with 10", a.Len(), len(count))
	}
	for class, n := range count {
		if n != 2 && n != 3 {
			t.Errorf("class %d has %d of 23 images", class, n)
		}
	}
	b, _ := s.Sample(23, 1)
	c, _ := s.Sample(23, 2)
	if !slices.Equal(a.names, b.names) || slices.Equal(a.names, c.names) {
		t.Error("the sample does not follow from the seed")
	}
	if a.Fingerprint() != b.Fingerprint() || a.Fingerprint() == c.Fingerprint() || a.Fingerprint() == s.Fingerprint() {
		t.Error("the fingerprint does not follow from the sample")
	}
	for _, n := range []int{0, 101} {
		if _, err := s.Sample(n, 1); err == nil {
			t.Errorf("a sample of %d out of 100 is made", n)
		}
	}
}
