package jpeg

// sequential decodes Huffman-coded blocks of baseline and extended scans.
type sequential struct {
	r    *bitReader
	s    *scan
	pred [4]int32
}

func (d *decoder) newSequential(s *scan) (coder, error) {
	for i := range s.comps {
		var err error
		if s.dc[i], err = d.table(0, s.dcCond[i]); err != nil {
			return nil, err
		}
		if s.ac[i], err = d.table(1, s.acCond[i]); err != nil {
			return nil, err
		}
		if err := s.dc[i].prepare(true); err != nil {
			return nil, err
		}
		if err := s.ac[i].prepare(false); err != nil {
			return nil, err
		}
	}
	return &sequential{r: &d.bits, s: s}, nil
}

func (q *sequential) restart() { q.pred = [4]int32{} }

func (q *sequential) finished() bool { return q.r.short }

// block decodes a block into b, whose AC coefficients must be 0.
func (q *sequential) block(i int, b *block) int {
	r := q.r
	r.fill()
	dc := q.s.dc[i]
	if e := dc.fast[r.acc>>(64-fastBits)]; e != 0 {
		r.take(int(e & 255))
		q.pred[i] += int32(e) >> 16
	} else {
		size, length := dc.symbol(r.acc)
		r.take(length)
		q.pred[i] += r.value(int(size))
	}
	b[0] = int16(q.pred[i])
	last := q.s.ac[i].coefficients(r, b)
	r.check()
	return last
}

// coefficients decodes the AC coefficients of a block and returns the place of the last one.
func (h *huffman) coefficients(r *bitReader, b *block) (last int) {
	k := 0
	for k < 63 {
		r.fill()
		e := h.fast[r.acc>>(64-fastBits)]
		if e != 0 {
			r.take(int(e & 255))
			k += int(e >> 8 & 255)
			if k > 63 {
				if k >= endOfBlock {
					return last
				}
			}
			b[zigzag[k]] = int16(e >> 16)
			last = k
			continue
		}
		symbol, length := h.symbol(r.acc)
		r.take(length)
		run, size := int(symbol>>4), int(symbol&15)
		if size == 0 && run != 15 {
			return last
		}
		k += run + 1
		if size != 0 {
			b[zigzag[k]] = int16(r.value(size))
			last = k
		}
	}
	return last
}
