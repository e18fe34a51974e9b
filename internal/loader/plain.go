package loader

import (
	"context"

	"moco/augment"
	"moco/data"
)

// Plain goes once through a set in its order, for evaluation. Images that cannot be read are left
// out and counted.
type Plain struct {
	Bad int
	// Skipped, if not nil, is told of each image that cannot be read, in the set's order. Its error ends
	// the walk.
	Skipped func(image int, err error) error

	set     *data.Set
	reading data.Reading
	policy  augment.Policy
	next    int
	end     int // the first image that the walk leaves out
	pool    []worker
}

// NewPlain returns a walk through a set, read in a certain way, that begins with image from.
func NewPlain(set *data.Set, reading data.Reading, policy augment.Policy, from, workers int) *Plain {
	return &Plain{set: set, reading: reading, policy: policy, next: from, end: set.Len(), pool: make([]worker, max(1, workers))}
}

// EndBefore makes an image the first one that the walk leaves out.
func (p *Plain) EndBefore(image int) { p.end = min(image, p.set.Len()) }

// Position is the first image that Next has not looked at yet: a walk that begins there makes the
// same batches as this one will.
func (p *Plain) Position() int { return p.next }

// Next makes views of the next images, as many as images has room for, into x; it returns how many,
// and leaves their places in the set in images. 0 means the end.
func (p *Plain) Next(ctx context.Context, x []float32, images []int) (int, error) {
	each := len(x) / len(images)
	for n := 0; ; {
		want := min(len(images)-n, p.end-p.next)
		if want <= 0 {
			return n, nil
		}
		bad := make([]error, want)
		err := Parallel(ctx, want, len(p.pool), func(w, i int) error {
			s := &p.pool[w]
			m, err := p.set.Borrow(p.next+i, p.reading, &s.image)
			if bad[i] = err; err != nil {
				return nil
			}
			p.policy.View(x[(n+i)*each:(n+i+1)*each], m, nil, &s.scratch)
			return nil
		})
		if err != nil {
			return n, err
		}
		to := n
		for i, err := range bad { // close the gaps
			if err != nil {
				p.Bad++
				if p.Skipped != nil {
					if err := p.Skipped(p.next+i, err); err != nil {
						return to, err
					}
				}
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
