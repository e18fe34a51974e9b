package jpeg

import "encoding/binary"

// sequential decodes Huffman-coded blocks of baseline and extended scans.
type sequential struct {
	r    *bitReader
	s    *scan
	pred [4]int32
	work scratch
	last int // the last coefficient in work
}

// scratch is a block with room behind it, where what ends a block is written.
type scratch [72]int16

func (d *decoder) newSequential(s *scan) (coder, error) {
	for i := range s.comps {
		var err error
		if s.dc[i], err = d.table(0, s.dcCond[i]); err != nil {
			return nil, err
		}
		if s.ac[i], err = d.table(1, s.acCond[i]); err != nil {
			return nil, err
		}
		if err := s.dc[i].prepareDC(); err != nil {
			return nil, err
		}
		if err := s.ac[i].prepareAC(); err != nil {
			return nil, err
		}
	}
	return &sequential{r: &d.bits, s: s}, nil
}

func (q *sequential) restart() { q.pred = [4]int32{} }

func (q *sequential) finished() bool { return q.r.short }

func (q *sequential) block(i int, b *block) int {
	w, last := q.next(i)
	*b = *w
	return last
}

func (q *sequential) line(blocks []block, _ []uint64) {
	for x := 0; x < len(blocks) && !q.r.short; x++ {
		q.block(0, &blocks[x])
	}
}

// next decodes a block and returns it with the place of its last coefficient.
func (q *sequential) next(i int) (*block, int) {
	b := (*block)(q.work[:])
	if q.last > 0 {
		*b = block{}
	}
	r := q.r
	r.fill()
	dc := q.s.dc[i]
	if e := dc.dc[r.acc>>(64-fastBits)]; e != 0 {
		r.take(int(e.bits()))
		q.pred[i] += int32(e.value1())
	} else {
		size, length := dc.symbol(r.acc)
		r.take(length)
		q.pred[i] += r.value(int(size))
	}
	b[0] = int16(q.pred[i])
	q.last = q.s.ac[i].coefficients(r, &q.work)
	r.check()
	return b, q.last
}

// coefficients decodes the AC coefficients of a block and returns the place of the last one.
func (h *huffman) coefficients(r *bitReader, b *scratch) (last int) {
	acc, n, next, buf, table := r.acc, uint(r.n), r.next, r.buf, h.ac
	k := uint(0)
	for {
		if n < 32 {
			acc |= binary.BigEndian.Uint64(buf[next:]) >> (n & 63)
			next += int((63 - n) >> 3)
			n |= 56
		}
		e := table[acc>>(64-fastBits)]
		if e == 0 {
			symbol, length := h.symbol(acc)
			run, size := uint(symbol>>4), uint(symbol&15)
			acc <<= uint(length) & 63
			n -= uint(length)
			if size == 0 && run != 15 {
				break
			}
			k += run + 1
			if size > 0 {
				b[places[k&255]] = int16(extend(uint32(acc>>((64-size)&63)), int(size)))
				acc <<= size
				n -= size
			}
			if k >= 63 {
				break
			}
			continue
		}
		first := k + e.move1()
		b[places[first&255]] = e.value1()
		k = first + e.move2()
		b[places[k&255]] = e.value2()
		if k >= 63 && first >= 63 && first < endOfBlock && e.bits() > e.bits1() {
			// The block was full after the first symbol: the second one belongs to the next block.
			b[63] = e.value1()
			acc <<= e.bits1()
			n -= e.bits1()
			break
		}
		acc <<= e.bits()
		n -= e.bits()
		if k >= 63 {
			break
		}
	}
	r.acc, r.n, r.next = acc, int(n), next
	return int(k & (endOfBlock - 1))
}

// places maps k to the place in a scratch: within the block as zigzag does, behind it where an end of
// block has moved k.
var places = func() (p [256]uint8) {
	copy(p[:], zigzag[:])
	for i := endOfBlock; i < len(p); i++ {
		p[i] = 64
	}
	return p
}()
