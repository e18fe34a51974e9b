package cpu

import (
	"math/bits"

	"moco/engine"
	"moco/graph"
	"moco/ranks"
)

// Collectives. Replicas of this process take their turns: each hands its operand over when it comes
// to a collective (join), and the last of them completes the result of this process. Behind the last
// replica of a level, ranks exchange what they have (exchange), and each takes the result from the
// message (finish). The partial result and the result are the same place in memory.

// team is how the replicas of a program run: the share of this process, and whose turn it is.
type team struct {
	share ranks.Share
	group ranks.Group
	turn  int // of share.Count
}

// teamOf is how the replicas of a graph run. A graph of one runs on each rank by itself.
func (e *Engine) teamOf(g *graph.Graph) (*team, error) {
	if g.Replicas <= 1 {
		return &team{share: ranks.Share{Count: 1, Of: 1}, group: ranks.Alone{}}, nil
	}
	share, err := e.Share(g.Replicas)
	return &team{share: share, group: e.group}, err
}

// replica is the number, among all, of the replica whose turn it is.
func (t *team) replica() int { return t.share.First + t.turn }

var replicaOperations = operations{
	graph.SumReplicas:    {build: joined, layout: weightsStay, operands: likeResult, emit: emitJoinSum},
	graph.GatherReplicas: {build: joined, kind: engine.Move, emit: emitJoinRows},
	graph.OwnRows: {
		kind: engine.Move, layout: imagesStay, element: likeRows, operands: anyRows, emit: emitOwnRows,
	},
}

// joined makes the step in which a replica hands its operand to a collective. Its result is the
// partial one.
func joined(c *compiler, n *graph.Node) {
	c.add(newStep(operationOf(n.Op), n, c.operands(n), []*value{c.newValue(n)}))
}

// exchange ends a level: one step for the message, and one for each collective's result.
func (c *compiler) exchange() {
	var partial []*value
	for _, s := range c.steps {
		if graph.Collective(s.node.Op) && c.of[s.node.ID] == nil {
			partial = append(partial, s.out[0])
		}
	}
	if len(partial) == 0 {
		return
	}
	var message *value // a process that is alone sends none
	if c.team.group.Size() > 1 {
		message = c.newPrivate(partial[0].node, 1, 0)
	}
	c.add(newStep(exchangeOperation, partial[0].node, partial, []*value{message}))
	for _, v := range partial {
		c.add(newStep(finishOperation, v.node, []*value{v, message}, []*value{c.result(v.node)}))
	}
}

// The steps at a level's end.
var (
	exchangeOperation = moving("Exchange", emitExchange)
	finishOperation   = &operation{
		kind: engine.Move, helper: true, operands: asItIs, emit: emitFinish, name: named("Finish"),
		layout: func(s *step) layout { return s.in[0].layout },
	}
)

// sumSlots is how many partial sums there are at a time of so many values that come one after the
// other, if two of them are added as soon as they are sums of equally many. That is the tree that
// graph.SumReplicas defines, and sums of 1, 2, 4 .. values have a slot each.
func sumSlots(values int) int { return max(1, bits.Len(uint(values-1))) }

func emitJoinSum(c *compiler, s *step, o *op) {
	x, y, team := s.in[0].buffer, s.out[0].buffer, c.team
	last := team.share.Count - 1
	slots := []*buffer{y} // the result lies where the single values do
	for len(slots) < sumSlots(last+1) {
		slots = append(slots, o.work(float32s, y.count/y.stride, y.stride))
	}
	o.kept = slots
	if last == 0 {
		o.kept, o.reuse = nil, []*buffer{x}
	}
	sum := c.engine.path.WeightedSum
	o.then(cut(y.count, elementsEach, func(_ *worker, lo, hi int) {
		i := team.turn
		merge := bits.TrailingZeros(^uint(i)) // slots that are full, from the first on
		to := slots[0]
		if i == last {
			merge = len(slots)
		} else {
			to = slots[merge]
		}
		v := x.f32[lo:hi]
		for j, slot := range slots[:merge] {
			if i>>j&1 == 1 {
				sum(to.f32[lo:hi], 1, slot.f32[lo:hi], 1, v, 0, nil)
				v = to.f32[lo:hi]
			}
		}
		if &v[0] == &x.f32[lo] && to.root() != x.root() {
			copy(to.f32[lo:hi], v)
		}
	}))
}

// emitJoinRows puts the rows of a replica where they lie among those of all.
func emitJoinRows(c *compiler, s *step, o *op) {
	x, y, team := s.in[0].buffer, s.out[0].buffer, c.team
	size := x.element.size() * rowsIn(s.node.In[0], x)
	o.kept = []*buffer{y}
	o.then(serial(func(*worker) { copy(y.raw[team.replica()*size:], x.raw[:size]) }))
}

func emitOwnRows(c *compiler, s *step, o *op) {
	x, y, team := s.in[0].buffer, s.out[0].buffer, c.team
	count, size := rowsIn(s.node, x), x.element.size()
	o.then(cut(count, elementsEach, func(_ *worker, lo, hi int) {
		from := team.replica() * count
		copy(y.raw[lo*size:hi*size], x.raw[(from+lo)*size:(from+hi)*size])
	}))
}
