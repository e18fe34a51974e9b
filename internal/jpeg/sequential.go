package jpeg

import "encoding/binary"

// sequential decodes Huffman-coded blocks of baseline and extended scans.
type sequential struct {
	r    *bitReader
	s    *scan
	pred [4]int32
	work scratch
	last int // the last coefficient in work
	k    *kernels
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
	return &sequential{r: &d.bits, s: s, k: d.kernels}, nil
}

func (q *sequential) restart() { q.pred = [4]int32{} }

func (q *sequential) finished() bool { return q.r.short }

func (q *sequential) block(i int, c *component, at int) {
	b, _ := q.next(i)
	c.coefs[at] = *b
}

func (q *sequential) line(c *component, at, n int) {
	for ; n > 0 && !q.r.short; n-- {
		q.block(0, c, at)
		at++
	}
}

// next decodes a block and returns it with the place of its last coefficient.
func (q *sequential) next(i int) (*block, int) {
	b := (*block)(q.work[:])
	if q.last > 0 {
		*b = block{}
	}
	r, dc, ac := q.r, q.s.dc[i], q.s.ac[i]
	k := q.k.coefficients(r, dc.dc, ac.ac, &q.work, -1)
	if k < 0 {
		b[0] = int16(dc.difference(r))
		k = q.k.coefficients(r, dc.dc, ac.ac, &q.work, 0)
	}
	for k < 63 {
		if k = ac.coefficient(r, &q.work, k); k < 63 {
			k = q.k.coefficients(r, dc.dc, ac.ac, &q.work, k)
		}
	}
	q.pred[i] += int32(b[0])
	b[0] = int16(q.pred[i])
	q.last = k & (endOfBlock - 1)
	r.check()
	return b, q.last
}

// difference reads a difference of DC.
func (h *huffman) difference(r *bitReader) int32 {
	r.fill()
	if e := h.dc[r.acc>>(64-fastBits)]; e.bits() != 0 {
		r.take(int(e.bits()))
		return int32(e.value1())
	}
	size, length := h.symbol(r.acc)
	r.take(length)
	return r.value(int(size))
}

// coefficient reads one symbol of AC without the table, and returns the new k.
func (h *huffman) coefficient(r *bitReader, b *scratch, k int) int {
	r.fill()
	symbol, length := h.symbol(r.acc)
	r.take(length)
	run, size := int(symbol>>4), int(symbol&15)
	if size == 0 && run != 15 {
		return k + endOfBlock
	}
	k += run + 1
	if size > 0 {
		b[places[k&255]] = int16(r.value(size))
	}
	return k
}

// coefficients decodes a block: the difference of DC into its place if k is -1, then the AC
// coefficients behind place k. It returns the place of the last symbol, plus endOfBlock after an
// end of block. A smaller one than 63 means that the symbol behind it is not in the table.
func coefficients(r *bitReader, dc, ac *[1 << fastBits]step, b *scratch, at int) int {
	acc, n, next, buf := r.acc, uint(r.n), r.next, r.buf
	k := uint(at)
	if at < 0 {
		acc |= binary.BigEndian.Uint64(buf[next:]) >> (n & 63)
		next += int((63 - n) >> 3)
		n |= 56
		e := dc[acc>>(64-fastBits)]
		if e.bits() == 0 {
			return -1
		}
		b[0] = e.value1()
		acc <<= e.bits()
		n -= e.bits()
		k = 0
	}
	for k < 63 {
		acc |= binary.BigEndian.Uint64(buf[next:]) >> (n & 63)
		next += int((63 - n) >> 3)
		n |= 56
		e := ac[acc>>(64-fastBits)]
		if e.bits() == 0 {
			if e == 0 {
				break
			}
			size := uint(e.value2())
			acc <<= e.bits1()
			k += e.move1()
			b[places[k&255]] = int16(extend(uint32(acc>>((64-size)&63)), int(size)))
			acc <<= size & 63
			n -= e.bits1() + size
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
			k = first
			break
		}
		acc <<= e.bits()
		n -= e.bits()
	}
	r.acc, r.n, r.next = acc, int(n), next
	return int(k)
}

// places maps k to the place in a scratch: within the block as zigzag does, behind it where an end
// of block has moved k.
var places = func() (p [256]uint8) {
	for k := range p {
		p[k] = zigzag[min(k, 63)]
		if k >= endOfBlock {
			p[k] = 64
		}
	}
	return p
}()
