package cpu

import "moco/graph"

// parted is an operation that writes its output part by part, all channels of some pixels in a row. What follows can be done with a part while it lies in the cache: the sums of batch norm, or a
// ReLU's mask. Each saves a pass over memory.
type parted struct {
	op     *op
	pixels split
	after  []func(w *worker, part, split, lo, hi int)
}

// then makes the operation do f with each part of its output; f reads and writes other buffers too.
func (p *parted) then(f func(w *worker, part, split, lo, hi int), reads []*buffer, writes ...*buffer) {
	p.after = append(p.after, f)
	p.op.reads = append(p.op.reads, reads...)
	p.op.writes = append(p.op.writes, writes...)
}

// finish does what is to be done with a part that is written.
func (p *parted) finish(w *worker, part, split int) {
	for _, f := range p.after {
		f(w, part, split, p.pixels.bounds[part], p.pixels.bounds[part+1])
	}
}

// inParts reports whether a convolution of in to out channels writes its output so. Such a convolution lays out its inputs itself, and may normalise them on the way.
func (e *Engine) inParts(g geometry, in, out int) bool {
	return g.pointwiseFits(in) || e.winogradFits(g, in, out)
}

// emitParted emits the operation o of a node, which later ones may add to.
func (c *compiler) emitParted(o *op, p *parted) {
	p.op = o
	c.parted[o.node] = p
	c.emit(o)
}

// maker is who writes the value of n, as it lies in b, in parts that each lie in one of so many splits; nil if nobody does. With it can be done what reads no other
// buffers than b and those that are there when the maker begins.
func (c *compiler) maker(n *graph.Node, b *buffer, splits int, reads ...*buffer) *parted {
	p := c.parted[n]
	if p == nil || c.values[n] != b || p.pixels.splits != splits {
		return nil
	}
	missing := map[*buffer]bool{}
	for _, r := range reads {
		if !r.pinned {
			missing[r] = true
		}
	}
	for _, o := range c.ops {
		if o == p.op {
			break
		}
		for _, w := range o.writes {
			delete(missing, w)
		}
	}
	if len(missing) > 0 {
		return nil
	}
	return p
}

// splitsBehind is into how many parts the batch norm that reads n, or whose gradient does, divides the batch: 1 if there is none.
func (c *compiler) splitsBehind(n *graph.Node) int {
	for _, u := range c.users[n] {
		switch {
		case u.Op == graph.BatchVariance, u.Op == graph.ChannelDot && u.In[0] == n:
			return u.Shape[0]
		case u.Op == graph.ReLUGrad && u.In[0] == n:
			return c.splitsBehind(u)
		}
	}
	return 1
}
