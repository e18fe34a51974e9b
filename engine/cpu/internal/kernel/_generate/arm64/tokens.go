package main

import "moco/engine/cpu/internal/kernel/_generate/gelu"

// This file is what transformers need besides products: see tokens.go one folder up, which says why
// each routine is as it is. All add in the order of AVX2's.

// rational is one of GELU's functions, with the name of its constants.
type rational struct {
	name string
	gelu.Function
}

var (
	cumulative = rational{"cumulativeNEON", gelu.Cumulative}
	slope      = rational{"slopeNEON", gelu.Slope}
)

// rational writes the constants.
func (a *assembler) rational(f rational) {
	constants := append([]float64{f.Limit, -f.Limit, 0.5}, f.Top...)
	a.table(f.name, append(constants, f.Bottom...))
}

// quotient is a rational function with its constants in registers, and room for two arguments.
type quotient struct {
	*assembler
	high, low, half       vector
	top, bottom           []vector
	c, square, sum, other []vector
	spare                 []vector
}

// quotient loads the constants of f. It overwrites the pointer.
func (p *strip) quotient(f rational, table register) quotient {
	p.op("MOVD", "$"+f.name+"<>(SB)", table)
	k := p.take(3 + len(f.Top) + len(f.Bottom))
	p.spread(table, k...)
	q := quotient{assembler: p.assembler, high: k[0], low: k[1], half: k[2]}
	q.top, q.bottom = k[3:3+len(f.Top)], k[3+len(f.Top):]
	q.c, q.square, q.sum, q.other, q.spare = p.take(2), p.take(2), p.take(2), p.take(2), p.take(2)
	return q
}

// of leaves f of two registers in two others and returns these. Steps of both are interleaved.
func (q quotient) of(x []vector) []vector {
	for i := range x {
		q.max(q.low, x[i], q.c[i])
		q.min(q.high, q.c[i], q.c[i])
		q.multiply(q.c[i], q.c[i], q.square[i])
	}
	top, free := q.horner(q.top, q.sum, q.spare)
	bottom, _ := q.horner(q.bottom, q.other, free)
	for i := range x {
		q.multiply(q.c[i], top[i], top[i])
		q.divide(bottom[i], top[i], top[i])
		q.add(q.half, top[i], top[i])
	}
	return top
}

// horner evaluates a polynomial of square. It returns the registers with the result and those that
// are free.
func (q quotient) horner(k, now, next []vector) (result, free []vector) {
	for i := range now {
		q.move(k[len(k)-1], now[i])
	}
	for d := len(k) - 2; d >= 0; d-- {
		for i := range now {
			q.move(k[d], next[i])
			q.multiplyAdd(now[i], q.square[i], next[i])
		}
		now, next = next, now
	}
	return now, next
}

func (a *assembler) gelu(bf16 bool) {
	p := a.strip(1, bf16)
	y, x, rows, stride, bias, table := general[0], general[1], general[2], general[3], general[4], general[5]
	p.routine(p.name("gelu"), p.name("gelu")+" is y = GELU(x + bias) of a strip: y, x, bias; rows, stride.",
		[]register{y, x, bias}, rows, stride)
	b := p.factors(bias)
	q, xv := p.quotient(cumulative, table), p.take(2)
	p.puts()
	p.walk(rows, stride, []register{x, y}, func(int) {
		twice(func(first int) {
			p.get(x, first, xv)
			for i, v := range xv {
				p.add(b[first+i], v, v)
			}
			for i, h := range q.of(xv) {
				p.multiply(h, xv[i], xv[i])
			}
			p.put(y, first, q.c[0], xv)
		})
	})
	p.finish()
}

func (a *assembler) geluGrad(bf16 bool) {
	p := a.strip(1, bf16)
	dx, dy, x, rows, stride, table := general[0], general[1], general[2], general[3], general[4], general[5]
	p.routine(p.name("geluGrad"), p.name("geluGrad")+" is dx = dy * GELU'(x) of a strip: dx, dy, x; rows, stride.",
		[]register{dx, dy, x}, rows, stride)
	q, xv := p.quotient(slope, table), p.take(2)
	p.puts()
	p.walk(rows, stride, []register{dx, dy, x}, func(int) {
		twice(func(first int) {
			p.get(x, first, xv)
			h := q.of(xv)
			p.get(dy, first, xv)
			for i := range xv {
				p.multiply(h[i], xv[i], xv[i])
			}
			p.put(dx, first, q.c[0], xv)
		})
	})
	p.finish()
}

// rowWalk goes through rows of channels one after the other, several times through each.
type rowWalk struct {
	*strip
	stride, steps, count register
	at                   map[register]register // where a walk through a row is
}

// rowWalk takes registers from the general one `first` on.
func (p *strip) rowWalk(stride register, first int, pointers ...register) *rowWalk {
	w := &rowWalk{strip: p, stride: stride, steps: general[first], count: general[first+1], at: map[register]register{}}
	for i, r := range pointers {
		w.at[r] = general[first+2+i]
	}
	shift := number(6)
	if p.bf16 {
		shift = 5
	}
	p.op("LSR", shift, stride, w.steps)
	return w
}

// pass runs body for each 16 channels of a row. It walks through rows of values and of factors.
func (w *rowWalk) pass(l label, rows, factors []register, body func()) {
	for _, r := range append(rows, factors...) {
		w.op("MOVD", r, w.at[r])
	}
	w.op("MOVD", w.steps, w.count)
	next := w.each(l, w.count)
	body()
	size := number(64)
	if w.bf16 {
		size = 32
	}
	for _, r := range rows {
		w.op("ADD", size, w.at[r])
	}
	for _, r := range factors {
		w.op("ADD", number(64), w.at[r])
	}
	next()
}

// factor loads two registers of a row of float32.
func (w *rowWalk) factor(row register, first int, to []vector) {
	w.load(place{w.at[row], first * vectorBytes}, to...)
}

// total adds up four registers and then the lanes, and leaves the result in all lanes of the first.
func (w *rowWalk) total(sums []vector) {
	w.add(sums[2], sums[0], sums[0])
	w.add(sums[3], sums[1], sums[1])
	w.add(sums[1], sums[0], sums[0])
	w.word(three(faddp, sums[0], sums[0], sums[0]))
	w.word(three(faddp, sums[0], sums[0], sums[0]))
}

// moments leaves a row's mean in `mean` and 1/sqrt(variance + epsilon) in `inverse`. k holds
// 1/channels, epsilon and 1.
func (w *rowWalk) moments(x register, k, sums, t []vector, mean, inverse vector) {
	w.zero(sums...)
	w.pass("sum", []register{x}, nil, func() {
		twice(func(first int) {
			w.get(w.at[x], first, t)
			for i, v := range t {
				w.add(v, sums[first+i], sums[first+i])
			}
		})
	})
	w.total(sums)
	w.multiply(k[0], sums[0], mean)
	w.zero(sums...)
	w.pass("square", []register{x}, nil, func() {
		twice(func(first int) {
			w.get(w.at[x], first, t)
			for i, v := range t {
				w.subtract(mean, v, v)
				w.multiplyAdd(v, v, sums[first+i])
			}
		})
	})
	w.total(sums)
	w.move(k[1], inverse)
	w.multiplyAdd(k[0], sums[0], inverse)
	w.word(two(fsqrt, inverse, inverse))
	w.divide(inverse, k[2], inverse)
}

func (a *assembler) layerNorm(bf16 bool) {
	p := a.strip(1, bf16)
	y, x, gamma, beta := general[0], general[1], general[2], general[3]
	factors, rows, stride := general[4], general[5], general[6]
	name := p.name("layerNorm")
	p.routine(name, name+" normalises rows: y, x, gamma, beta, factors (1/channels, epsilon, 1); rows, bytes of a row.",
		[]register{y, x, gamma, beta, factors}, rows, stride)
	w := p.rowWalk(stride, 7, y, x, gamma, beta)
	k, sums, t, moments := p.take(3), p.take(wide), p.take(2), p.take(2)
	g, b := p.take(2), p.take(2)
	mean, inverse := moments[0], moments[1]
	p.puts()
	p.spread(factors, k...)
	next := p.each("row", rows)
	w.moments(x, k, sums, t, mean, inverse)
	w.pass("write", []register{y, x}, []register{gamma, beta}, func() {
		twice(func(first int) {
			p.get(w.at[x], first, t)
			w.factor(gamma, first, g)
			w.factor(beta, first, b)
			for i, v := range t {
				p.subtract(mean, v, v)
				p.multiply(inverse, v, v)
				p.multiplyAdd(v, g[i], b[i])
			}
			p.put(w.at[y], first, t[0], b)
		})
	})
	p.op("ADD", stride, x)
	p.op("ADD", stride, y)
	next()
	p.finish()
}

func (a *assembler) layerNormGrad(plus, bf16 bool) {
	p := a.strip(1, bf16)
	dx, dy, x, gamma, dgamma, dbeta := general[0], general[1], general[2], general[3], general[4], general[5]
	factors, other, rows, stride := general[6], general[7], general[8], general[9]
	name, pointers := p.name("layerNormGrad"), []register{dx, dy, x}
	if plus {
		name, pointers = p.name("layerNormGradAdd"), append(pointers, other)
	}
	p.routine(name, name+" is the gradient of layer norm, the sums of dy*n and dy added to dgamma and dbeta: "+
		"dx, dy, x, gamma, dgamma, dbeta, factors (1/channels, epsilon, 1), other gradient; rows, bytes of a row.",
		[]register{dx, dy, x, gamma, dgamma, dbeta, factors, other}, rows, stride)
	w := p.rowWalk(stride, 10, append(pointers, gamma, dgamma, dbeta)...)
	k, sums, dots, moments := p.take(3), p.take(wide), p.take(wide), p.take(2)
	d, n, f, sum := p.take(2), p.take(2), p.take(2), p.take(2)
	mean, inverse := moments[0], moments[1]
	p.puts()
	p.spread(factors, k...)
	next := p.each("row", rows)
	w.moments(x, k, sums, n, mean, inverse)
	p.zero(append(sums, dots...)...)
	w.pass("dot", []register{dy, x}, []register{gamma}, func() {
		twice(func(first int) {
			p.get(w.at[dy], first, d)
			p.get(w.at[x], first, n)
			w.factor(gamma, first, f)
			for i := range d {
				p.multiply(f[i], d[i], d[i])
				p.subtract(mean, n[i], n[i])
				p.add(d[i], sums[first+i], sums[first+i])
				p.multiplyAdd(d[i], n[i], dots[first+i])
			}
		})
	})
	w.total(sums)
	w.total(dots)
	p.multiply(k[0], sums[0], sums[0])
	p.multiply(k[0], dots[0], dots[0])
	p.multiply(inverse, dots[0], dots[0])
	w.pass("write", pointers, []register{gamma, dgamma, dbeta}, func() {
		twice(func(first int) {
			p.get(w.at[dy], first, d)
			p.get(w.at[x], first, n)
			w.factor(dbeta, first, sum)
			w.factor(dgamma, first, f)
			for i := range d {
				p.subtract(mean, n[i], n[i])
				p.multiply(inverse, n[i], n[i])
				p.add(d[i], sum[i], sum[i])
				p.multiplyAdd(d[i], n[i], f[i])
			}
			p.store(place{w.at[dbeta], first * vectorBytes}, sum...)
			p.store(place{w.at[dgamma], first * vectorBytes}, f...)
			w.factor(gamma, first, f)
			for i := range d {
				p.multiply(f[i], d[i], d[i])
				p.subtract(sums[0], d[i], d[i])
				p.multiplySubtract(dots[0], n[i], d[i])
				p.multiply(inverse, d[i], d[i])
			}
			if plus {
				p.get(w.at[other], first, n)
				for i := range d {
					p.add(n[i], d[i], d[i])
				}
			}
			p.put(w.at[dx], first, n[0], d)
		})
	})
	for _, r := range pointers {
		p.op("ADD", stride, r)
	}
	next()
	p.finish()
}

func (a *assembler) adam() {
	outP, outM, outV, p := general[0], general[1], general[2], general[3]
	m, v, g, factors, n := general[4], general[5], general[6], general[7], general[8]
	pointers := []register{outP, outM, outV, p, m, v, g}
	a.routine("adamNEON", "adamNEON is a step of AdamW: results, p, m, v, gradient, factors (see AdamArgs); blocks.",
		append(pointers, factors), n)
	f := vectors(0, 8)
	gv, first, second, value, root := vectors(8, 2), vectors(10, 2), vectors(12, 2), vectors(14, 2), vectors(16, 2)
	a.spread(factors, f...)
	a.run(n, pointers, func() {
		for at := 0; at < bytesEach; at += 2 * vectorBytes {
			a.load(place{g, at}, gv...)
			a.load(place{m, at}, first...)
			a.load(place{v, at}, second...)
			a.load(place{p, at}, value...)
			for i := range gv {
				a.multiply(f[0], first[i], first[i])
				a.multiplyAdd(gv[i], f[1], first[i])
				a.multiply(f[2], second[i], second[i])
				a.multiply(gv[i], gv[i], gv[i])
				a.multiplyAdd(gv[i], f[3], second[i])
			}
			a.store(place{outM, at}, first...)
			a.store(place{outV, at}, second...)
			for i := range gv {
				a.word(two(fsqrt, second[i], second[i]))
				a.move(f[6], root[i])
				a.multiplyAdd(second[i], f[5], root[i])
				a.divide(root[i], first[i], first[i])
				a.multiply(f[7], value[i], value[i])
				a.multiplySubtract(first[i], f[4], value[i])
			}
			a.store(place{outP, at}, value...)
		}
	})
	a.finish()
}
