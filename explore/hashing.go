package explore

import (
	"context"
	"iter"
	"math"
	"math/bits"
	"slices"

	"moco/engine"
	"moco/evaluate"
	"moco/graph"
	"moco/internal/rng"
	"moco/tensor"
)

// hashing finds candidates for pairs of close rows by the signs of random projections (Charikar
// 2002, Similarity estimation techniques from rounding algorithms): on which side of some random
// planes a row lies. The planes go through the mean of all rows. A plane parts two rows with a
// probability of their angle, as seen from the mean, over pi.
//
// Each table takes some signs for a key, and rows of the same key are candidates. A pair is found
// if its keys are equal in any table. There are so many tables that a pair at the threshold is
// missed with a probability of at most mostMissed.
//
// Two rows that lie near to the mean can have a large angle although they are close. Those nearer
// than the radius, less than a thousandth as a rule, are central: they are compared with all rows.
type hashing struct {
	keyBits, tables int
	words           int     // of 64 signs, for each row
	apart           int     // candidates with more different signs are none
	radius          float64 // rows nearer to the mean are central
	mean            []float64
	planes          []float32 // [signs,dim], the planes' directions
}

const (
	mostMissed  = 1e-6
	mostSigns   = 512 // for each row
	fewestBits  = 12  // of a key: with fewer, there are too many candidates
	mostBits    = 30
	centralRows = 0.001 // share of rows that the radius leaves out
)

const hashingTag = 0x70616972 // "pair": a stream of its own

// newHashing chooses tables for a threshold. It is nil if it would take too many of them.
func newHashing(ctx context.Context, set *evaluate.Embedded, threshold float32) (*hashing, error) {
	mean, err := meanOf(ctx, set)
	if err != nil {
		return nil, err
	}
	radius, err := innerRadius(ctx, set, mean)
	if err != nil {
		return nil, err
	}
	h := &hashing{mean: mean, radius: radius}
	distance := math.Sqrt(2 - 2*float64(threshold-tolerance))
	parted := 1.0 // probability that a plane parts a pair at the threshold
	if distance < 2*radius {
		parted = 2 * math.Asin(distance/2/radius) / math.Pi
	}
	for h.keyBits = max(fewestBits, min(mostBits, bits.Len(uint(set.Len())))); ; h.keyBits-- {
		if h.keyBits < fewestBits {
			return nil, nil
		}
		equal := math.Pow(1-parted, float64(h.keyBits))
		if tables := math.Ceil(math.Log(mostMissed) / math.Log1p(-equal)); tables*float64(h.keyBits) <= mostSigns {
			h.tables = max(1, int(tables))
			break
		}
	}
	signs := h.keyBits * h.tables
	h.words = (signs + 63) / 64
	signs = 64 * h.words // those beyond the keys help to tell candidates apart
	expected := float64(signs) * parted
	h.apart = int(expected + 8*math.Sqrt(expected) + 16)
	r := rng.New(hashingTag)
	h.planes = make([]float32, signs*set.Dim)
	for i := range h.planes {
		h.planes[i] = float32(r.Normal())
	}
	return h, nil
}

// innerRadius is a little less than the distance from the mean beyond which nearly all rows lie, by
// a sample of them.
func innerRadius(ctx context.Context, set *evaluate.Embedded, mean []float64) (float64, error) {
	const sampled = 100_000
	step := max(1, set.Len()/sampled)
	var all []float64
	err := eachTile(ctx, set, func(first int, tile []float32) error {
		for i := range len(tile) / set.Dim {
			if (first+i)%step == 0 {
				all = append(all, fromMean(tile[i*set.Dim:(i+1)*set.Dim], mean))
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	slices.Sort(all)
	return 0.97 * all[int(centralRows*float64(len(all)))], nil
}

// fromMean is the distance of a row from the mean.
func fromMean(v []float32, mean []float64) float64 {
	var square float64
	for j, m := range mean {
		square += (float64(v[j]) - m) * (float64(v[j]) - m)
	}
	return math.Sqrt(square)
}

// signs are the signs of all rows.
type signs struct {
	words   int
	bits    []uint64 // [N,words]
	entries []entry  // memory for a table
}

// entry is a row by its key.
type entry struct {
	key uint32
	row int32
}

// signs computes the signs of all rows by the engine, and lists the central rows.
func (x Explorer) signs(ctx context.Context, set *evaluate.Embedded, h *hashing) (s *signs, central []int, err error) {
	dim, count := set.Dim, 64*h.words
	g := graph.New()
	rows := g.Input("rows", tensor.Float32, rowsAtOnce, dim)
	planes := g.Variable("planes", tensor.Float32, count, dim)
	g.Output("heights", g.MatMul(rows, planes, false, true))
	state := x.Engine.NewState()
	var program engine.Program
	if program, err = x.Engine.Compile(g, state); err != nil {
		return nil, nil, err
	}
	defer program.Close()
	t := tensor.New(tensor.Float32, count, dim)
	copy(t.Float32s(), h.planes)
	if err := state.Write("planes", t); err != nil {
		return nil, nil, err
	}
	s = &signs{words: h.words, bits: make([]uint64, set.Len()*h.words), entries: make([]entry, set.Len())}
	in := program.Input("rows").Float32s()
	err = eachTile(ctx, set, func(first int, tile []float32) error {
		for i := range len(tile) / dim {
			v := tile[i*dim : (i+1)*dim]
			if fromMean(v, h.mean) < h.radius {
				central = append(central, first+i)
			}
			for j, m := range h.mean {
				in[i*dim+j] = v[j] - float32(m)
			}
		}
		if err := program.Run(); err != nil {
			return err
		}
		heights := program.Output("heights").Float32s()
		for i := range len(tile) / dim {
			s.set(first+i, heights[i*count:(i+1)*count])
		}
		x.progress("signs", first+len(tile)/dim, set.Len())
		return nil
	})
	return s, central, err
}

// set sets the signs of a row.
func (s *signs) set(row int, heights []float32) {
	for w := range s.words {
		var word uint64
		for b, v := range heights[64*w : 64*w+64] {
			word |= uint64(math.Float32bits(v)>>31) << b
		}
		s.bits[row*s.words+w] = word
	}
}

// key is a row's key in a table.
func (s *signs) key(h *hashing, row, table int) uint32 {
	at := table * h.keyBits
	list := s.bits[row*s.words : (row+1)*s.words]
	key := list[at/64] >> (at % 64)
	if have := 64 - at%64; have < h.keyBits {
		key |= list[at/64+1] << have
	}
	return uint32(key & (1<<h.keyBits - 1))
}

// candidates are the pairs of rows with equal keys in a table, but for those that an earlier table
// has given and those whose other signs tell them apart.
func (s *signs) candidates(ctx context.Context, h *hashing, table int) iter.Seq2[int, int] {
	return func(yield func(a, b int) bool) {
		for row := range s.entries {
			s.entries[row] = entry{key: s.key(h, row, table), row: int32(row)}
		}
		slices.SortFunc(s.entries, func(a, b entry) int {
			if a.key != b.key {
				return int(a.key) - int(b.key)
			}
			return int(a.row) - int(b.row)
		})
		for first := 0; first < len(s.entries); {
			last := first + 1
			for last < len(s.entries) && s.entries[last].key == s.entries[first].key {
				last++
			}
			for i, a := range s.entries[first:last] {
				if ctx.Err() != nil {
					return
				}
				for _, b := range s.entries[first+i+1 : last] {
					if s.close(h, int(a.row), int(b.row), table) && !yield(int(a.row), int(b.row)) {
						return
					}
				}
			}
			first = last
		}
	}
}

// close tells whether two rows may be a pair that no table before this one has given.
func (s *signs) close(h *hashing, a, b, table int) bool {
	different := 0
	for w := range s.words {
		different += bits.OnesCount64(s.bits[a*s.words+w] ^ s.bits[b*s.words+w])
	}
	if different > h.apart {
		return false
	}
	for t := range table {
		if s.key(h, a, t) == s.key(h, b, t) {
			return false
		}
	}
	return true
}
