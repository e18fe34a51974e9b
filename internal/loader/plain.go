package loader

import (
	"context"

	"moco/augment"
	"moco/data"
)

// Plain goes once through a set in its order, for evaluation. Images that cannot be read are left out and counted.
type Plain struct {
	Bad int

	set    *data.Set
	policy augment.Policy
	next   int
	pool   []worker
}

// NewPlain returns a walk through a set.
func NewPlain(set *data.Set, policy augment.Policy, workers int) *Plain {
	return &Plain{set: set, policy: policy, pool: make([]worker, max(1, workers))}
}

// Next makes views of the next images, as many as images has room for, into x; it returns how many, and leaves their places in the set in images.
// 0 means the end.
func (p *Plain) Next(ctx context.Context, x []float32, images []int) (int, error) {
	each := len(x) / len(images)
	for n := 0; ; {
		want := min(len(images)-n, p.set.Len()-p.next)
		if want == 0 {
			return n, nil
		}
		good := make([]bool, want)
		err := Parallel(ctx, want, len(p.pool), func(w, i int) error {
			s := &p.pool[w]
			if err := p.set.Read(p.next+i, &s.image); err != nil {
				return nil
			}
			good[i] = true
			p.policy.View(x[(n+i)*each:(n+i+1)*each], &s.image, nil, &s.scratch)
			return nil
		})
		if err != nil {
			return n, err
		}
		to := n
		for i, ok := range good { // close the gaps
			if !ok {
				p.Bad++
				continue
			}
			if to != n+i {
				copy(x[to*each:(to+1)*each], x[(n+i)*each:(n+i+1)*each])
			}
			images[to] = p.next + i
			to++
		}
		p.next += want
		n = to
	}
}
