package jpeg

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
	run   int // blocks without further coefficients, this one included
	table *huffman
	kind  func(p *progressive, i int, b *block)
}

func (d *decoder) newProgressive(s *scan) (coder, error) {
	p := &progressive{r: &d.bits, s: s}
	var err error
	switch {
	case s.from == 0 && s.high == 0:
		p.kind = (*progressive).dcFirst
		for i := range s.comps {
			if s.dc[i], err = d.table(0, s.dcCond[i]); err != nil {
				return nil, err
			}
			if err := s.dc[i].prepareDC(); err != nil {
				return nil, err
			}
		}
		return p, nil
	case s.from == 0:
		p.kind = (*progressive).dcRefine
		return p, nil
	case s.high == 0:
		p.kind = (*progressive).acFirst
	default:
		p.kind = (*progressive).acRefine
	}
	if p.table, err = d.table(1, s.acCond[0]); err != nil {
		return nil, err
	}
	return p, p.table.prepareAC()
}

func (p *progressive) restart() { p.pred, p.run = [4]int32{}, 0 }

func (p *progressive) finished() bool { return p.r.short }

func (p *progressive) block(i int, b *block) int {
	p.kind(p, i, b)
	p.r.check()
	return 63
}

func (p *progressive) dcFirst(i int, b *block) {
	r, dc := p.r, p.s.dc[i]
	r.fill()
	size, length := dc.symbol(r.acc)
	r.take(length)
	p.pred[i] += r.value(int(size))
	b[0] = int16(p.pred[i] << p.s.low)
}

func (p *progressive) dcRefine(_ int, b *block) {
	p.r.fill()
	if p.r.bit() {
		b[0] |= 1 << p.s.low
	}
}

func (p *progressive) acFirst(_ int, b *block) {
	if p.run > 0 {
		p.run--
		return
	}
	r := p.r
	for k := p.s.from; k <= p.s.to; k++ {
		r.fill()
		symbol, length := p.table.symbol(r.acc)
		r.take(length)
		run, size := int(symbol>>4), int(symbol&15)
		if size != 0 {
			k += run
			b[zigzag[k]] = int16(r.value(size) << p.s.low)
			continue
		}
		if run != 15 {
			p.run = 1<<run - 1
			if run > 0 {
				p.run += int(r.acc >> (64 - run))
				r.take(run)
			}
			return
		}
		k += 15
	}
}

// acRefine adds a bit to the coefficients that are not 0, and sets those whose first bit this is.
func (p *progressive) acRefine(_ int, b *block) {
	r := p.r
	k := p.s.from
	for ; p.run == 0 && k <= p.s.to; k++ {
		r.fill()
		symbol, length := p.table.symbol(r.acc)
		r.take(length)
		run, size := int(symbol>>4), int(symbol&15)
		value := int16(0)
		if size != 0 { // anything but 1 is damaged, and counts as 1
			value = -1 << p.s.low
			if r.bit() {
				value = 1 << p.s.low
			}
		} else if run != 15 {
			p.run = 1 << run
			if run > 0 {
				p.run += int(r.acc >> (64 - run))
				r.take(run)
			}
			break
		}
		k = p.correct(b, k, run)
		if value != 0 {
			b[zigzag[k]] = value
		}
	}
	if p.run > 0 {
		p.correct(b, k, 64)
		p.run--
	}
}

// correct reads correction bits from place k on, until it has passed `zeros` coefficients that are 0
// and stands at the next one, which it returns, or behind the band.
func (p *progressive) correct(b *block, k, zeros int) int {
	r := p.r
	for ; k <= p.s.to; k++ {
		v := &b[zigzag[k]]
		if *v == 0 {
			if zeros == 0 {
				break
			}
			zeros--
			continue
		}
		r.fill()
		if r.bit() && *v&(1<<p.s.low) == 0 {
			if *v > 0 {
				*v += 1 << p.s.low
			} else {
				*v -= 1 << p.s.low
			}
		}
	}
	return k
}
