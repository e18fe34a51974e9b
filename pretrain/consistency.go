package pretrain

import (
	"context"
	"fmt"

	"moco"
	"moco/engine"
)

// consistency measures what Fig. 2 of the paper argues with: how alike the keys of a dictionary are to what the encoder would make of the same
// views now, by their age. Views are a function of the seed and the step, so those of an old step can be made again, in the same batch
// and order; what differs is the encoder alone.
func (r *run) consistency(ctx context.Context) (Consistency, error) {
	event := Consistency{Event: "consistency", Epoch: r.epoch(), Step: r.step}
	name := "queue"
	switch {
	case !r.hasQueue() && r.recipe.Dictionary == "batch": // keys are never older than the step
		event.Age, event.Cosine = []int{0}, []float64{1}
		return event, nil
	case !r.hasQueue():
		name = "bank"
	}
	stored, err := r.state.Read(name)
	if err != nil {
		return event, fmt.Errorf("consistency: %w", err)
	}
	pointer := 0
	if name == "queue" {
		at, err := r.state.Read("queue_pointer")
		if err != nil {
			return event, fmt.Errorf("consistency: %w", err)
		}
		pointer = int(at.Int32s()[0])
	}
	programs := map[int]engine.Program{}
	defer func() {
		for _, p := range programs {
			p.Close()
		}
	}()
	dim, rows := r.recipe.Encoder.Dim, stored.Shape[0]
	behind := 0 // keys enqueued after those of the step that is looked at
	for age, next := 0, 0; age < r.step; age++ {
		step := r.step - 1 - age
		epoch, inEpoch := step/r.stepsPerEpoch, step%r.stepsPerEpoch
		n := r.loader.BatchSize(inEpoch)
		enqueued := n
		if r.recipe.Symmetric {
			enqueued *= 2
		}
		// An old key must be there still: in the queue, or, in a bank, not replaced since, which an epoch never does.
		if name == "queue" && behind+enqueued > rows || name == "bank" && epoch != (r.step-1)/r.stepsPerEpoch {
			break
		}
		if age == next {
			next = age + max(1, age/2)
			p := programs[n]
			if p == nil {
				g, err := moco.Keys(r.recipe, n)
				if err != nil {
					return event, err
				}
				if p, err = r.o.Engine.Compile(g, r.state); err != nil {
					return event, err
				}
				programs[n] = p
			}
			b := batchOf(p)
			b.IDs = make([]int32, n)
			if b.X1 == nil {
				b.X1 = make([]float32, len(b.X2))
			}
			if err := r.loader.Fill(ctx, epoch, inEpoch, b); err != nil {
				return event, err
			}
			if err := p.Run(); err != nil {
				return event, err
			}
			now := p.Output("k").Float32s()
			var sum, others float64
			for i := range n {
				row := int(b.IDs[i])
				if name == "queue" { // the keys of the second views are the last of their step
					row = ((pointer-behind-n+i)%rows + rows) % rows
				}
				for c, v := range now[i*dim : (i+1)*dim] {
					sum += float64(v) * float64(stored.Float32s()[row*dim+c])
					others += float64(v) * float64(now[(i+1)%n*dim+c])
				}
			}
			if age == 0 {
				event.Others = others / float64(n)
			}
			event.Age, event.Cosine = append(event.Age, age), append(event.Cosine, sum/float64(n))
		}
		behind += enqueued
	}
	return event, nil
}
