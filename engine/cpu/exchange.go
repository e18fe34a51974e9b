package cpu

import (
	"math/bits"

	"moco/graph"
	"moco/ranks"
)

// message is what ranks exchange at a level's end, in float32s or integers of the same size. All sums
// of the level, one behind the other, are cut into a piece for each rank. Every rank sends each piece
// to its owner, who adds what all have sent. Then every rank sends all others its piece of the sums
// and, behind it, its rows of everything that is gathered.
type message struct {
	group  ranks.Group
	sums   []part
	rows   []part
	piece  int // values of a rank's piece of the sums
	behind int // values of a rank's rows

	send, receive *buffer

	adding []phase // what an owner does with the pieces
}

// part is one collective's place in a message.
type part struct {
	b    *buffer // the partial result, and the result
	at   int     // among the sums, or behind the piece
	size int     // values: all of a sum, or a rank's rows
}

// messageOf lays out the message of an exchange.
func (c *compiler) messageOf(s *step) *message {
	m := &message{group: c.team.group}
	size, total := m.group.Size(), 0
	for _, v := range s.in {
		if v.node.Op == graph.SumReplicas {
			m.sums = append(m.sums, part{b: v.buffer, at: total, size: v.buffer.count})
			total += v.buffer.count
			continue
		}
		rows := c.team.share.Count * rowsIn(v.node.In[0], v.buffer)
		m.rows = append(m.rows, part{b: v.buffer, at: m.behind, size: rows})
		m.behind += rows
	}
	m.piece = (total + size - 1) / size
	return m
}

// sent is the number of bytes that a rank sends.
func (m *message) sent() int64 {
	others := m.group.Size() - 1
	return 4 * int64(others*m.piece+others*(m.piece+m.behind))
}

func emitExchange(c *compiler, s *step, o *op) {
	o.barrier = true
	if s.out[0] == nil {
		return
	}
	m := c.messageOf(s)
	c.sent += m.sent()
	size := m.group.Size()
	m.receive = s.out[0].buffer
	m.receive.count = size * (m.piece + m.behind)
	m.receive.stride = m.receive.count
	m.send = o.work(float32s, 1, max(size*m.piece, m.piece+m.behind))
	o.message, s.message = m, m
	if m.piece == 0 {
		return
	}
	o.then(phase{len(m.sums), func(_ *worker, i int) {
		p := m.sums[i]
		copy(m.send.raw[4*p.at:], p.b.raw[:4*p.size])
	}})
	m.adding = []phase{cut(m.piece, elementsEach, func(_ *worker, lo, hi int) {
		m.add(0, size, lo, hi)
		copy(m.send.f32[lo:hi], m.receive.f32[lo:hi])
	})}
}

// exchange sends and receives, and adds up this rank's piece on the way.
func (m *message) exchange(p *pool) error {
	size := m.group.Size()
	if m.piece > 0 {
		if err := m.group.AllToAll(m.send.raw[:4*size*m.piece], m.receive.raw[:4*size*m.piece]); err != nil {
			return err
		}
		p.runPhases(m.adding)
	}
	rank := m.group.Rank()
	for _, p := range m.rows {
		copy(m.send.raw[4*(m.piece+p.at):], p.b.raw[4*rank*p.size:4*(rank+1)*p.size])
	}
	each := m.piece + m.behind
	return m.group.AllGather(m.send.raw[:4*each], m.receive.raw[:4*size*each])
}

// add adds up values lo to hi of the pieces of n ranks, from rank `first` on, in the order that
// graph.SumReplicas defines. The sum takes the place of the first one.
func (m *message) add(first, n, lo, hi int) {
	if n == 1 {
		return
	}
	half := 1 << (bits.Len(uint(n-1)) - 1)
	m.add(first, half, lo, hi)
	m.add(first+half, n-half, lo, hi)
	a, b := m.receive.f32[first*m.piece:][lo:hi], m.receive.f32[(first+half)*m.piece:][lo:hi]
	for i := range a {
		a[i] += b[i]
	}
}

// emitFinish takes a collective's result from the message. It lies where the partial result does.
func emitFinish(c *compiler, s *step, o *op) {
	y := s.in[0].buffer
	s.out[0].buffer = y
	o.writes = []*buffer{y}
	if s.in[1] == nil {
		return
	}
	m := s.in[1].producer.message
	each := m.piece + m.behind
	if s.node.Op == graph.GatherReplicas {
		for _, p := range m.rows {
			if p.b == y {
				o.then(phase{m.group.Size(), func(_ *worker, rank int) {
					copy(y.raw[4*rank*p.size:4*(rank+1)*p.size], m.receive.raw[4*(rank*each+m.piece+p.at):])
				}})
			}
		}
		return
	}
	for _, p := range m.sums {
		if p.b == y {
			o.then(phase{m.group.Size(), func(_ *worker, rank int) {
				lo, hi := max(p.at, rank*m.piece), min(p.at+p.size, (rank+1)*m.piece)
				if lo < hi {
					copy(y.f32[lo-p.at:hi-p.at], m.receive.f32[rank*each+lo-rank*m.piece:])
				}
			}})
		}
	}
}
