package cpu

import (
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// attentionBackward is the gradient of attention. A part of the work is a head, or several heads of
// an image, since the gradients of a head's keys and values are sums over all queries. The weights
// are computed anew, a block of queries and a tile of keys at a time. Where there are several tiles
// of keys, a first round over them finds the maximum and the sum of each row.
type attentionBackward struct {
	*attention
	dy, y, dx *buffer
	grads     []kernel.Grad
	scales    []float32 // the scale of scores, for each row of a tile of keys
	pixels    []int32   // rows of scores and of a head, as the weight gradient's tiles read them
	// queryPairs and dyPairs are the tokens of a block of queries.
	queryPairs, dyPairs pairLists
	many                bool // there is more than one tile of keys
	run                 int  // heads of a part
	room                int  // words of scratch memory
}

func emitAttentionGrad(c *compiler, s *step, o *op) {
	n, dy, qkv := s.node, s.in[attentionDY].buffer, s.in[attentionQKV].buffer
	a := &attentionBackward{
		attention: newAttention(c, qkv, n.Shape, n.Attr.(graph.AttentionAttr).Heads),
		dy:        dy, y: s.in[attentionY].buffer, dx: s.out[0].buffer, grads: c.engine.path.Grads,
	}
	// A head reads nothing of another, and writes no token's gradient before it has read the token
	// for the last time.
	o.reuse = []*buffer{qkv}
	pairs := a.pairsOf(dy, qkv)
	weightBytes, step := 4*a.pitch, 1
	if pairs {
		weightBytes, step = 2*a.pitch, 2
	}
	a.plan(o, pairs, gradQueries, weightBytes)
	if pairs {
		a.grads = c.engine.path.PairGrads
		a.queryPairs = newPairLists(a.rows, a.tokens, qkv.stride, o)
		a.dyPairs = newPairLists(a.rows, a.tokens, dy.stride, o)
	}
	a.many = a.keys < a.tokens
	for range max(a.keys, a.rows) {
		a.scales = append(a.scales, float32(a.scale))
	}
	for i := 0; i < a.rows; i += step {
		a.pixels = append(a.pixels, int32(4*i*a.pitch), int32(4*i/step*a.stride))
	}
	keeps(o, a.pixels)
	o.tables += 4 * len(a.scales)
	var all pieces
	a.carve(&all)
	a.room = all.used
	o.needs(a.room)
	a.run = a.headsOfPart()
	o.then(phase{a.images * a.heads / a.run, func(w *worker, part int) {
		for i := range a.run {
			a.part(w, a.head(part*a.run+i), i+1 < a.run)
		}
	}}, clearPadding(a.dx, 3*a.heads*a.size))
}

// backwardRoom is the scratch memory of a part.
type backwardRoom struct {
	keyColumns, valueColumns, keyRows []float32
	queries, dy                       []float32 // rows, as the left operands of products
	queryRows, dyRows                 []float32 // the same as the right operands; pairs are not the same
	scores, gradients                 []float32
	rounded                           []float32 // gradients in bfloat16
	dq, dk, dv                        []float32
	along                             []float32
	softmaxRows
}

// gradSlack is how many rows a tile of the weight gradient may read and write beyond the last key.
const gradSlack = 16

func (a *attentionBackward) carve(p *pieces) (r backwardRoom) {
	columns, rows := channels(a.keys), a.rows
	r.keyColumns, r.valueColumns = p.take(a.inner*columns), p.take(a.inner*columns)
	r.keyRows = p.take(max(a.depth(a.keys), a.keys) * a.stride)
	r.queries, r.dy = p.take(a.rows*a.width), p.take(a.rows*a.width)
	r.queryRows, r.dyRows = r.queries, r.dy
	if a.pairs {
		r.queryRows, r.dyRows = p.take(a.depth(a.rows)*a.stride), p.take(a.depth(a.rows)*a.stride)
		r.rounded = p.take(a.rows * a.pitch / 2)
	}
	r.scores, r.gradients = p.take(a.rows*a.pitch+gradSlack), p.take(a.rows*a.pitch+gradSlack)
	r.dk, r.dv = p.take((columns+gradSlack)*a.stride), p.take((columns+gradSlack)*a.stride)
	if a.many {
		rows = roundUp(a.tokens, a.rows)
	}
	r.dq = p.take(rows * a.stride)
	r.along = p.take(a.rows)
	r.softmaxRows = newSoftmaxRows(p, rows, a.rows)
	return r
}

// gradTile is a tile of keys of a head.
type gradTile struct {
	head      attentionHead
	key, keys int      // the first, and how many
	next      headRows // keys of the tile that follows; none if its count is 0
}

// part computes the gradient of a head. more tells whether the image's next head follows.
func (a *attentionBackward) part(w *worker, h attentionHead, more bool) {
	r := a.carve(&pieces{memory: w.floats(a.room)})
	if a.many {
		a.normalisers(w, r, h)
	}
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.packColumns(r.keyColumns, r.keyRows, headRows{a.qkv, h, keyChannels, key, n})
		a.packColumns(r.valueColumns, r.keyRows, headRows{a.qkv, h, valueChannels, key, n})
		a.packRows(r.keyRows, headRows{a.qkv, h, keyChannels, key, n})
		t := gradTile{head: h, key: key, keys: n, next: a.keysAfter(h, key+n, more)}
		for q := 0; q < a.tokens; q += a.rows {
			a.block(w, r, t, q)
		}
		a.store(headRows{a.dx, h, keyChannels, key, n}, r.dk, a.scales)
		a.store(headRows{a.dx, h, valueChannels, key, n}, r.dv, nil)
	}
}

// normalisers finds the maximum and the inverse of the sum of each query over all tiles of keys.
func (a *attentionBackward) normalisers(w *worker, r backwardRoom, h attentionHead) {
	r.begin()
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.packColumns(r.keyColumns, r.keyRows, headRows{a.qkv, h, keyChannels, key, n})
		for q := 0; q < a.tokens; q += a.rows {
			rows := min(a.rows, a.tokens-q)
			a.load(r.queries, headRows{a.qkv, h, queryChannels, q, rows})
			a.scores(w, headProduct{x: r.queries, b: r.keyColumns, y: r.scores, rows: rows, keys: n})
			a.softmax(kernel.SoftmaxArgs{Scores: r.scores, Rows: rows, Columns: n}, r.from(q), key == 0)
		}
	}
	r.invert(a.tokens)
}

// block adds what a block of queries, from q on, gives to the gradients of a tile of keys, and the
// other way round.
func (a *attentionBackward) block(w *worker, r backwardRoom, t gradTile, q int) {
	h, n, rows := t.head, t.keys, min(a.rows, a.tokens-q)
	state, dq := r.softmaxRows, r.dq
	if a.many {
		state, dq = r.from(q), r.dq[q*a.stride:]
	}
	a.loadQueries(r, headRows{a.qkv, h, queryChannels, q, rows}, headRows{a.dy, h, 0, q, rows})
	a.prefetchBeside(t, q)
	a.scores(w, headProduct{x: r.queries, b: r.keyColumns, y: r.scores, rows: rows, keys: n})
	s := kernel.SoftmaxArgs{Scores: r.scores, Rows: rows, Columns: n}
	if a.many { // what there is of all tiles stays
		s.Pitch, s.Scale, s.Max, s.Sum = a.pitch, a.scale, state.largest, r.sum
		a.path.Softmax(s)
	} else {
		state.begin()
		a.softmax(s, state, true)
		state.invert(rows)
	}
	a.prefetchQueries(t, q+rows)
	a.scores(w, headProduct{x: r.dy, b: r.valueColumns, y: r.gradients, rows: rows, keys: n})
	a.sumsAlong(r, state, t, q)
	weights := a.ofScores(r, state.sums, rows, n)
	a.sumOverQueries(w, headProduct{x: r.scores, b: r.dyRows, y: r.dv, rows: rows, keys: n, add: q > 0})
	a.sumOverQueries(w, headProduct{x: r.gradients, b: r.queryRows, y: r.dk, rows: rows, keys: n, add: q > 0})
	a.weighted(w, headProduct{x: weights, b: r.keyRows, y: dq, rows: rows, keys: n, add: t.key > 0})
	if t.key+n == a.tokens {
		a.store(headRows{a.dx, h, queryChannels, q, rows}, dq, a.scales)
	}
}

// sumsAlong finds the sum of weights times their gradients of each query: from the weights, or,
// where there are several tiles of keys, from the result and its gradient, whose product has the
// same sum. In bfloat16 the former is more exact: the result is rounded.
func (a *attentionBackward) sumsAlong(r backwardRoom, state softmaxRows, t gradTile, q int) {
	rows := min(a.rows, a.tokens-q)
	if a.many {
		dy, y := headRows{a.dy, t.head, 0, q, rows}, headRows{a.y, t.head, 0, q, rows}
		a.path.DotRows(kernel.DotRowsArgs{
			Sum: r.along, A: a.valuesOf(dy), B: a.valuesOf(y), APitch: dy.stride, BPitch: y.stride, Rows: rows,
			Columns: a.size,
		})
		return
	}
	a.path.DotRows(kernel.DotRowsArgs{
		Sum: r.along, A: kernel.Float32s(r.scores), B: kernel.Float32s(r.gradients), APitch: a.pitch, BPitch: a.pitch,
		Rows: rows, Columns: channels(t.keys),
	})
	for i := range rows {
		r.along[i] *= state.sums[i] // inverted
	}
}

// prefetchBeside asks for a share of the next tile's keys and values, and of the places of this
// one's gradients.
func (a *attentionBackward) prefetchBeside(t gradTile, q int) {
	here := headRows{a.dx, t.head, keyChannels, t.key, t.keys}
	for _, r := range []headRows{t.next, here} {
		for r.part = keyChannels; r.part <= valueChannels; r.part++ {
			a.prefetch(r, q/a.rows, (a.tokens+a.rows-1)/a.rows)
		}
	}
}

// prefetchQueries asks for what is read of the queries that come next, if those before q were last.
func (a *attentionBackward) prefetchQueries(t gradTile, q int) {
	h := t.head
	if q == a.tokens {
		h, q = t.next.head, 0
		if t.next.count == 0 {
			return
		}
	}
	rows := min(a.rows, a.tokens-q)
	for _, b := range []*buffer{a.qkv, a.dy} {
		a.prefetch(headRows{b, h, queryChannels, q, rows}, 0, 1)
	}
}

// loadQueries packs a block of queries and the gradients of their results.
func (a *attentionBackward) loadQueries(r backwardRoom, queries, dy headRows) {
	a.load(r.queries, queries)
	a.load(r.dy, dy)
	if a.pairs {
		a.path.GatherRight(r.queryRows, a.stride, a.valuesOf(queries), a.queryPairs.of(queries.count), a.stride)
		a.path.GatherRight(r.dyRows, a.stride, a.valuesOf(dy), a.dyPairs.of(dy.count), a.stride)
	}
}

// ofScores makes gradients of weights those of scores, and returns them as the left operand of a
// product.
func (a *attentionBackward) ofScores(r backwardRoom, inverse []float32, rows, keys int) []float32 {
	args := kernel.SoftmaxGradArgs{
		Weights: r.scores, Gradients: r.gradients, Rows: rows, Columns: channels(keys), Pitch: a.pitch,
		Inverse: inverse, Along: r.along,
	}
	if !a.pairs {
		a.path.SoftmaxGrad(args)
		return r.gradients
	}
	for ; args.Rows%a.path.PairDepth != 0; args.Rows++ { // the last row's partners
		clear(r.scores[args.Rows*a.pitch:][:args.Columns])
		clear(r.gradients[args.Rows*a.pitch:][:args.Columns])
		inverse[args.Rows], r.along[args.Rows] = 0, 0
	}
	a.path.SoftmaxGradPairs(args, halves(r.rounded), a.pitch)
	return r.rounded
}

// sumOverQueries is y = or += x^T*b: for each key, the sum of the queries' rows b by its column of
// x.
func (a *attentionBackward) sumOverQueries(w *worker, p headProduct) {
	g := &w.grad
	*g = kernel.GradArgs{X: at(p.x, 0), Pixels: &a.pixels[0], N: int64(p.rows), RowStride: int64(4 * a.stride)}
	beside := 1 // pairs of queries of b
	if a.pairs {
		g.N, beside = int64(roundUp(p.rows, a.path.PairDepth)/2), a.path.PairDepth/2
	}
	if p.add {
		g.Acc = 1
	}
	for c := 0; c < a.stride; {
		tile := a.gradOf(a.stride - c)
		g.Tiles = int64((p.keys + tile.Rows - 1) / tile.Rows)
		g.DY, g.DW = at(p.b, beside*c), at(p.y, c)
		tile.Run(g)
		c += tile.Block
	}
}

// gradOf is the widest tile of the weight gradient for so many columns.
func (a *attentionBackward) gradOf(columns int) *kernel.Grad {
	for i := range a.grads {
		if a.grads[i].Block <= columns {
			return &a.grads[i]
		}
	}
	return &a.grads[len(a.grads)-1]
}
