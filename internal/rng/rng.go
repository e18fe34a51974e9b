// Package rng makes counter-based random numbers: a stream is a pure function of its key (seed,
// epoch, image, view, ...), so neither the number of workers nor a restart changes what is drawn.
package rng

import (
	"math"
	"math/bits"
)

// Source is one stream. Copy it to fork it; the zero value is the stream of an empty key.
type Source struct {
	key, counter uint64
}

// New returns the stream for a key. Keys that differ in any word, or in length, give unrelated
// streams.
func New(key ...uint64) Source {
	h := uint64(len(key))
	for _, k := range key {
		h = mix(h ^ mix(k+0x9E3779B97F4A7C15))
	}
	return Source{key: h}
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection in which every input
// bit reaches every output bit.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// Uint64 returns the next 64 random bits.
func (s *Source) Uint64() uint64 {
	s.counter += 0x9E3779B97F4A7C15
	return mix(s.key + s.counter)
}

// Float64 returns the next number in [0, 1).
func (s *Source) Float64() float64 { return float64(s.Uint64()>>11) / (1 << 53) }

// Uniform returns the next number in [lo, hi).
func (s *Source) Uniform(lo, hi float64) float64 { return lo + (hi-lo)*s.Float64() }

// IntN returns the next integer in [0, n); n must be positive.
func (s *Source) IntN(n int) int {
	hi, _ := bits.Mul64(s.Uint64(), uint64(n))
	return int(hi)
}

// Normal returns the next number of a standard normal distribution (Box-Muller, one of the pair).
func (s *Source) Normal() float64 {
	u := 1 - s.Float64() // in (0, 1]: the logarithm is finite
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*s.Float64())
}

// Perm fills p with a random permutation of 0..len(p)-1 (Fisher-Yates).
func (s *Source) Perm(p []int) {
	for i := range p {
		j := s.IntN(i + 1)
		p[i] = p[j]
		p[j] = i
	}
}
