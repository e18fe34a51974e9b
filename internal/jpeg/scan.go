package jpeg

import "fmt"

// maxScans bounds the work that a small file can ask for. Real scripts have some ten scans.
const maxScans = 200

// scan is one scan header, and how far its data are read.
type scan struct {
	comps          []*component
	index          [4]int // of comps in the frame
	dc, ac         [4]*huffman
	dcCond, acCond [4]byte // destinations of arithmetic conditioning
	from, to       int     // spectral selection
	high, low      uint    // successive approximation
	left           int     // MCUs to the next restart marker
	expected       byte    // its number
}

// coder decodes blocks of one scan.
type coder interface {
	// restart begins an interval; the bit reader stands at its start.
	restart()
	// block decodes block `at` of a component, the scan's number i.
	block(i int, c *component, at int)
	// line decodes n blocks from `at` on, of a scan of one component, until nothing more is there.
	line(c *component, at, n int)
	// finished tells that the interval holds nothing more. Further blocks stay as they are.
	finished() bool
}

// decode reads a file from its start to its last scan.
func (d *decoder) decode() (*Image, error) {
	if err := d.start(); err != nil {
		return nil, err
	}
	var r *renderer
	for {
		marker, err := d.nextMarker()
		if err != nil {
			return nil, err
		}
		switch marker {
		case markerSOS:
			s, err := d.readScan()
			if err != nil {
				return nil, err
			}
			if r == nil {
				if r, err = d.newRenderer(); err != nil {
					return nil, err
				}
				if len(s.comps) == len(d.frame.comps) && !d.frame.progressive {
					return d.single(s, r)
				}
				d.allocate()
			}
			if err := d.stored(s); err != nil {
				return nil, err
			}
		case markerEOI:
			if r == nil {
				return nil, FormatError("there is no scan before the end of the picture")
			}
			if d.skipped && d.frame.smoothing() {
				// What is estimated can depend on how far the scans that were passed over had data.
				again := decoder{data: d.data, opt: d.opt, thorough: true}
				return again.decode()
			}
			r.stored()
			return r.img, nil
		default:
			if err := d.segment(marker); err != nil {
				return nil, err
			}
		}
	}
}

// single decodes a picture of one sequential scan. Where every block was there, nothing that
// follows matters. Else the file is read on: the marker that ended the data may be none at all.
func (d *decoder) single(s *scan, r *renderer) (*Image, error) {
	if err := d.onePass(s, r); err != nil {
		return nil, err
	}
	if !d.bits.lost && !d.frame.arithmetic {
		return r.img, nil
	}
	d.close()
	marker, err := d.nextMarker()
	for ; err == nil && marker != markerEOI; marker, err = d.nextMarker() {
		if marker == markerSOS {
			return nil, FormatError("a scan begins before the one before it has ended")
		}
		if err := d.segment(marker); err != nil && err != ErrTruncated {
			return nil, err
		}
	}
	return r.img, nil
}

// newRenderer fixes the scale and the memory of a picture.
func (d *decoder) newRenderer() (*renderer, error) {
	if err := d.affordable(); err != nil {
		return nil, err
	}
	if err := d.frame.layout(d.opt.scale(d.frame.width, d.frame.height)); err != nil {
		return nil, err
	}
	kernels, err := kernelsFor(d.opt.Path)
	if err != nil {
		return nil, err
	}
	d.bits.data, d.kernels = d.data, kernels
	return newRenderer(&d.frame, d.colours(), kernels, d.opt.Pix), nil
}

// allocate makes room for all coefficients of a picture of several scans.
func (d *decoder) allocate() {
	f := &d.frame
	for i := range f.comps {
		c := &f.comps[i]
		n := c.stride * f.mcusHigh * c.v
		if f.progressive && !f.arithmetic {
			c.dc, c.known = make([]int16, n), make([]uint64, n)
		}
		if c.dc == nil || c.size > 1 || d.thorough {
			c.coefs = make([]block, n)
		}
	}
}

// readScan reads a SOS segment and latches the tables that it names.
func (d *decoder) readScan() (*scan, error) {
	if !d.frame.seen {
		return nil, FormatError("a scan before the frame header")
	}
	if d.frame.scans++; d.frame.scans > maxScans {
		return nil, UnsupportedError(fmt.Sprintf("a picture of more than %d scans", maxScans))
	}
	b, err := d.body()
	if err != nil {
		return nil, err
	}
	if len(b) < 1 || b[0] < 1 || b[0] > 4 || len(b) != 4+2*int(b[0]) {
		return nil, FormatError("a broken scan header")
	}
	s, n := new(scan), int(b[0])
	blocks := 0
	for i := range n {
		if err := d.scanComponent(s, i, b[1+2*i], b[2+2*i]); err != nil {
			return nil, err
		}
		blocks += s.comps[i].h * s.comps[i].v
	}
	if n > 1 && blocks > 10 {
		return nil, FormatError("more than 10 blocks in an MCU")
	}
	last := b[1+2*n:]
	s.from, s.to, s.high, s.low = int(last[0]), int(last[1]), uint(last[2]>>4), uint(last[2]&15)
	return s, nil
}

// scanComponent reads one component's part of a scan header.
func (d *decoder) scanComponent(s *scan, i int, id, tables byte) error {
	f := &d.frame
	at := -1
	for k := range f.comps {
		if f.comps[k].id == id {
			at = k
			break
		}
	}
	if at < 0 {
		return FormatError("a scan of a component that the frame does not have")
	}
	c := &f.comps[at]
	for _, other := range s.comps {
		if other == c {
			return FormatError("a scan that names a component twice")
		}
	}
	if c.quantTable == nil {
		if c.quantFrom > 3 || d.quant[c.quantFrom] == nil {
			return FormatError("a component without a quantization table")
		}
		c.quantTable = new(block)
		for k, q := range d.quant[c.quantFrom] {
			c.quantTable[k] = int16(q) // products of coefficients wrap at 16 bits, so the sign does not matter
		}
	}
	s.comps = append(s.comps, c)
	s.index[i] = at
	s.dcCond[i], s.acCond[i] = tables>>4, tables&15
	return nil
}

// table returns a Huffman table of a scan, or the one that Motion JPEG leaves out.
func (d *decoder) table(class int, to byte) (*huffman, error) {
	if to > 3 {
		return nil, FormatError("a scan names a Huffman table that cannot be")
	}
	h := d.huffman[class][to]
	if h == nil && to < 2 && !d.frame.progressive {
		h = standard()[class][to]
		d.huffman[class][to] = h
	}
	if h == nil {
		return nil, FormatError("a scan without its Huffman table")
	}
	return h, nil
}

// open makes the coder of a scan and loads the first segment.
func (d *decoder) open(s *scan) (coder, error) {
	d.bits.pos = d.pos
	s.left, s.expected = d.restart, 0
	if d.frame.progressive {
		if err := s.progress(d.frame.scans == 1); err != nil {
			return nil, err
		}
	}
	var c coder
	var err error
	switch {
	case d.frame.arithmetic:
		c = d.newArithmetic(s)
	case d.frame.progressive:
		c, err = d.newProgressive(s)
	default:
		c, err = d.newSequential(s)
	}
	if err != nil {
		return nil, err
	}
	if !d.frame.arithmetic {
		d.bits.load()
	}
	d.bits.short = false
	c.restart()
	return c, nil
}

// close puts the reader of segments where the scan ended: at its marker.
func (d *decoder) close() {
	d.pos = len(d.data)
	if d.bits.marker != 0 {
		d.pos = d.bits.pos - 2
	}
}

// mcu comes before each MCU and sees to restart markers.
func (d *decoder) mcu(s *scan, c coder) error {
	if d.restart == 0 {
		return nil
	}
	if s.left == 0 {
		if err := d.bits.restart(s.expected); err != nil {
			return err
		}
		c.restart()
		s.expected = (s.expected + 1) & 7
		s.left = d.restart
	}
	s.left--
	return nil
}

// onePass decodes the only scan of a sequential picture, a row of MCUs at a time.
func (d *decoder) onePass(s *scan, r *renderer) error {
	cod, err := d.open(s)
	if err != nil {
		return err
	}
	var zero block
	next, slots := onlyBlock(cod), r.slots(s)
	for y := range d.frame.mcusHigh {
		r.begin(y)
		for x := range d.frame.mcusWide {
			if err := d.mcu(s, cod); err != nil {
				return err
			}
			over := cod.finished() // what is missing then is grey
			for i := range slots {
				slot := &slots[i]
				b, last := &zero, 0
				if !over {
					b, last = next(slot.component)
				}
				r.put(slot.plane, slot.at+x*slot.step, b, last)
			}
			if d.bits.truncated() {
				return ErrTruncated
			}
		}
		r.row(y)
	}
	return nil
}

// onlyBlock returns a function that decodes a block that no scan has seen before, in scratch
// memory.
func onlyBlock(cod coder) func(i int) (*block, int) {
	if q, ok := cod.(*sequential); ok {
		return q.next
	}
	c := component{coefs: make([]block, 1)}
	return func(i int) (*block, int) {
		c.coefs[0] = block{}
		cod.block(i, &c, 0)
		return &c.coefs[0], 63
	}
}

// stored decodes one of several scans into the coefficients of its components.
func (d *decoder) stored(s *scan) error {
	if d.skippable(s) {
		return d.skip(s)
	}
	cod, err := d.open(s)
	if err != nil {
		return err
	}
	defer d.close()
	if len(s.comps) > 1 {
		return d.interleaved(s, cod)
	}
	c := s.comps[0]
	for y := 0; y < c.blocksHigh && !d.over(); y++ {
		for x := 0; x < c.blocksWide; {
			d.good(y / c.v)
			if err := d.mcu(s, cod); err != nil {
				return err
			}
			n := c.blocksWide - x
			if d.restart > 0 {
				n = min(n, s.left+1)
				s.left -= n - 1
			}
			if !cod.finished() {
				cod.line(c, y*c.stride+x, n)
			}
			x += n
		}
		if d.bits.truncated() {
			return ErrTruncated
		}
	}
	return nil
}

// skippable tells that a scan has nothing for the picture: AC of a component that is reduced to DC.
func (d *decoder) skippable(s *scan) bool {
	return d.frame.progressive && s.from > 0 && len(s.comps) == 1 && s.comps[0].size == 1 && !d.thorough
}

// skip passes over the data of a scan.
func (d *decoder) skip(s *scan) error {
	if err := s.progress(d.frame.scans == 1); err != nil {
		return err
	}
	d.skipped = true
	marker, pos := findMarker(d.data, d.pos)
	for isRestart(marker) || d.restart > 0 && marker > 0 && marker < markerSOF0 {
		marker, pos = findMarker(d.data, pos)
	}
	if marker == 0 {
		return ErrTruncated
	}
	d.pos = pos - 2
	return nil
}

// interleaved decodes a scan of several components into their coefficients.
func (d *decoder) interleaved(s *scan, cod coder) error {
	type spot struct { // of a block of an MCU
		component, x, y int
		at, step        int // its place in the component, and how much further it is in the next MCU
	}
	var spots []spot
	for i, c := range s.comps {
		for n := range c.h * c.v {
			spots = append(spots, spot{component: i, x: n % c.h, y: n / c.h})
		}
	}
	for y := 0; y < d.frame.mcusHigh && !d.over(); y++ {
		for i := range spots {
			p := &spots[i]
			c := s.comps[p.component]
			p.at, p.step = (y*c.v+p.y)*c.stride+p.x, c.h
		}
		for x := range d.frame.mcusWide {
			d.good(y)
			if err := d.mcu(s, cod); err != nil {
				return err
			}
			if cod.finished() {
				continue
			}
			for i := range spots {
				p := &spots[i]
				cod.block(p.component, s.comps[p.component], p.at+x*p.step)
			}
		}
		if d.bits.truncated() {
			return ErrTruncated
		}
	}
	return nil
}

// over tells that nothing more can come in a scan.
func (d *decoder) over() bool { return d.bits.short && d.restart == 0 }

// good notes that there were data for row y of MCUs.
func (d *decoder) good(y int) {
	if !d.bits.short {
		d.frame.lastGood = y
	}
}
