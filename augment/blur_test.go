package augment

import (
	"slices"
	"testing"

	"moco/internal/rng"
)

// boxByDefinition averages along lines of n pixels, `step` bytes apart; the lines are `next` bytes apart.
// Pixels beyond the ends are those at the ends.
func boxByDefinition(dst, src []uint8, n, lines, step, next int, radius float32) {
	reach := int(radius)
	whole := uint32(float32(1<<24) / (radius*2 + 1))
	border := (1<<24 - uint32(reach*2+1)*whole) / 2
	for line := range lines {
		for c := range 3 {
			at := func(i int) uint32 { return uint32(src[line*next+min(max(i, 0), n-1)*step+c]) }
			var sum uint32
			for i := -reach - 1; i < reach; i++ {
				sum += at(i)
			}
			for i := range n {
				sum += at(i+reach) - at(i-reach-1)
				dst[line*next+i*step+c] = uint8((sum*whole + (at(i-reach-1)+at(i+reach+1))*border + 1<<23) >> 24)
			}
		}
	}
}

// TestBlur holds the blur to its passes one by one, value by value.
func TestBlur(t *testing.T) {
	t.Parallel()
	r := rng.New(5)
	var b blurrer
	for _, size := range [][2]int{{1, 1}, {1, 7}, {2, 2}, {5, 3}, {32, 32}, {97, 51}} {
		for range 20 {
			sigma := r.Uniform(0.1, 6)
			m := noise(size[0], size[1])
			want, other := slices.Clone(m.Pix), make([]uint8, len(m.Pix))
			for pass := range 2 * blurPasses {
				if pass < blurPasses {
					boxByDefinition(other, want, size[0], size[1], 3, 3*size[0], boxRadius(sigma))
				} else {
					boxByDefinition(other, want, size[1], size[0], 3*size[0], 3, boxRadius(sigma))
				}
				want, other = other, want
			}
			if b.run(m.Pix, size[0], sigma); !slices.Equal(m.Pix, want) {
				t.Errorf("%v pixels blurred by %v differ from the definition", size, sigma)
			}
		}
	}
}
