package augment

import (
	"crypto/sha256"
	"encoding/hex"
	"runtime"
	"testing"

	"moco/internal/rng"
)

// TestRecordedViews holds views to sums that were recorded when every operation on them was plain
// Go: recipes repeat.
func TestRecordedViews(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("recorded on amd64; elsewhere a product and a sum may be rounded together")
	}
	for name, want := range map[string]string{
		"v1": "7424fd0d11b867df", "v2": "bdac2427d53555bd", "cifar": "94429d0b652c64a7", "shapes": "5edcf4deed3bf0c4", "flip": "d78a5045ddf5dbbf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sum, s := sha256.New(), &Scratch{}
			for n, shape := range [][3]int{{192, 144, 64}, {100, 333, 64}, {32, 32, 32}, {45, 20, 31}, {672, 504, 224}} {
				p, err := Named(name, shape[2])
				if err != nil {
					t.Fatal(err)
				}
				img, view := noise(shape[0], shape[1]), make([]uint8, 3*p.Size*p.Size)
				for seed := range uint64(20) {
					r := rng.New(seed, uint64(n))
					p.Bytes(view, img, &r, s)
					sum.Write(view)
				}
			}
			if got := hex.EncodeToString(sum.Sum(nil)[:8]); got != want {
				t.Errorf("the views' sum is %s, want %s", got, want)
			}
		})
	}
}
