package jpeg

// A progressive file may leave out low AC coefficients. libjpeg then estimates them, and so do we,
// to give its pixels: from the DC of the 5x5 blocks around, as if the picture were smooth there.
// Where no AC coefficient is known at all, more of them are estimated and DC is smoothed too.

// estimate is how a coefficient follows from the DC of the blocks around, in 1/256.
type estimate struct {
	zigzag  int // its place in the order of a file
	weights [25]int8
}

// fromSome are the estimates where some AC coefficients are known (similar to T.81, K.8).
var fromSome = []estimate{
	{1, [25]int8{10: -7, 11: 50, 13: -50, 14: 7}},
	{2, [25]int8{2: -7, 7: 50, 17: -50, 22: 7}},
	{3, [25]int8{2: -1, 7: 13, 12: -24, 17: 13, 22: -1}},
	{4, [25]int8{1: -1, 3: 1, 5: -1, 6: 10, 8: -10, 9: 1, 15: 1, 16: -10, 18: 10, 19: -1, 21: 1, 23: -1}},
	{5, [25]int8{10: -1, 11: 13, 12: -24, 13: 13, 14: -1}},
}

// fromDC are the estimates where only DC is known.
var fromDC = []estimate{
	{1, [25]int8{
		-1, -1, 0, 1, 1,
		-3, 13, 0, -13, 3,
		-3, 38, 0, -38, 3,
		-3, 13, 0, -13, 3,
		-1, -1, 0, 1, 1,
	}},
	{2, [25]int8{
		-1, -3, -3, -3, -1,
		-1, 13, 38, 13, -1,
		0, 0, 0, 0, 0,
		1, -13, -38, -13, 1,
		1, 3, 3, 3, 1,
	}},
	{3, [25]int8{2: 1, 6: 2, 7: 7, 8: 2, 11: -5, 12: -14, 13: -5, 16: 2, 17: 7, 18: 2, 22: 1}},
	{4, [25]int8{0: -1, 4: 1, 6: 9, 8: -9, 16: -9, 18: 9, 20: 1, 24: -1}},
	{5, [25]int8{6: 2, 7: -5, 8: 2, 10: 1, 11: 7, 12: -14, 13: 7, 14: 1, 16: 2, 17: -5, 18: 2}},
	{6, [25]int8{6: 1, 8: -1, 11: 2, 13: -2, 16: 1, 18: -1}},
	{7, [25]int8{6: 1, 7: -3, 8: 1, 16: -1, 17: 3, 18: -1}},
	{8, [25]int8{6: 1, 8: -1, 11: -3, 13: 3, 16: 1, 18: -1}},
	{9, [25]int8{6: 1, 7: 2, 8: 1, 16: -1, 17: -2, 18: -1}},
}

// smoothDC are the weights of DC itself. The middle one is 152, more than an int8 holds.
var smoothDC = [25]int16{
	-2, -6, -8, -6, -2,
	-6, 6, 42, 6, -6,
	-8, 42, 152, 42, -8,
	-6, 6, 42, 6, -6,
	-2, -6, -8, -6, -2,
}

// smoothedPlaces is how many coefficients, in zigzag order, take part.
const smoothedPlaces = 10

// smoothing tells whether any component has coefficients to estimate.
func (f *frame) smoothing() bool {
	if !f.progressive {
		return false
	}
	useful := false
	for i := range f.comps {
		c := &f.comps[i]
		if c.quantTable == nil || c.accuracy[0] < 0 {
			return false
		}
		for k := range smoothedPlaces {
			if c.quantTable[zigzag[k]] == 0 {
				return false
			}
			useful = useful || k > 0 && c.accuracy[k] != 0
		}
	}
	return useful
}

// smoothed renders row y of the blocks of a plane with its unknown coefficients estimated.
func (r *renderer) smoothed(p *plane, y int) {
	c := p.c
	accuracy := &c.accuracy
	if y/c.v > r.f.lastGood && r.f.scans > 1 {
		accuracy = &c.earlier
	}
	dcOnly := true
	for k := 1; k < smoothedPlaces; k++ {
		dcOnly = dcOnly && accuracy[k] == -1
	}
	estimates := fromSome
	if dcOnly {
		estimates = fromDC
	}
	rows := r.neighbours(c, y)
	for x := range c.blocksWide {
		var dc [25]int32
		for n := range dc {
			dc[n] = int32(rows[n/5][neighbour(x+n%5-2, c.blocksWide)][0])
		}
		b := rows[2][x]
		q := func(k int) int64 { return int64(uint16(c.quantTable[zigzag[k]])) }
		for _, e := range estimates {
			if v := &b[zigzag[e.zigzag]]; *v == 0 && accuracy[e.zigzag] != 0 {
				sum := int32(0)
				for n, w := range e.weights {
					sum += int32(w) * dc[n]
				}
				*v = rounded(q(0)*int64(sum), q(e.zigzag), accuracy[e.zigzag])
			}
		}
		if dcOnly {
			sum := int32(0)
			for n, w := range smoothDC {
				sum += int32(w) * dc[n]
			}
			b[0] = rounded(q(0)*int64(sum), q(0), 0)
		}
		r.put(p, p.place(x, y%c.v), &b, 63)
	}
}

// rounded divides a sum by 256 factors. What was coded as 0 with some bits missing stays below
// them.
func rounded(sum, factor int64, missing int8) int16 {
	size := max(sum, -sum)
	v := (factor<<7 + size) / (factor << 8)
	if missing > 0 {
		v = min(v, 1<<missing-1)
	}
	if sum < 0 {
		v = -v
	}
	return int16(v)
}

// neighbour limits a column of blocks to those that there are. Of two columns libjpeg repeats the
// first.
func neighbour(x, columns int) int {
	if x >= columns && columns == 2 {
		return 0
	}
	return max(0, min(x, columns-1))
}

// neighbours returns the rows of blocks y-2 to y+2. At the edges it repeats rows as libjpeg does,
// which counts in rows of MCUs: near the bottom the outer row can be the inner one, though there
// is another.
func (r *renderer) neighbours(c *component, y int) (rows [5][]block) {
	at := func(y int) []block { return c.coefs[y*c.stride:][:c.blocksWide] }
	mcu, last, in := y/c.v, r.f.mcusHigh-1, y%c.v
	high := c.v // rows of blocks in this row of MCUs
	if mcu == last {
		high = c.blocksHigh - mcu*c.v
	}
	above, below := y, y
	if y > 0 {
		above = y - 1
	}
	if in < high-1 || mcu < last {
		below = y + 1
	}
	outerAbove, outerBelow := above, below
	if in > 1 || mcu > 1 {
		outerAbove = y - 2
	}
	if in < high-2 || mcu+1 < last {
		outerBelow = y + 2
	}
	for i, y := range [5]int{outerAbove, above, y, below, outerBelow} {
		rows[i] = at(y)
	}
	return rows
}
