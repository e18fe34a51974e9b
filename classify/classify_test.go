package classify

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"moco/evaluate"
	"moco/internal/rng"
)

// blobs is rows around a centre for each class, of length one.
func blobs(n, dim, classes int, noise float64, seed uint64) *evaluate.Embedded {
	centres, r := rng.New(1), rng.New(2, seed)
	e := &evaluate.Embedded{Dim: dim}
	means := make([]float64, classes*dim)
	for i := range means {
		means[i] = centres.Normal()
	}
	for c := range classes {
		e.Classes = append(e.Classes, fmt.Sprintf("class %d", c))
	}
	for i := range n {
		l := i % classes
		row := make([]float32, dim)
		var square float64
		for j := range row {
			v := means[l*dim+j] + noise*r.Normal() + 3
			row[j] = float32(v)
			square += v * v
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(square))
		}
		e.Features, e.Labels = append(e.Features, row...), append(e.Labels, l)
	}
	return e
}

func TestTry(t *testing.T) {
	for _, n := range []int{20, 200, 2000, 100000} {
		set := blobs(n, 512, 20, 4, 1)
		start := time.Now()
		c, err := Fit(context.Background(), set, Options{})
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		test := blobs(2000, 512, 20, 4, 2)
		start = time.Now()
		p, err := c.Predict(context.Background(), test)
		right := 0
		conf := 0.0
		for i, q := range p {
			if q.Label == test.Labels[i] {
				right++
			}
			conf += float64(q.Confidence)
		}
		fmt.Println(n, took, time.Since(start), err, "C", c.C, "T", c.Temperature, "test", float64(right)/2000, "confidence", conf/2000, c.Estimate.Interval, c.Estimate.Enough, c.Estimate.Lacking())
	}
}
