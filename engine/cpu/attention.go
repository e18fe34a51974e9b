package cpu

import (
	"math"

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

// attentionOperands reads all operands in the type that they have. The result, which is multiplied
// by its gradient, has that one's type.
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
	// fewestParts is into how many parts attention is cut at least, if its blocks of queries do not
	// get smaller than fewestQueries by that. With more than manyParts heads, a part is several.
	fewestParts, manyParts, fewestQueries = 16, 32, 48
	// scoreFloats is about how many scores there are at a time: half of a first-level cache.
	scoreFloats = 24 * 208
	// gradQueries is how many queries have scores at a time in the gradient. What is summed over
	// queries is read and written once for so many of them, and lies in the second-level cache.
	gradQueries = 3 * queriesEach
	// queriesEach divides the number of queries that have scores at a time: every tile's rows
	// divide it.
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
	a := &attention{path: c.engine.path, images: shape[0], tokens: shape[1], heads: heads, qkv: qkv}
	a.size = shape[2] / 3 / heads
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
	whole := rows // tiles and, in sums over queries, whole groups of them
	for pairs && whole%a.path.PairDepth != 0 {
		whole += rows
	}
	a.rows = min(queries, roundUp(a.tokens, whole))
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

// matrixProduct is y = x*b, or y += x*b: so many rows of x by a packed matrix of `inner` words and
// so many columns. Where the last tile has rows to spare, they are computed too.
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

// headProduct is a product of so many rows with a tile of so many keys, y = or += x*b.
type headProduct struct {
	x, b, y    []float32
	rows, keys int
	add        bool
}

// scores multiplies rows of a head by the packed columns of keys.
func (a *attention) scores(w *worker, p headProduct) {
	a.multiply(w, matrixProduct{
		x: p.x, b: p.b, y: p.y, rows: a.toScores, count: p.rows, inner: a.inner, columns: channels(p.keys), add: p.add,
	})
}

// weighted multiplies rows of weights by the packed rows of keys.
func (a *attention) weighted(w *worker, p headProduct) {
	a.multiply(w, matrixProduct{
		x: p.x, b: p.b, y: p.y, rows: a.fromScores, count: p.rows, inner: a.depth(p.keys), columns: a.stride, add: p.add,
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

// headsOfPart is how many heads of an image a part of the work is, where each is one.
func (a *attention) headsOfPart() int { return largestDivisor(a.heads, a.images*a.heads/manyParts) }
