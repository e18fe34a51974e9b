package jpeg

// conditioning holds the bounds of DAC segments. Its zero value stands for the defaults.
type conditioning struct {
	dc, ac [16]byte // a DC byte holds the bounds L and U in its halves
	set    bool
}

func (c *conditioning) read(b []byte) error {
	c.defaults()
	if len(b)%2 != 0 {
		return FormatError("a DAC segment of a wrong length")
	}
	for ; len(b) > 0; b = b[2:] {
		to, v := b[0]&15, b[1]
		switch {
		case b[0] >= 32 || b[0] < 16 && v&15 > v>>4:
			return FormatError("a broken DAC segment")
		case b[0] < 16:
			c.dc[to] = v
		default:
			c.ac[to] = v
		}
	}
	return nil
}

func (c *conditioning) defaults() {
	if c.set {
		return
	}
	c.set = true
	for i := range c.dc {
		c.dc[i], c.ac[i] = 1<<4, 5
	}
}

// arithmetic decodes blocks with the adaptive binary coder of T.81, annex D.
type arithmetic struct {
	d    *decoder
	s    *scan
	kind func(a *arithmetic, i int, b *block) bool

	dc      [16]dcStats
	ac      [16]acStats
	fixed   uint8 // a statistic of equal odds
	pred    [4]int32
	context [4]int
	broken  bool // nothing more can be read from this interval

	code, size uint32 // the registers C and A of the standard, C with `bits` more bits to come
	bits       int
	next       int // the next byte of the segment
}

type (
	dcStats [64]uint8
	acStats [256]uint8
)

// equalOdds is the state that never learns: row 113 of the table.
const equalOdds = 113

func (d *decoder) newArithmetic(s *scan) coder {
	d.cond.defaults()
	d.bits.load()
	a := &arithmetic{d: d, s: s}
	switch {
	case !d.frame.progressive:
		a.kind = (*arithmetic).sequential
	case s.from == 0 && s.high == 0:
		a.kind = (*arithmetic).dcBlock
	case s.from == 0:
		a.kind = (*arithmetic).dcRefine
	case s.high == 0:
		a.kind = (*arithmetic).acBlock
	default:
		a.kind = (*arithmetic).acRefine
	}
	if !d.frame.progressive {
		s.from, s.to, s.low = 1, 63, 0
	}
	return a
}

func (a *arithmetic) restart() {
	a.dc, a.ac = [16]dcStats{}, [16]acStats{}
	a.pred, a.context = [4]int32{}, [4]int{}
	a.code, a.size, a.bits, a.next = 0, 0, -16, 0
	a.fixed, a.broken = equalOdds, false
}

// finished: damage ends an interval, but for bits of DC, which depend on nothing.
func (a *arithmetic) finished() bool { return a.broken && (a.s.from > 0 || a.s.high == 0) }

func (a *arithmetic) block(i int, c *component, at int) {
	if !a.finished() {
		a.broken = !a.kind(a, i, &c.coefs[at]) || a.broken
	}
	// The coder may leave out zeros at the end of its data, but only a marker says that it did.
	a.d.bits.short = a.d.bits.marker == 0 && a.next > a.d.bits.size
}

func (a *arithmetic) line(c *component, at, n int) {
	for ; n > 0 && !a.finished(); n-- {
		a.block(0, c, at)
		at++
	}
}

// bit decodes a decision with a statistic: a row of the table, and the likelier value in its top
// bit.
func (a *arithmetic) bit(st *uint8) bool {
	for a.size < 1<<15 {
		a.renormalize()
	}
	row := &probabilities[*st&127]
	likely := *st >> 7
	a.size -= uint32(row.size)
	low := a.size << a.bits
	if a.code >= low { // the upper part of the interval, the less likely one unless it is larger
		a.code -= low
		swapped := a.size < uint32(row.size)
		a.size = uint32(row.size)
		if swapped {
			*st = likely<<7 | row.more
			return likely != 0
		}
		*st = (likely^row.swap)<<7 | row.less
		return likely == 0
	}
	if a.size >= 1<<15 {
		return likely != 0
	}
	if a.size < uint32(row.size) {
		*st = (likely^row.swap)<<7 | row.less
		return likely == 0
	}
	*st = likely<<7 | row.more
	return likely != 0
}

// renormalize doubles the interval, and takes in a byte where one is due.
func (a *arithmetic) renormalize() {
	if a.bits--; a.bits < 0 {
		r := &a.d.bits
		v := uint32(0)
		if a.next < r.size {
			v = uint32(r.buf[a.next])
		}
		a.next++
		a.code = a.code<<8 | v
		if a.bits += 8; a.bits < 0 {
			if a.bits++; a.bits == 0 {
				a.size = 1 << 15
			}
		}
	}
	a.size <<= 1
}

// magnitude decodes the category and the bits of a value whose sign is known (T.81, figures F.23
// and F.24). The statistics of the category are st[at], then st[more:]; those of the bits lie 14
// further. It returns the value less 1, and the highest bit of that.
func (a *arithmetic) magnitude(st []uint8, at, more int, again bool) (v, top int32, ok bool) {
	m := int32(0)
	if a.bit(&st[at]) {
		m = 1
		if !again || a.bit(&st[at]) {
			if again {
				m = 2
			}
			for at = more; a.bit(&st[at]); at++ {
				if m <<= 1; m == 1<<15 {
					return 0, 0, false
				}
			}
		}
	}
	v = m
	for bit := m >> 1; bit > 0; bit >>= 1 {
		if a.bit(&st[at+14]) {
			v |= bit
		}
	}
	return v, m, true
}

// dcBlock decodes a difference of DC (T.81, F.2.4.1).
func (a *arithmetic) dcBlock(i int, b *block) bool {
	to := a.s.dcCond[i]
	st := &a.dc[to]
	at := a.context[i]
	if !a.bit(&st[at]) {
		a.context[i] = 0
	} else {
		negative := 0
		if a.bit(&st[at+1]) {
			negative = 1
		}
		v, top, ok := a.magnitude(st[:], at+2+negative, 20, false)
		if !ok {
			return false
		}
		bounds := a.d.cond.dc[to]
		switch {
		case top < 1<<(bounds&15)>>1:
			a.context[i] = 0
		case top > 1<<(bounds>>4)>>1:
			a.context[i] = 12 + 4*negative
		default:
			a.context[i] = 4 + 4*negative
		}
		if v++; negative == 1 {
			v = -v
		}
		a.pred[i] += v
	}
	b[0] = int16(a.pred[i] << a.s.low)
	return true
}

// acBlock decodes the coefficients of a band (T.81, F.2.4.2).
func (a *arithmetic) acBlock(i int, b *block) bool {
	to := a.s.acCond[i]
	st := &a.ac[to]
	for k := a.s.from; k <= a.s.to; k++ {
		if a.bit(&st[3*(k-1)]) {
			return true // the end of the block
		}
		for !a.bit(&st[3*(k-1)+1]) {
			if k++; k > a.s.to {
				return false
			}
		}
		negative := a.bit(&a.fixed)
		more := 217
		if k <= int(a.d.cond.ac[to]) {
			more = 189
		}
		v, _, ok := a.magnitude(st[:], 3*(k-1)+2, more, true)
		if !ok {
			return false
		}
		if v++; negative {
			v = -v
		}
		b[zigzag[k]] = int16(v << a.s.low)
	}
	return true
}

func (a *arithmetic) sequential(i int, b *block) bool { return a.dcBlock(i, b) && a.acBlock(i, b) }

func (a *arithmetic) dcRefine(_ int, b *block) bool {
	if a.bit(&a.fixed) {
		b[0] |= 1 << a.s.low
	}
	return true
}

// acRefine adds a bit to the coefficients of a band (T.81, G.1.3.3).
func (a *arithmetic) acRefine(i int, b *block) bool {
	st := &a.ac[a.s.acCond[i]]
	one := int16(1) << a.s.low
	last := a.s.to // the last coefficient that an earlier scan set
	for last > 0 && b[zigzag[last]] == 0 {
		last--
	}
	for k := a.s.from; k <= a.s.to; k++ {
		if k > last && a.bit(&st[3*(k-1)]) {
			return true
		}
		for {
			v := &b[zigzag[k]]
			if *v != 0 {
				if a.bit(&st[3*(k-1)+2]) {
					if *v < 0 {
						*v -= one
					} else {
						*v += one
					}
				}
				break
			}
			if a.bit(&st[3*(k-1)+1]) {
				*v = one
				if a.bit(&a.fixed) {
					*v = -one
				}
				break
			}
			if k++; k > a.s.to {
				return false
			}
		}
	}
	return true
}

// probabilities are the states of a statistic (T.81, table D.3): the size of the less likely part
// of the interval, the states after it and after the likelier one, and whether they change places.
// The last one never learns.
var probabilities = [128]struct {
	size             uint16
	less, more, swap uint8
}{
	{0x5a1d, 1, 1, 1}, {0x2586, 14, 2, 0}, {0x1114, 16, 3, 0}, {0x080b, 18, 4, 0},
	{0x03d8, 20, 5, 0}, {0x01da, 23, 6, 0}, {0x00e5, 25, 7, 0}, {0x006f, 28, 8, 0},
	{0x0036, 30, 9, 0}, {0x001a, 33, 10, 0}, {0x000d, 35, 11, 0}, {0x0006, 9, 12, 0},
	{0x0003, 10, 13, 0}, {0x0001, 12, 13, 0}, {0x5a7f, 15, 15, 1}, {0x3f25, 36, 16, 0},
	{0x2cf2, 38, 17, 0}, {0x207c, 39, 18, 0}, {0x17b9, 40, 19, 0}, {0x1182, 42, 20, 0},
	{0x0cef, 43, 21, 0}, {0x09a1, 45, 22, 0}, {0x072f, 46, 23, 0}, {0x055c, 48, 24, 0},
	{0x0406, 49, 25, 0}, {0x0303, 51, 26, 0}, {0x0240, 52, 27, 0}, {0x01b1, 54, 28, 0},
	{0x0144, 56, 29, 0}, {0x00f5, 57, 30, 0}, {0x00b7, 59, 31, 0}, {0x008a, 60, 32, 0},
	{0x0068, 62, 33, 0}, {0x004e, 63, 34, 0}, {0x003b, 32, 35, 0}, {0x002c, 33, 9, 0},
	{0x5ae1, 37, 37, 1}, {0x484c, 64, 38, 0}, {0x3a0d, 65, 39, 0}, {0x2ef1, 67, 40, 0},
	{0x261f, 68, 41, 0}, {0x1f33, 69, 42, 0}, {0x19a8, 70, 43, 0}, {0x1518, 72, 44, 0},
	{0x1177, 73, 45, 0}, {0x0e74, 74, 46, 0}, {0x0bfb, 75, 47, 0}, {0x09f8, 77, 48, 0},
	{0x0861, 78, 49, 0}, {0x0706, 79, 50, 0}, {0x05cd, 48, 51, 0}, {0x04de, 50, 52, 0},
	{0x040f, 50, 53, 0}, {0x0363, 51, 54, 0}, {0x02d4, 52, 55, 0}, {0x025c, 53, 56, 0},
	{0x01f8, 54, 57, 0}, {0x01a4, 55, 58, 0}, {0x0160, 56, 59, 0}, {0x0125, 57, 60, 0},
	{0x00f6, 58, 61, 0}, {0x00cb, 59, 62, 0}, {0x00ab, 61, 63, 0}, {0x008f, 61, 32, 0},
	{0x5b12, 65, 65, 1}, {0x4d04, 80, 66, 0}, {0x412c, 81, 67, 0}, {0x37d8, 82, 68, 0},
	{0x2fe8, 83, 69, 0}, {0x293c, 84, 70, 0}, {0x2379, 86, 71, 0}, {0x1edf, 87, 72, 0},
	{0x1aa9, 87, 73, 0}, {0x174e, 72, 74, 0}, {0x1424, 72, 75, 0}, {0x119c, 74, 76, 0},
	{0x0f6b, 74, 77, 0}, {0x0d51, 75, 78, 0}, {0x0bb6, 77, 79, 0}, {0x0a40, 77, 48, 0},
	{0x5832, 80, 81, 1}, {0x4d1c, 88, 82, 0}, {0x438e, 89, 83, 0}, {0x3bdd, 90, 84, 0},
	{0x34ee, 91, 85, 0}, {0x2eae, 92, 86, 0}, {0x299a, 93, 87, 0}, {0x2516, 86, 71, 0},
	{0x5570, 88, 89, 1}, {0x4ca9, 95, 90, 0}, {0x44d9, 96, 91, 0}, {0x3e22, 97, 92, 0},
	{0x3824, 99, 93, 0}, {0x32b4, 99, 94, 0}, {0x2e17, 93, 86, 0}, {0x56a8, 95, 96, 1},
	{0x4f46, 101, 97, 0}, {0x47e5, 102, 98, 0}, {0x41cf, 103, 99, 0}, {0x3c3d, 104, 100, 0},
	{0x375e, 99, 93, 0}, {0x5231, 105, 102, 0}, {0x4c0f, 106, 103, 0}, {0x4639, 107, 104, 0},
	{0x415e, 103, 99, 0}, {0x5627, 105, 106, 1}, {0x50e7, 108, 107, 0}, {0x4b85, 109, 103, 0},
	{0x5597, 110, 109, 0}, {0x504f, 111, 107, 0}, {0x5a10, 110, 111, 1}, {0x5522, 112, 109, 0},
	{0x59eb, 112, 111, 1},
	equalOdds: {0x5a1d, equalOdds, equalOdds, 0},
}
