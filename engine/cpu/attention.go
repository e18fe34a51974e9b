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
//
// Scratch memory is counted in words of 4 bytes: a float32, or a pair of bfloat16 where the tiles
// multiply those. Scores, sums and results are float32 in both cases.
var attentionOperations = operations{
	graph.Attention: {kind: engine.Product, element: activation, operands: attentionOperands, emit: emitAttention},
	graph.AttentionGrad: {
		kind: engine.Product, element: activation, operands: attentionOperands, emit: emitAttentionGrad,
	},
}

// The operands of AttentionGrad.
const (
	attentionDY = iota
	attentionQKV
	attentionY
	attentionGradOperands
)

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
	// scoreFloats is about how many scores there are at a time: half of a first-level cache.
	scoreFloats = 24 * 208
	// gradQueries is how many queries have scores at a time in the gradient. What is summed over
	// queries is read and written once for so many of them, and lies in the second-level cache.
	gradQueries = 3 * queriesEach
	// queriesEach divides the number of queries that have scores at a time: every tile's rows divide it.
	queriesEach = 24
)

// attention is what attention and its gradient have in common.
type attention struct {
	path                  *kernel.Path
	images, tokens, heads int
	size                  int     // channels of a head
	scale                 float64 // of scores
	qkv                   *buffer
	pairs                 bool          // multiplies pairs of bfloat16
	tiles                 []kernel.Tile // that take the same number of rows, the widest first
	short                 []kernel.Tile // of the same blocks and half the rows; nil: there are none

	keys   int // of a tile
	rows   int // queries that have scores at a time
	stride int // of a head's rows of float32
	width  int // of a head's rows that are multiplied, in words
	inner  int // words of such a row that are multiplied
	pitch  int // of rows of scores

	toScores   tileLists // from a head's rows to rows of scores
	fromScores tileLists // and back
	keyPairs   pairLists // of the tokens of a tile
}

func newAttention(c *compiler, qkv *buffer, shape []int, heads int) *attention {
	a := &attention{path: c.engine.path, images: shape[0], tokens: shape[1], heads: heads, size: shape[2] / 3 / heads, qkv: qkv}
	a.scale = 1 / math.Sqrt(float64(a.size))
	a.stride = channels(a.size)
	a.keys = a.tokens
	if a.keys > keysAtOnce {
		a.keys = keysOfMany
	}
	a.pitch = channels(a.keys)
	if a.pitch%(2*lanes) == 0 {
		a.pitch += lanes // rows a power of two apart would share a few sets of the cache
	}
	return a
}

// plan decides what is multiplied, for so many queries at a time, and how many bytes apart the rows
// of weights lie that are multiplied by values.
func (a *attention) plan(o *op, pairs bool, queries, weightBytes int) {
	all := a.path.Tiles
	a.short = a.path.Short
	a.inner, a.width = roundUp(a.size, 4), a.stride
	if a.pairs = pairs; pairs {
		all, a.short = a.path.Pairs, a.path.ShortPairs
		a.inner, a.width = a.size/2, a.size/2
		a.keyPairs = newPairLists(a.keys, a.tokens, a.qkv.stride, o)
	}
	for _, t := range all {
		if t.Rows == all[len(all)-1].Rows {
			a.tiles = append(a.tiles, t)
		}
	}
	rows := a.tiles[0].Rows
	a.rows = min(queries, roundUp(a.tokens, rows))
	a.toScores = newTileLists(a.rows, rows, 4*a.width, 4*a.pitch)
	a.fromScores = newTileLists(a.rows, rows, weightBytes, 4*a.stride)
	a.toScores.count(o)
	a.fromScores.count(o)
}

// pairsOf reports whether rows of these types are multiplied in pairs.
func (a *attention) pairsOf(operands ...*buffer) bool {
	for _, b := range operands {
		if b.element != bfloat16s {
			return false
		}
	}
	return a.path.Pairs != nil && a.size%lanes == 0
}

// depth is how many words the sum over so many keys or queries goes.
func (a *attention) depth(n int) int {
	if a.pairs {
		return roundUp(n, 8) / 2
	}
	return roundUp(n, 4)
}

// pairLists are the tokens of a block of them as kernel.Path.GatherPairs reads them: where their
// rows start, in values, and -1 up to a multiple of 8.
type pairLists struct{ full, last []int32 }

func newPairLists(n, tokens, stride int, o *op) (l pairLists) {
	list := func(n int) (offsets []int32) {
		for i := range roundUp(n, 8) {
			if i < n {
				offsets = append(offsets, int32(i*stride))
			} else {
				offsets = append(offsets, -1)
			}
		}
		keeps(o, offsets)
		return offsets
	}
	l.full = list(min(n, tokens))
	l.last = l.full
	if tokens > n && tokens%n != 0 {
		l.last = list(tokens % n)
	}
	return l
}

// of is the list of n tokens.
func (l pairLists) of(n int) []int32 {
	if roundUp(n, 8) == len(l.full) && l.full[n-1] >= 0 && (n == len(l.full) || l.full[n] < 0) {
		return l.full
	}
	return l.last
}

// attentionHead is a head of an image.
type attentionHead struct{ image, index int }

func (a *attention) head(i int) attentionHead { return attentionHead{i / a.heads, i % a.heads} }

// The three parts of a token's channels in qkv.
const (
	queryChannels = iota
	keyChannels
	valueChannels
)

// headRows are a head's rows of some tokens in a buffer.
type headRows struct {
	*buffer
	head  attentionHead
	part  int // of three; 0 in a buffer with one
	token int // the first
	count int
}

// from is the index of the first value.
func (a *attention) from(r headRows) int {
	return (r.head.image*a.tokens+r.token)*r.stride + (r.part*a.heads+r.head.index)*a.size
}

// valuesOf is the values from the first row's to the last row's.
func (a *attention) valuesOf(r headRows) kernel.Values {
	from := a.from(r)
	return r.values(from, from+(r.count-1)*r.stride+a.size)
}

// load copies a head's rows to scratch memory as they are multiplied, and fills up with zeros.
func (a *attention) load(dst []float32, r headRows) {
	args := kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(dst), Src: a.valuesOf(r), DstPitch: a.stride, SrcPitch: r.stride, Rows: r.count, Columns: a.size,
	}
	if a.pairs {
		args.Dst = kernel.BFloat16s(halves(dst))
	} else if a.size < a.stride {
		clear(dst[:r.count*a.stride])
	}
	a.path.ScaleRows(args)
}

// halves is words as pairs of bfloat16.
func halves(words []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}

// store writes rows from scratch memory, times a factor each, to a head's rows.
func (a *attention) store(r headRows, src []float32, factors []float32) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: a.valuesOf(r), Src: kernel.Float32s(src), DstPitch: r.stride, SrcPitch: a.stride, Rows: r.count,
		Columns: a.size, Factors: factors,
	})
}

// tileOf is the widest tile for so many columns, a multiple of 16.
func (a *attention) tileOf(columns int) *kernel.Tile { return widest(a.tiles, columns) }

func widest(tiles []kernel.Tile, columns int) *kernel.Tile {
	for i := range tiles {
		if tiles[i].Block <= columns {
			return &tiles[i]
		}
	}
	return &tiles[len(tiles)-1]
}

// packColumns lays a head's rows transposed, [size][rows], as the right operand of a product. tmp is
// scratch memory for the rows.
func (a *attention) packColumns(dst, tmp []float32, r headRows) {
	columns, src, stride := channels(r.count), tmp, a.stride
	if a.pairs {
		stride = r.stride / 2
		src = unsafe.Slice((*float32)(r.at(a.from(r))), (r.count-1)*stride+a.inner)
	} else {
		a.load(tmp, r)
	}
	for c := 0; c < columns; {
		block := a.tileOf(columns - c).Block
		panel, rows := dst[c*a.inner:][:block*a.inner], min(block, r.count-c)
		if rows < block {
			clear(panel)
		}
		a.path.Transpose(panel, block, src[c*stride:], stride, rows, a.inner)
		c += block
	}
}

// packRows lays a head's rows, [rows][size], as the right operand of a product.
func (a *attention) packRows(dst []float32, r headRows, pairs pairLists) {
	inner, src := a.depth(r.count), a.valuesOf(r)
	if a.size < a.stride {
		clear(dst[:inner*a.stride])
	}
	for c := 0; c < a.stride; {
		block := a.tileOf(a.stride - c).Block
		panel := dst[c*inner:][:inner*block]
		if a.pairs {
			a.path.GatherPairs(panel, block, src.From(c), pairs.of(r.count), block)
		} else {
			a.path.ScaleRows(kernel.ScaleRowsArgs{
				Dst: kernel.Float32s(panel), Src: src.From(c), DstPitch: block, SrcPitch: r.stride,
				Rows: r.count, Columns: min(block, a.size-c),
			})
			clear(panel[r.count*block:])
		}
		c += block
	}
}

// matrixProduct is y = x*b, or y += x*b: so many rows of x by a packed matrix of `inner` words and so
// many columns. Where the last tile has rows to spare, they are computed too.
type matrixProduct struct {
	x, b, y        []float32
	rows           tileLists
	count          int
	inner, columns int
	add            bool
}

func (a *attention) multiply(w *worker, m matrixProduct) {
	rows := a.tiles[0].Rows
	whole, left := m.count/rows, m.count%rows
	if a.short == nil || left > rows/2 {
		whole, left = (m.count+rows-1)/rows, 0
	}
	if whole > 0 {
		a.run(w, a.tiles, m, 0, whole)
	}
	if left > 0 {
		a.run(w, a.short, m, whole*rows, 1)
	}
}

// run does so many tiles from a row on.
func (a *attention) run(w *worker, tiles []kernel.Tile, m matrixProduct, row, count int) {
	t := &w.tile
	*t = kernel.TileArgs{
		X: at(m.x, 0), In: &m.rows.in[row], Out: &m.rows.out[row], Taps: &noTaps[0], NTaps: 1, K: int64(m.inner / 4),
		Tiles: int64(count),
	}
	if m.add {
		t.Acc = 1
	}
	for c := 0; c < m.columns; {
		tile := widest(tiles, m.columns-c)
		t.B, t.Y = at(m.b, c*m.inner), at(m.y, c)
		tile.Run(t)
		c += tile.Block
	}
}

// scores multiplies rows of a head by packed columns of so many keys.
func (a *attention) scores(w *worker, y, x, columns []float32, rows, keys int) {
	a.multiply(w, matrixProduct{x: x, b: columns, y: y, rows: a.toScores, count: rows, inner: a.inner, columns: channels(keys)})
}

// fromKeys multiplies rows of weights of so many keys by the keys' packed rows.
func (a *attention) fromKeys(w *worker, y, weights, packed []float32, rows, keys int, add bool) {
	a.multiply(w, matrixProduct{
		x: weights, b: packed, y: y, rows: a.fromScores, count: rows, inner: a.depth(keys), columns: a.stride, add: add,
	})
}

// softmaxRows is the state of the softmax of some rows of scores.
type softmaxRows struct {
	largest, sums []float32 // of the tiles of keys so far
	before, sum   []float32 // scratch: the maximum before this tile, and then a factor; the sum of this tile
}

func newSoftmaxRows(p *pieces, rows, atOnce int) softmaxRows {
	return softmaxRows{p.take(rows), p.take(rows), p.take(atOnce), p.take(atOnce)}
}

// begin resets the state.
func (r softmaxRows) begin() {
	for i := range r.largest {
		r.largest[i] = float32(math.Inf(-1))
	}
}

// from is the state of the rows from one on.
func (r softmaxRows) from(row int) softmaxRows {
	return softmaxRows{r.largest[row:], r.sums[row:], r.before, r.sum}
}

// invert replaces the sums of the first rows by their inverses.
func (r softmaxRows) invert(rows int) {
	for i, s := range r.sums[:rows] {
		r.sums[i] = 1 / s
	}
}

// softmax makes the scores of a tile of keys weights that are not yet divided by their sum. It
// returns the factors by which what earlier tiles gave must be multiplied; nil for the first one.
func (a *attention) softmax(s kernel.SoftmaxArgs, r softmaxRows, first bool) (factors []float32) {
	before, sum := r.before[:s.Rows], r.sum[:s.Rows]
	copy(before, r.largest)
	s.Pitch, s.Scale, s.Max, s.Sum = a.pitch, a.scale, r.largest, sum
	a.path.Softmax(s)
	if first {
		copy(r.sums, sum)
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

// pieces hands out pieces of a worker's scratch memory. Without memory it only counts.
type pieces struct {
	memory []float32
	used   int
}

func (p *pieces) take(n int) []float32 {
	n = roundUp(n, lanes)
	p.used += n
	if p.memory == nil {
		return nil
	}
	return p.memory[p.used-n : p.used : p.used]
}

// clearPadding sets what lies behind the channels of each row to zero.
func clearPadding(b *buffer, ch int) phase {
	rows, size := b.count/b.stride, b.element.size()
	if ch == b.stride {
		rows = 0
	}
	return cut(rows, 4096, func(_ *worker, lo, hi int) {
		for r := lo; r < hi; r++ {
			clear(b.raw[(r*b.stride+ch)*size : (r+1)*b.stride*size])
		}
	})
}

// attentionForward is attention.
type attentionForward struct {
	*attention
	y      *buffer
	block  int // queries of a part
	blocks int // parts of a head
	room   int // words of scratch memory
}

func emitAttention(c *compiler, s *step, o *op) {
	n, qkv := s.node, s.in[0].buffer
	a := &attentionForward{
		attention: newAttention(c, qkv, n.In[0].Shape, n.Attr.(graph.AttentionAttr).Heads), y: s.out[0].buffer,
	}
	a.plan(o, a.pairsOf(qkv), roundUp(max(1, scoreFloats/a.pitch), queriesEach), 4*a.pitch)
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
		a.part(w, a.head(part/a.blocks), lo, min(lo+a.block, a.tokens))
	}}, clearPadding(a.y, a.heads*a.size))
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

// part computes the queries lo to hi of a head.
func (a *attentionForward) part(w *worker, h attentionHead, lo, hi int) {
	r := a.carve(&pieces{memory: w.floats(a.room)})
	r.begin()
	for key := 0; key < a.tokens; key += a.keys {
		n := min(a.keys, a.tokens-key)
		a.packColumns(r.keys, r.values, headRows{a.qkv, h, keyChannels, key, n})
		a.packRows(r.values, headRows{a.qkv, h, valueChannels, key, n}, a.keyPairs)
		for q := lo; q < hi; q += a.rows {
			rows, out, state := min(a.rows, hi-q), r.out[(q-lo)*a.stride:], r.from(q-lo)
			a.load(r.queries, headRows{a.qkv, h, queryChannels, q, rows})
			a.scores(w, r.scores, r.queries, r.keys, rows, n)
			factors := a.softmax(kernel.SoftmaxArgs{Scores: r.scores, Rows: rows, Columns: n, BF16: a.pairs}, state, key == 0)
			if factors != nil {
				a.rescale(out, factors, rows)
			}
			a.fromKeys(w, out, r.scores, r.values, rows, n, key > 0)
			if key+n == a.tokens {
				state.invert(rows)
				a.store(headRows{a.y, h, 0, q, rows}, out, state.sums)
			}
		}
	}
}

// rescale multiplies rows by a factor each.
func (a *attention) rescale(x, factors []float32, rows int) {
	a.path.ScaleRows(kernel.ScaleRowsArgs{
		Dst: kernel.Float32s(x), Src: kernel.Float32s(x), DstPitch: a.stride, SrcPitch: a.stride, Rows: rows,
		Columns: a.stride, Factors: factors,
	})
}
