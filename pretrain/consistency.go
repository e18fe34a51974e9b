package pretrain

import (
	"context"
	"fmt"

	"moco"
)

// consistency measures what Fig. 2 of the paper argues with: how alike the keys of a dictionary are
// to what the encoder would make of the same views now, by their age. Views are a function of the
// seed and the step, so those of an old step can be made again, in the same batch and order; what
// differs is the encoder alone.
func (r *run) consistency(ctx context.Context) (Consistency, error) {
	measured := Consistency{Epoch: r.epoch(), Step: r.step}
	stored, err := r.mechanism.Stored(r.state)
	if err != nil {
		return measured, fmt.Errorf("consistency: %w", err)
	}
	if stored == nil { // keys are never older than the step
		measured.Age, measured.Cosine = []int{0}, []float64{1}
		return measured, nil
	}
	encoders := keyMaker{run: r, keys: map[stepKind]*moco.Keys{}}
	defer encoders.close()
	at := moco.Earlier{}
	for age, next := 0, 0; age < r.step; age++ {
		step := r.step - 1 - age
		n := r.loader.BatchSize(step % r.stepsPerEpoch)
		at.SameEpoch = step/r.stepsPerEpoch == (r.step-1)/r.stepsPerEpoch
		if !stored.Holds(at, n) {
			break
		}
		if age == next {
			next = age + max(1, age/2)
			now, ids, err := encoders.make(ctx, step)
			if err != nil {
				return measured, fmt.Errorf("consistency: %w", err)
			}
			cosine, others := compare(stored, at, now, ids)
			if age == 0 {
				measured.Others = others
			}
			measured.Age, measured.Cosine = append(measured.Age, age), append(measured.Cosine, cosine)
		}
		at.Newer += n
	}
	return measured, nil
}

// compare returns the mean cosine of a step's stored keys with the same keys made now, and of the
// keys made now with those of other images. now is [N,C], one row for each of ids.
func compare(stored moco.Stored, at moco.Earlier, now []float32, ids []int32) (same, others float64) {
	n := len(ids)
	dim := len(now) / n
	for i, id := range ids {
		old := stored.Key(at, n, i, id)
		other := now[(i+1)%n*dim:]
		for c, v := range now[i*dim : (i+1)*dim] {
			same += float64(v) * float64(old[c])
			others += float64(v) * float64(other[c])
		}
	}
	return same / float64(n), others / float64(n)
}

// keyMaker makes the keys of earlier steps again, with the encoder as it is now.
type keyMaker struct {
	run  *run
	keys map[stepKind]*moco.Keys
}

func (m *keyMaker) make(ctx context.Context, step int) (keys []float32, ids []int32, err error) {
	r := m.run
	kind := r.kind(step)
	k := m.keys[kind]
	if k == nil {
		if k, err = moco.CompileKeys(r.recipe.ForSize(kind.pixels), kind.images, r.o.Engine, r.state); err != nil {
			return nil, nil, err
		}
		m.keys[kind] = k
	}
	err = r.together(func() error {
		return r.loader.Fill(ctx, step/r.stepsPerEpoch, step%r.stepsPerEpoch, k.Batch())
	})
	if err != nil {
		return nil, nil, err
	}
	return k.Run()
}

func (m *keyMaker) close() {
	for _, k := range m.keys {
		k.Close()
	}
}
