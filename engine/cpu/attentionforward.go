package cpu

import (
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// attentionForward is attention. A part of the work is a block of queries of a head, or several
// heads of an image, if each has one block. What a head reads next is prefetched while it computes:
// heads lie as rows of a few lines each, far apart, which take long to come where many images are
// beyond the caches.
type attentionForward struct {
	*attention
	y      *buffer
	block  int // queries of a part
	blocks int // of a head
	run    int // heads of a part
	room   int // words of scratch memory
}

func emitAttention(c *compiler, s *step, o *op) {
	n, qkv := s.node, s.in[0].buffer
	a := &attentionForward{
		attention: newAttention(c, qkv, n.In[0].Shape, n.Attr.(graph.AttentionAttr).Heads), y: s.out[0].buffer,
	}
	a.plan(o, a.pairsOf(qkv), roundUp(max(1, scoreFloats/a.pitch), queriesEach), 4*a.pitch)
	a.cut()
	var all pieces
	a.carve(&all)
	a.room = all.used
	o.needs(a.room)
	o.then(phase{a.images * a.heads / a.run * a.blocks, func(w *worker, part int) {
		first, lo := part/a.blocks*a.run, part%a.blocks*a.block
		for i := range a.run {
			a.part(w, a.head(first+i), lo, min(lo+a.block, a.tokens), i+1 < a.run)
		}
	}}, clearPadding(a.y, a.heads*a.size))
}

// cut decides what the parts of the work are, from shapes alone.
func (a *attentionForward) cut() {
	heads := a.images * a.heads
	a.blocks = (a.tokens + queriesAtOnce - 1) / queriesAtOnce
	if heads*a.blocks < fewestParts {
		most := (a.tokens + fewestQueries - 1) / fewestQueries
		a.blocks = max(a.blocks, min((fewestParts+heads-1)/heads, most))
	}
	a.block = roundUp((a.tokens+a.blocks-1)/a.blocks, a.tiles[0].Rows)
	a.blocks = (a.tokens + a.block - 1) / a.block
	a.run = 1
	if a.blocks == 1 {
		a.run = a.headsOfPart()
	}
}

// forwardRoom is the scratch memory of a part.
type forwardRoom struct {
	keys, values, queries, scores, out []float32
	softmaxRows
}

func (a *attentionForward) carve(p *pieces) (r forwardRoom) {
	columns, rows := channels(a.keys), roundUp(a.block, a.rows)
	r.keys, r.values = p.take(a.inner*columns), p.take(max(a.depth(a.keys), a.keys)*a.stride)
	r.queries, r.scores = p.take(a.rows*a.width), p.take(a.rows*a.pitch)
	r.out = p.take(rows * a.stride)
	r.softmaxRows = newSoftmaxRows(p, rows, a.rows)
	return r
}

// forwardTile is queries lo to hi of a head by a tile of keys.
type forwardTile struct {
	head      attentionHead
	lo, hi    int
	key, keys int      // the first, and how many
	next      headRows // keys of the tile that follows; none if its count is 0
}

// part computes queries lo to hi of a head. more tells whether the image's next head follows.
func (a *attentionForward) part(w *worker, h attentionHead, lo, hi int, more bool) {
	r := a.carve(&pieces{memory: w.floats(a.room)})
	r.begin()
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.packColumns(r.keys, r.values, headRows{a.qkv, h, keyChannels, key, n})
		a.packRows(r.values, headRows{a.qkv, h, valueChannels, key, n})
		t := forwardTile{head: h, lo: lo, hi: hi, key: key, keys: n, next: a.keysAfter(h, key+n, more)}
		for q := lo; q < hi; q += a.rows {
			a.queries(w, r, t, q)
		}
	}
}

// queries computes the queries of a tile that have scores at a time, from q on.
func (a *attentionForward) queries(w *worker, r forwardRoom, t forwardTile, q int) {
	rows, out, state := min(a.rows, t.hi-q), r.out[(q-t.lo)*a.stride:], r.from(q-t.lo)
	share, shares := (q-t.lo)/a.rows, (t.hi-t.lo+a.rows-1)/a.rows
	first := t.key == 0
	a.load(r.queries, headRows{a.qkv, t.head, queryChannels, q, rows})
	a.prefetch(t.next, share, shares)
	a.prefetch(headRows{a.y, t.head, 0, q, rows}, 0, 1)
	a.scores(w, headProduct{x: r.queries, b: r.keys, y: r.scores, rows: rows, keys: t.keys})
	t.next.part = valueChannels
	a.prefetch(t.next, share, shares)
	factors := a.softmax(kernel.SoftmaxArgs{Scores: r.scores, Rows: rows, Columns: t.keys, BF16: a.pairs}, state, first)
	if factors != nil {
		a.rescale(out, factors, rows)
	}
	a.prefetch(a.queriesAfter(t, q+rows), 0, 1)
	a.weighted(w, headProduct{x: r.scores, b: r.values, y: out, rows: rows, keys: t.keys, add: !first})
	if t.key+t.keys == a.tokens {
		state.invert(rows)
		a.store(headRows{a.y, t.head, 0, q, rows}, out, state.sums)
	}
}

// queriesAfter are the queries that are read next, if those before q were read last.
func (a *attentionForward) queriesAfter(t forwardTile, q int) headRows {
	if q < t.hi {
		return headRows{a.qkv, t.head, queryChannels, q, min(a.rows, t.hi-q)}
	}
	if t.next.count == 0 {
		return headRows{}
	}
	return headRows{a.qkv, t.next.head, queryChannels, t.lo, min(a.rows, t.hi-t.lo)}
}
