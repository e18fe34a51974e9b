package main

import "fmt"

// The routines of batch norm walk down a strip of 16 channels, four registers wide, over all rows,
// with the strip's factors in registers. Sums are unrolled over two rows, to have enough additions
// under way. In the other routines, the rest of a row's work hides their latency.

// wide is the width of a strip in registers.
const wide = 4

// strip is a walk over rows in progress.
type strip struct {
	*assembler
	rows int    // unrolled
	bf16 bool   // rows are bfloat16
	next int    // first free register
	bias vector // for put
}

func (a *assembler) strip(rows int, bf16 bool) *strip {
	return &strip{assembler: a, rows: rows, bf16: bf16}
}

// name is the routine's name, with its width of 16 channels.
func (p *strip) name(what string) string {
	return p.assembler.name(fmt.Sprintf("%s%s%d", what, half(p.bf16), wide*lanes))
}

// get loads two registers of a row, starting with register `first` of the row.
func (p *strip) get(row register, first int, to []vector) {
	if p.bf16 {
		p.loadBFloat16(place{row, first * vectorBytes / 2}, to...)
		return
	}
	p.load(place{row, first * vectorBytes}, to...)
}

// put stores two registers. It overwrites them and tmp.
func (p *strip) put(row register, first int, tmp vector, from []vector) {
	if p.bf16 {
		p.storeBFloat16(place{row, first * vectorBytes / 2}, p.bias, tmp, from...)
		return
	}
	p.store(place{row, first * vectorBytes}, from...)
}

// puts takes the register that put needs.
func (p *strip) puts() {
	if p.bf16 {
		p.bias = p.take(1)[0]
		p.roundingBias(p.bias)
	}
}

// take returns n registers.
func (p *strip) take(n int) []vector {
	r := vectors(p.next, n)
	p.next += n
	return r
}

// factors takes registers for a row of factors and loads them.
func (p *strip) factors(from register) []vector {
	r := p.take(wide)
	p.load(place{from, 0}, r...)
	return r
}

// zeros takes n cleared registers.
func (p *strip) zeros(n int) []vector {
	r := p.take(n)
	p.zero(r...)
	return r
}

// walk runs body over all rows, first `rows` at a time, then one by one. pointers advance by stride
// after each row. body gets the number of the unrolled row that it makes.
func (p *strip) walk(count, stride register, pointers []register, body func(unrolled int)) {
	step := func(unrolled int) {
		body(unrolled)
		for _, r := range pointers {
			p.op("ADD", stride, r)
		}
	}
	if p.rows > 1 {
		p.op("SUBS", number(p.rows), count)
		p.op("BLT", label("rest"))
		p.op("PCALIGN", number(32))
		p.label("rows")
		for u := range p.rows {
			step(u)
		}
		p.op("SUBS", number(p.rows), count)
		p.op("BGE", label("rows"))
		p.label("rest")
		p.op("ADDS", number(p.rows), count)
		p.op("BEQ", label("done"))
	}
	next := p.each("row", count)
	step(0)
	next()
	p.label("done")
}

// twice runs body for both halves of a strip's row. A half is two registers, as many as one load
// brings, and first is the first of them.
func twice(body func(first int)) {
	for v := 0; v < wide; v += 2 {
		body(v)
	}
}

// addInto adds the sums of the unrolled rows, in order, to the memory at `to`. free holds registers
// to load it into.
func (p *strip) addInto(to register, sums, free []vector) {
	total := sums[:wide]
	for i, s := range sums[wide:] {
		p.add(s, total[i%wide], total[i%wide])
	}
	p.addFrom(place{to, 0}, total, free)
	p.store(place{to, 0}, total...)
}

func (a *assembler) sums(bf16 bool) {
	p := a.strip(2, bf16)
	x, rows, stride, sum := general[0], general[1], general[2], general[3]
	p.routine(p.name("sums"), p.name("sums")+" adds up a strip: x, sum; rows, stride.", []register{x, sum}, rows, stride)
	totals, xv := p.zeros(wide*p.rows), p.take(wide)
	p.walk(rows, stride, []register{x}, func(u int) {
		twice(func(first int) {
			p.get(x, first, xv[first:first+2])
			for v := first; v < first+2; v++ {
				p.add(xv[v], totals[u*wide+v], totals[u*wide+v])
			}
		})
	})
	p.addInto(sum, totals, xv)
	p.finish()
}

func (a *assembler) squares(bf16 bool) {
	p := a.strip(2, bf16)
	x, rows, stride, mean, square := general[0], general[1], general[2], general[3], general[4]
	p.routine(p.name("squares"), p.name("squares")+" adds up squares around the mean: x, mean, square; rows, stride.",
		[]register{x, mean, square}, rows, stride)
	m, totals, xv := p.factors(mean), p.zeros(wide*p.rows), p.take(wide)
	p.walk(rows, stride, []register{x}, func(u int) {
		twice(func(first int) {
			p.get(x, first, xv[first:first+2])
			for v := first; v < first+2; v++ {
				p.subtract(m[v], xv[v], xv[v])
				p.multiplyAdd(xv[v], xv[v], totals[u*wide+v])
			}
		})
	})
	p.addInto(square, totals, xv)
	p.finish()
}

func (a *assembler) normalise(residual, bf16 bool) {
	p := a.strip(1, bf16)
	what := "normalise"
	if residual {
		what = "normaliseAdd"
	}
	y, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4]
	scale, shift, floor, add := general[5], general[6], general[7], general[8]
	p.routine(p.name(what),
		p.name(what)+" normalises a strip: y, x, mean, scale, shift, floor, residual; rows, stride.",
		[]register{y, x, mean, scale, shift, floor, add}, rows, stride)
	pointers := []register{x, y}
	if residual {
		pointers = append(pointers, add)
	}
	m, factor, offset := p.factors(mean), p.factors(scale), p.factors(shift)
	low, xv, yv := p.take(1)[0], p.take(wide), p.take(wide)
	p.puts()
	p.spread(floor, low) // 0 for a ReLU, minus infinity without
	p.walk(rows, stride, pointers, func(int) {
		twice(func(first int) {
			now := xv[first : first+2]
			p.get(x, first, now)
			for v := first; v < first+2; v++ {
				p.subtract(m[v], xv[v], xv[v])
				p.move(offset[v], yv[v])
				p.multiplyAdd(xv[v], factor[v], yv[v])
			}
			if residual {
				p.get(add, first, now)
				for v := first; v < first+2; v++ {
					p.add(xv[v], yv[v], yv[v])
				}
			}
			for v := first; v < first+2; v++ {
				p.max(low, yv[v], yv[v])
			}
			p.put(y, first, xv[first], yv[first:first+2])
		})
	})
	p.finish()
}

// gate is g = dy, or g = dy where (x-mean)*scale+shift is positive and 0 elsewhere. The sign is
// that of the same multiply-add that the forward pass did.
type gate struct {
	sign         bool
	scale, shift []vector
	mask         []vector
}

func (p *strip) gate(sign bool, scale, shift register) gate {
	g := gate{sign: sign}
	if sign {
		g.scale, g.shift, g.mask = p.factors(scale), p.factors(shift), p.take(2)
	}
	return g
}

// open turns dy into g for the half of a row that starts at register `first`. x holds x-mean.
func (p *strip) open(g gate, first int, x, dy []vector) {
	if !g.sign {
		return
	}
	for i := range dy {
		p.move(g.shift[first+i], g.mask[i])
		p.multiplyAdd(x[i], g.scale[first+i], g.mask[i])
		p.positive(g.mask[i], g.mask[i])
		p.and(g.mask[i], dy[i], dy[i])
	}
}

func signed(what string, sign bool) string {
	if sign {
		return what + "Sign"
	}
	return what
}

func (a *assembler) gradSums(sign, bf16 bool) {
	p := a.strip(1, bf16)
	what := signed("gradSums", sign)
	dy, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4]
	sum, dot, scale, shift := general[5], general[6], general[7], general[8]
	p.routine(p.name(what),
		p.name(what)+" adds up g and g*(x-mean): dy, x, mean, sum, dot, scale, shift; rows, stride.",
		[]register{dy, x, mean, sum, dot, scale, shift}, rows, stride)
	m, totals, dots := p.factors(mean), p.zeros(wide), p.zeros(wide)
	g := p.gate(sign, scale, shift)
	xv, gv := p.take(2), p.take(2)
	p.walk(rows, stride, []register{dy, x}, func(int) {
		twice(func(first int) {
			p.get(x, first, xv)
			p.get(dy, first, gv)
			for i := range xv {
				p.subtract(m[first+i], xv[i], xv[i])
			}
			p.open(g, first, xv, gv)
			for i := range xv {
				p.add(gv[i], totals[first+i], totals[first+i])
				p.multiplyAdd(gv[i], xv[i], dots[first+i])
			}
		})
	})
	p.addInto(sum, totals, m)
	p.addInto(dot, dots, m)
	p.finish()
}

func (a *assembler) gradInput(sign, bf16 bool) {
	p := a.strip(1, bf16)
	what := signed("gradInput", sign)
	dx, dy, x, rows, stride, mean := general[0], general[1], general[2], general[3], general[4], general[5]
	fa, fb, fc, scale, shift := general[6], general[7], general[8], general[9], general[10]
	p.routine(p.name(what),
		p.name(what)+" is dx = a*g + (b*(x-mean) + c): dx, dy, x, mean, a, b, c, scale, shift; rows, stride.",
		[]register{dx, dy, x, mean, fa, fb, fc, scale, shift}, rows, stride)
	m, av, bv, cv := p.factors(mean), p.factors(fa), p.factors(fb), p.factors(fc)
	g := p.gate(sign, scale, shift)
	// The result may take the mask's registers: the mask is free once g is known.
	xv, gv, to := p.take(2), p.take(2), g.mask
	if !sign {
		to = p.take(2)
	}
	p.puts()
	p.walk(rows, stride, []register{dx, dy, x}, func(int) {
		twice(func(first int) {
			p.get(x, first, xv)
			p.get(dy, first, gv)
			for i := range xv {
				p.subtract(m[first+i], xv[i], xv[i])
			}
			p.open(g, first, xv, gv)
			for i := range xv {
				p.move(cv[first+i], to[i])
				p.multiplyAdd(xv[i], bv[first+i], to[i])
				p.multiplyAdd(gv[i], av[first+i], to[i])
			}
			p.put(dx, first, xv[0], to)
		})
	})
	p.finish()
}
