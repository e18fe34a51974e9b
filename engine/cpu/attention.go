package cpu

import (
	"math"
	"unsafe"

	"moco/engine"
	"moco/engine/cpu/internal/kernel"
	"moco/graph"
)

// Attention of the tokens of each image, a head at a time, as in FlashAttention (Dao et al. 2022;
// Dao 2023): scores exist for a block of queries and a tile of keys only, in a worker's scratch
// memory, so that memory grows with the number of tokens and not with its square. A head's rows are
// packed into scratch memory first; its products then run through the same tiles as convolutions.
var attentionOperations = operations{
	graph.Attention: {kind: engine.Product, element: activation, operands: attentionOperands, emit: emitAttention},
	graph.AttentionGrad: {
		kind: engine.Product, element: activation, operands: attentionOperands, emit: emitAttentionGrad,
	},
}

// attentionOperands reads all operands in the type that they have. The result, which is multiplied by
// its gradient, has that one's type.
func attentionOperands(c *compiler, s *step) {
	for i := range s.in {
		c.stored(s, i)
	}
	if len(s.in) == attentionGradOperands {
		c.like(s, attentionY, attentionDY)
	}
}

// The operands of AttentionGrad.
const (
	attentionDY = iota
	attentionQKV
	attentionY
	attentionGradOperands
)

const (
	// keysAtOnce is up to how many tokens the keys and values of a head are one tile: 50 KB of each
	// at 197 tokens and 64 channels, which the second-level cache holds. So the softmax of a row
	// mostly needs no second tile.
	keysAtOnce = 288
	// keysOfMany is the size of a tile where there are several.
	keysOfMany = 256
	// queriesAtOnce bounds the queries of a part of the work. Each part packs its head's keys and
	// values for itself.
	queriesAtOnce = 288
	// attentionParts is into how many parts attention is cut at least, if its blocks of queries do
	// not get smaller than fewestQueries by that.
	attentionParts, fewestQueries = 16, 48
	// scoreQueries is how many queries have scores at a time: as many rows of 197 as fit half of a
	// first-level cache. It is a multiple of the rows of every tile.
	scoreQueries = 24
	// gradQueries is the same for the gradient. What is summed over queries is read and written once
	// for so many of them, and lies in the second-level cache.
	gradQueries = 72
)

// attention is what attention and its gradient have in common.
type attention struct {
	path                  *kernel.Path
	images, tokens, heads int
	size                  int     // channels of a head
	scale                 float64 // of scores
	qkv                   *buffer
	tiles                 []kernel.Tile // that take the same number of rows, the widest first

	keys   int // of a tile
	rows   int // that have scores at a time
	inner  int // size, padded to what a tile multiplies at once
	stride int // of a head's rows in scratch memory
	pitch  int // of rows of scores
	// Rows as products read and write them: from a head's rows to scores and back.
	toScores, fromScores tileLists
}

func newAttention(c *compiler, n *graph.Node, qkv *buffer, rows int, o *op) *attention {
	shape, heads := qkvShape(n), n.Attr.(graph.AttentionAttr).Heads
	a := &attention{path: c.engine.path, images: shape[0], tokens: shape[1], heads: heads, size: shape[2] / 3 / heads, qkv: qkv}
	a.scale = 1 / math.Sqrt(float64(a.size))
	all := a.path.Tiles
	for _, t := range all {
		if t.Rows == all[len(all)-1].Rows {
			a.tiles = append(a.tiles, t)
		}
	}
	a.keys = a.tokens
	if a.keys > keysAtOnce {
		a.keys = keysOfMany
	}
	a.rows = min(rows, roundUp(a.tokens, a.tiles[0].Rows))
	a.inner, a.stride = roundUp(a.size, 4), channels(a.size)
	a.pitch = channels(a.keys)
	if a.pitch%(2*lanes) == 0 {
		a.pitch += lanes // rows a power of two apart would share a few sets of the cache
	}
	a.toScores = newTileLists(a.rows, a.tiles[0].Rows, 4*a.stride, 4*a.pitch)
	a.fromScores = tileLists{a.toScores.out, a.toScores.in}
	a.toScores.count(o)
	return a
}

func qkvShape(n *graph.Node) []int {
	if n.Op == graph.AttentionGrad {
		return n.In[attentionQKV].Shape
	}
	return n.In[0].Shape
}

// head is a head of an image.
type head struct{ image, index int }

func (a *attention) head(i int) head { return head{i / a.heads, i % a.heads} }

// The three parts of a token's channels in qkv.
const (
	queryChannels = iota
	keyChannels
	valueChannels
)

// rowsIn says where a head's rows start in a buffer of tokens, and the buffer's values of rows from
// there on.
func (a *attention) rowsIn(b *buffer, h head, part, token, rows int) kernel.Values {
	from := (h.image*a.tokens+token)*b.stride + (part*a.heads+h.index)*a.size
	return b.values(from, from+(rows-1)*b.stride+a.size)
}

// load copies a head's rows to scratch memory, as float32, and fills up with zeros.
func (a *attention) load(dst []float32, b *buffer, h head, part, token, rows int) {
	if a.size < a.stride {
		clear(dst[:rows*a.stride])
	}
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(dst), Src: a.rowsIn(b, h, part, token, rows), DstPitch: a.stride, SrcPitch: b.stride,
		Rows: rows, Columns: a.size,
	})
}

// store writes rows from scratch memory, times a factor each, to a head's rows.
func (a *attention) store(b *buffer, src []float32, factors []float32, h head, part, token, rows int) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: a.rowsIn(b, h, part, token, rows), Src: kernel.Float32s(src), DstPitch: b.stride, SrcPitch: a.stride,
		Rows: rows, Columns: a.size, Factors: factors,
	})
}

// tileOf is the widest tile for so many columns, a multiple of 16.
func (a *attention) tileOf(columns int) *kernel.Tile {
	for i := range a.tiles {
		if a.tiles[i].Block <= columns {
			return &a.tiles[i]
		}
	}
	return &a.tiles[len(a.tiles)-1]
}

// columnsOf packs the transposed rows of a tile of keys, [size][keys], as the right operand of a
// product. tmp is scratch memory for the rows.
func (a *attention) columnsOf(dst, tmp []float32, h head, part, token, rows int) {
	columns := channels(rows)
	a.load(tmp, a.qkv, h, part, token, rows)
	clear(tmp[rows*a.stride : columns*a.stride])
	for c := 0; c < columns; {
		block := a.tileOf(columns - c).Block
		a.path.Transpose(dst[c*a.inner:], block, tmp[c*a.stride:], a.stride, block, a.inner)
		c += block
	}
}

// rowsOf packs the rows of a tile of keys, [keys][size], as the right operand of a product.
func (a *attention) rowsOf(dst []float32, h head, part, token, rows int) {
	inner := roundUp(rows, 4)
	if a.size < a.stride {
		clear(dst[:inner*a.stride])
	}
	src := a.rowsIn(a.qkv, h, part, token, rows)
	for c := 0; c < a.stride; {
		block := a.tileOf(a.stride - c).Block
		panel := dst[c*inner:][:inner*block]
		a.path.ScaleRows(kernel.ScaleRowsArgs{
			Dst: kernel.Float32s(panel), Src: src.From(c), DstPitch: block, SrcPitch: a.qkv.stride,
			Rows: rows, Columns: min(block, a.size-c),
		})
		clear(panel[rows*block:])
		c += block
	}
}

// matrices are the operands of a product y = x*b, or y += x*b: rows of x by a packed matrix of so
// many rows and columns.
type matrixProduct struct {
	x, b, y        []float32
	rows           tileLists
	count          int // of rows
	inner, columns int
	add            bool
}

func (a *attention) multiply(w *worker, m matrixProduct) {
	t := &w.tile
	*t = kernel.TileArgs{
		X: at(m.x, 0), In: &m.rows.in[0], Out: &m.rows.out[0], Taps: &noTaps[0], NTaps: 1, K: int64(m.inner / 4),
		Tiles: int64((m.count + a.tiles[0].Rows - 1) / a.tiles[0].Rows),
	}
	if m.add {
		t.Acc = 1
	}
	for c := 0; c < m.columns; {
		tile := a.tileOf(m.columns - c)
		t.B, t.Y = at(m.b, c*m.inner), at(m.y, c)
		tile.Run(t)
		c += tile.Block
	}
}

// softmaxRows is the state of the softmax of some rows of scores.
type softmaxRows struct {
	largest, sums []float32 // of the tiles of keys so far
	before, sum   []float32 // scratch: the maximum before this tile, and then its factor; the sum of this tile
}

// begin resets the state.
func (r softmaxRows) begin() {
	for i := range r.largest {
		r.largest[i] = float32(math.Inf(-1))
	}
	clear(r.sums)
}

// softmax makes scores of a tile of keys weights that are not yet divided by their sum. It returns
// the factors by which what earlier tiles gave must be multiplied, which are nil for the first.
func (a *attention) softmax(scores []float32, r softmaxRows, rows, keys int, first bool) (factors []float32) {
	before, sum := r.before[:rows], r.sum[:rows]
	copy(before, r.largest)
	a.path.Softmax(kernel.SoftmaxArgs{
		Scores: scores, Rows: rows, Columns: keys, Pitch: a.pitch, Scale: a.scale, Max: r.largest, Sum: sum,
	})
	if first {
		copy(r.sums[:rows], sum)
		return nil
	}
	for i := range before {
		before[i] -= r.largest[i]
	}
	a.path.ExpSum(before, before, float32(a.scale), 0)
	for i, s := range sum {
		r.sums[i] = r.sums[i]*before[i] + s
	}
	return before
}

// from is the state of the rows from one on.
func (r softmaxRows) from(row int) softmaxRows {
	return softmaxRows{r.largest[row:], r.sums[row:], r.before, r.sum}
}

// invert replaces sums by their inverses.
func invert(sums []float32) {
	for i, s := range sums {
		sums[i] = 1 / s
	}
}

// attentionForward is attention.
type attentionForward struct {
	*attention
	y      *buffer
	block  int // queries of a part
	blocks int // parts of a head
	room   int // floats of scratch memory
}

func emitAttention(c *compiler, s *step, o *op) {
	a := &attentionForward{attention: newAttention(c, s.node, s.in[0].buffer, scoreQueries, o), y: s.out[0].buffer}
	heads := a.images * a.heads
	a.blocks = (a.tokens + queriesAtOnce - 1) / queriesAtOnce
	if heads*a.blocks < attentionParts {
		most := (a.tokens + fewestQueries - 1) / fewestQueries
		a.blocks = max(a.blocks, min((attentionParts+heads-1)/heads, most))
	}
	a.block = roundUp((a.tokens+a.blocks-1)/a.blocks, a.tiles[0].Rows)
	a.blocks = (a.tokens + a.block - 1) / a.block
	var all pieces
	a.carve(&all)
	a.room = all.used
	o.needs(a.room)
	o.then(phase{heads * a.blocks, func(w *worker, part int) {
		lo := part % a.blocks * a.block
		a.run(w, a.head(part/a.blocks), lo, min(lo+a.block, a.tokens))
	}})
	o.then(clearPadding(a.y, a.heads*a.size))
}

// pieces hands out pieces of a worker's scratch memory. Without memory it only counts.
type pieces struct {
	memory []float32
	used   int
}

func (s *pieces) take(n int) []float32 {
	n = roundUp(n, lanes)
	s.used += n
	if s.memory == nil {
		return nil
	}
	return s.memory[s.used-n : s.used]
}

// forwardRoom is the scratch memory of a part.
type forwardRoom struct {
	keys, values, queries, scores, out []float32
	softmaxRows
}

func (a *attentionForward) carve(s *pieces) (r forwardRoom) {
	columns := channels(a.keys)
	r.keys, r.values = s.take(a.inner*columns), s.take(columns*a.stride)
	r.queries, r.scores = s.take(a.rows*a.stride), s.take(a.rows*a.pitch)
	rows := max(a.rows, roundUp(a.block, a.rows))
	r.out = s.take(rows * a.stride)
	r.softmaxRows = softmaxRows{s.take(rows), s.take(rows), s.take(a.rows), s.take(a.rows)}
	return r
}

// run computes the queries lo to hi of a head.
func (a *attentionForward) run(w *worker, h head, lo, hi int) {
	r := a.carve(&pieces{memory: w.floats(a.room)})
	r.begin()
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.columnsOf(r.keys, r.values, h, keyChannels, key, n)
		a.rowsOf(r.values, h, valueChannels, key, n)
		for q := lo; q < hi; q += a.rows {
			rows, out := min(a.rows, hi-q), r.out[(q-lo)*a.stride:]
			state := r.from(q - lo)
			a.load(r.queries, a.qkv, h, queryChannels, q, rows)
			a.multiply(w, matrixProduct{x: r.queries, b: r.keys, y: r.scores, rows: a.toScores, count: rows, inner: a.inner,
				columns: channels(n)})
			if factors := a.softmax(r.scores, state, rows, n, key == 0); factors != nil {
				a.rescale(out, factors, rows)
			}
			a.multiply(w, matrixProduct{x: r.scores, b: r.values, y: out, rows: a.fromScores, count: rows,
				inner: roundUp(n, 4), columns: a.stride, add: key > 0})
			if key+n == a.tokens {
				invert(state.sums[:rows])
				a.store(a.y, out, state.sums, h, 0, q, rows)
			}
		}
	}
}

// rescale multiplies rows by factors.
func (a *attention) rescale(x, factors []float32, rows int) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(x), Src: kernel.Float32s(x), DstPitch: a.stride, SrcPitch: a.stride, Rows: rows,
		Columns: a.stride, Factors: factors,
	})
}

// clearPadding sets what lies behind the channels of each row to zero.
func clearPadding(b *buffer, ch int) phase {
	rows := b.count / b.stride
	if ch == b.stride {
		rows = 0
	}
	size := b.element.size()
	return cut(rows, 4096, func(_ *worker, lo, hi int) {
		for r := lo; r < hi; r++ {
			clear(b.raw[(r*b.stride+ch)*size : (r+1)*b.stride*size])
		}
	})
}

// attentionBackward is the gradient of attention. A part of the work is a head: the gradients of its
// keys and values are sums over all queries.
type attentionBackward struct {
	*attention
	dy, y, dx *buffer
	scales    []float32 // the scale of scores, for each row of a tile of keys
	pixels    []int32   // rows of scores and of a head, as the weight gradient's tiles read them
	many      bool      // there is more than one tile of keys
	room      int
}

func emitAttentionGrad(c *compiler, s *step, o *op) {
	a := &attentionBackward{
		attention: newAttention(c, s.node, s.in[attentionQKV].buffer, gradQueries, o),
		dy:        s.in[attentionDY].buffer, y: s.in[attentionY].buffer, dx: s.out[0].buffer,
	}
	a.many = a.keys < a.tokens
	for range max(a.keys, a.rows) {
		a.scales = append(a.scales, float32(a.scale))
	}
	for i := range a.rows {
		a.pixels = append(a.pixels, int32(4*i*a.pitch), int32(4*i*a.stride))
	}
	keeps(o, a.pixels)
	o.tables += 4 * len(a.scales)
	var all pieces
	a.carve(&all)
	a.room = all.used
	o.needs(a.room)
	o.then(phase{a.images * a.heads, func(w *worker, part int) { a.run(w, a.head(part)) }})
	o.then(clearPadding(a.dx, 3*a.heads*a.size))
}

// backwardRoom is the scratch memory of a part.
type backwardRoom struct {
	keyColumns, valueColumns, keyRows []float32
	queries, dy, scores, gradients    []float32
	dq, dk, dv                        []float32
	along                             []float32
	softmaxRows
}

// gradSlack is how many rows a tile of the weight gradient may write beyond the last key.
const gradSlack = 16

func (a *attentionBackward) carve(s *pieces) (r backwardRoom) {
	columns := channels(a.keys)
	r.keyColumns, r.valueColumns = s.take(a.inner*columns), s.take(a.inner*columns)
	r.keyRows = s.take(columns * a.stride)
	r.queries, r.dy = s.take(a.rows*a.stride), s.take(a.rows*a.stride)
	r.scores, r.gradients = s.take(a.rows*a.pitch+gradSlack), s.take(a.rows*a.pitch+gradSlack)
	r.dk, r.dv = s.take((columns+gradSlack)*a.stride), s.take((columns+gradSlack)*a.stride)
	rows, state := a.rows, a.rows
	if a.many {
		rows = roundUp(a.tokens, a.rows)
		state = rows
	}
	r.dq = s.take(rows * a.stride)
	r.along = s.take(a.rows)
	r.softmaxRows = softmaxRows{s.take(state), s.take(state), s.take(a.rows), s.take(a.rows)}
	return r
}

// run computes the gradient of a head.
func (a *attentionBackward) run(w *worker, h head) {
	r := a.carve(&pieces{memory: w.floats(a.room)})
	if a.many {
		a.normalisers(w, r, h)
	}
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.columnsOf(r.keyColumns, r.keyRows, h, keyChannels, key, n)
		a.columnsOf(r.valueColumns, r.keyRows, h, valueChannels, key, n)
		a.rowsOf(r.keyRows, h, keyChannels, key, n)
		for q := 0; q < a.tokens; q += a.rows {
			a.block(w, r, h, q, key)
		}
		a.store(a.dx, r.dk, a.scales, h, keyChannels, key, n)
		a.store(a.dx, r.dv, nil, h, valueChannels, key, n)
	}
}

// normalisers finds the maximum and the sum of each query over all tiles of keys.
func (a *attentionBackward) normalisers(w *worker, r backwardRoom, h head) {
	r.begin()
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.columnsOf(r.keyColumns, r.keyRows, h, keyChannels, key, n)
		for q := 0; q < a.tokens; q += a.rows {
			rows := min(a.rows, a.tokens-q)
			a.load(r.queries, a.qkv, h, queryChannels, q, rows)
			a.scores(w, r.queries, r.keyColumns, r.scores, rows, n)
			a.softmax(r.scores, r.from(q), rows, n, key == 0)
		}
	}
	invert(r.sums[:a.tokens])
}

// scores multiplies rows of a head by packed columns.
func (a *attention) scores(w *worker, x, columns, y []float32, rows, keys int) {
	a.multiply(w, matrixProduct{x: x, b: columns, y: y, rows: a.toScores, count: rows, inner: a.inner, columns: channels(keys)})
}

// block adds what a block of queries, from q on, gives to the gradients of a tile of keys and of its
// own.
func (a *attentionBackward) block(w *worker, r backwardRoom, h head, q, key int) {
	rows, n := min(a.rows, a.tokens-q), min(a.keys, a.tokens-key)
	state, dq := r.softmaxRows, r.dq
	if a.many {
		state, dq = r.from(q), r.dq[q*a.stride:]
	} else {
		state.begin()
	}
	a.load(r.queries, a.qkv, h, queryChannels, q, rows)
	a.load(r.dy, a.dy, h, 0, q, rows)
	a.scores(w, r.queries, r.keyColumns, r.scores, rows, n)
	if a.many { // the maximum is that of all tiles already, and the sum is inverted
		a.path.Softmax(kernel.SoftmaxArgs{
			Scores: r.scores, Rows: rows, Columns: n, Pitch: a.pitch, Scale: a.scale, Max: state.largest, Sum: r.sum,
		})
	} else {
		a.softmax(r.scores, state, rows, n, true)
		invert(state.sums[:rows])
	}
	a.scores(w, r.dy, r.valueColumns, r.gradients, rows, n)
	a.path.DotRows(kernel.DotRowsArgs{
		Sum: r.along, A: a.rowsIn(a.dy, h, 0, q, rows), B: a.rowsIn(a.y, h, 0, q, rows), APitch: a.dy.stride,
		BPitch: a.y.stride, Rows: rows, Columns: a.size,
	})
	a.path.SoftmaxGrad(kernel.SoftmaxGradArgs{
		Weights: r.scores, Gradients: r.gradients, Rows: rows, Columns: channels(n), Pitch: a.pitch,
		Inverse: state.sums, Along: r.along,
	})
	a.sumOverQueries(w, r.dv, r.scores, r.dy, rows, n, q > 0)
	a.sumOverQueries(w, r.dk, r.gradients, r.queries, rows, n, q > 0)
	a.multiply(w, matrixProduct{x: r.gradients, b: r.keyRows, y: dq, rows: a.fromScores, count: rows,
		inner: roundUp(n, 4), columns: a.stride, add: key > 0})
	if key+n == a.tokens {
		a.store(a.dx, dq, a.scales, h, queryChannels, q, rows)
	}
}

// sumOverQueries is y = or += x^T * rows: for each key, the sum of the queries' rows by its column of
// x.
func (a *attentionBackward) sumOverQueries(w *worker, y, x, rows []float32, queries, keys int, add bool) {
	g := &w.grad
	*g = kernel.GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &a.pixels[0], N: int64(queries), RowStride: int64(4 * a.stride)}
	if add {
		g.Acc = 1
	}
	for c := 0; c < a.stride; {
		tile := a.gradOf(a.stride - c)
		g.Tiles = int64((keys + tile.Rows - 1) / tile.Rows)
		g.DY, g.DW = at(rows, c), at(y, c)
		tile.Run(g)
		c += tile.Block
	}
}

// gradOf is the widest tile of the weight gradient for so many columns.
func (a *attention) gradOf(columns int) *kernel.Grad {
	for i := range a.path.Grads {
		if a.path.Grads[i].Block <= columns {
			return &a.path.Grads[i]
		}
	}
	return &a.path.Grads[len(a.path.Grads)-1]
}
