package jpeg

import "encoding/binary"

// progress checks the parameters of a progressive scan and notes how exactly coefficients are known
// after it: low bits are missing, -1 stands for nothing known.
func (s *scan) progress(first bool) error {
	bad := s.low > 13 || s.high != 0 && s.low != s.high-1
	if s.from == 0 {
		bad = bad || s.to != 0
	} else {
		bad = bad || s.from > s.to || s.to > 63 || len(s.comps) != 1
	}
	if bad {
		return FormatError("a progressive scan with impossible parameters")
	}
	for _, c := range s.comps {
		c.earlier = c.accuracy
		if first {
			c.earlier = [64]int8{}
		}
		for k := s.from; k <= s.to; k++ {
			c.accuracy[k] = int8(s.low)
		}
	}
	return nil
}

// progressive decodes Huffman-coded blocks of progressive scans.
type progressive struct {
	r     *bitReader
	s     *scan
	pred  [4]int32
	run   int // of the blocks to come, so many hold nothing new of the band
	table *huffman
	k     *kernels
}

func (d *decoder) newProgressive(s *scan) (coder, error) {
	p := &progressive{r: &d.bits, s: s, k: d.kernels}
	var err error
	if s.from > 0 {
		if p.table, err = d.table(1, s.acCond[0]); err != nil {
			return nil, err
		}
		return p, p.table.prepareBand()
	}
	for i := range s.comps {
		if s.high > 0 {
			break // single bits need no table
		}
		if s.dc[i], err = d.table(0, s.dcCond[i]); err != nil {
			return nil, err
		}
		if err := s.dc[i].prepareDC(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *progressive) restart() { p.pred, p.run = [4]int32{}, 0 }

func (p *progressive) finished() bool { return p.r.short }

// block decodes the DC of a block.
func (p *progressive) block(i int, c *component, at int) {
	r, v := p.r, &c.dc[at]
	if p.s.high > 0 {
		if r.n == 0 {
			r.fill()
		}
		*v |= int16(r.acc>>63) << (p.s.low & 15)
		r.take(1)
	} else {
		p.pred[i] += p.s.dc[i].difference(r)
		*v = int16(p.pred[i] << p.s.low)
	}
	r.check()
}

// line decodes blocks that lie side by side, of a scan of one component.
func (p *progressive) line(c *component, at, n int) {
	switch {
	case p.s.from == 0:
		for ; n > 0 && !p.r.short; n-- {
			p.block(0, c, at)
			at++
		}
	case p.s.high == 0:
		p.first(c.coefs[at:at+n], c.known[at:at+n])
	default:
		p.refine(c.coefs[at:at+n], c.known[at:at+n])
	}
}

// first decodes coefficients of a band that no scan before held.
func (p *progressive) first(blocks []block, known []uint64) {
	r := p.r
	acc, n, next, buf, table := r.acc, uint(r.n), r.next, r.buf, p.table.band
	from, to, low := uint(p.s.from), uint(p.s.to), p.s.low&15
	for x := 0; x < len(blocks); x++ {
		if p.run > 0 {
			skip := min(p.run, len(blocks)-x)
			p.run -= skip
			x += skip - 1
			continue
		}
		b, k := &blocks[x], from-1
		for k < to {
			if n < 32 {
				acc |= binary.BigEndian.Uint64(buf[next:]) >> (n & 63)
				next += int((63 - n) >> 3)
				n |= 56
			}
			e := table[acc>>(64-fastBits)]
			value := e.value1()
			if e.bits() == 0 {
				symbol, length := p.table.symbol(acc)
				m := bandMeaning(symbol)
				acc <<= uint(length) & 63
				if m.move == 0 { // 16 zeros
					n -= uint(length)
					k += 16
					continue
				}
				v := uint32(acc >> 1 >> (63 - uint(m.size)))
				value = int16(extend(v, m.size))
				if m.base > 0 {
					value = int16(m.base + int(v))
				}
				acc <<= uint(m.size)
				n -= uint(length + m.size)
				k += uint(m.move)
			} else {
				acc <<= e.bits1()
				n -= e.bits1()
				k += e.move1()
			}
			if k >= endOfBlock {
				p.run = int(uint16(value))
				break
			}
			if value <<= low; value != 0 {
				b[zigzag[k]&63] = value
				known[x] |= 1 << 63 >> min(k, 63)
			}
		}
		if next*8-int(n) > r.size*8 {
			break
		}
	}
	r.acc, r.n, r.next = acc, int(n), next
	r.check()
}
