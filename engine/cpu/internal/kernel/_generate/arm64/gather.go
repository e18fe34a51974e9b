package main

import "fmt"

// gathering is a way to lay rows side by side: see gather.go one folder up. step makes 16 values of
// the result.
type gathering struct {
	name string
	rows int
	size int
	step func(a *assembler, from []register, to register)
}

// gatherings are those of amd64, and one that interleaves the values of four rows of bfloat16.
var gatherings = []gathering{
	{"gather", 1, 4, func(a *assembler, from []register, to register) {
		v := vectors(0, groupVectors)
		a.load(place{from[0], 0}, v...)
		a.store(place{to, 0}, v...)
	}},
	{"gatherHalf", 1, 2, func(a *assembler, from []register, to register) {
		v := vectors(0, groupVectors)
		a.loadBFloat16(place{from[0], 0}, v...)
		a.store(place{to, 0}, v...)
	}},
	{"gatherPairs", 2, 2, func(a *assembler, from []register, to register) {
		x, y, free := vectors(0, 2), vectors(2, 2), vectors(4, 4)
		a.load(place{from[0], 0}, x...)
		a.load(place{from[1], 0}, y...)
		for i := range x {
			a.interleaveTwo(x[i], y[i], free[2*i:])
		}
		a.store(place{to, 0}, free...)
	}},
	{"gatherQuads", 4, 2, func(a *assembler, from []register, to register) {
		var halves [2][]vector
		for i, r := range from {
			v := vectors(2*i, 2)
			a.load(place{r, 0}, v...)
			halves[0], halves[1] = append(halves[0], v[0]), append(halves[1], v[1])
		}
		for i, four := range halves {
			a.store(place{to, i * 4 * vectorBytes}, a.interleaveFour(four, vectors(8+8*i, 8))...)
		}
	}},
}

// gather walks down a list of offsets. A negative offset stands for a row of zeros. Its pointer is
// set, without a branch, to a place with zeros, and its step to 0.
func (a *assembler) gather(g gathering) {
	dst, src, list, count, pitch, width := general[0], general[1], general[2], general[3], general[4], general[5]
	to, left, zeros, all := general[6], general[7], general[8], general[9]
	from, step := general[10:10+g.rows], general[14:14+g.rows]
	name, shift := a.name(g.name), map[int]int{2: 1, 4: 2}[g.size]
	a.routine(name, name+" lays rows side by side: dst, src, offsets; rows of dst, pitch, steps of a row.",
		[]register{dst, src, list}, count, pitch, width)
	a.op("MOVD", "$nothing<>(SB)", zeros)
	a.op("MOVD", number(groupFloats*g.size), all)
	next := a.each("row", count)
	for i := range g.rows {
		a.op("MOVW", place{list, 4 * i}, left)
		a.op("ADD", fmt.Sprintf("%v<<%d", left, shift), src, from[i])
		a.op("CMP", number(0), left)
		a.op("CSEL", "LT", zeros, from[i], from[i])
		a.op("CSEL", "LT", "ZR", all, step[i])
	}
	a.op("MOVD", dst, to)
	a.op("MOVD", width, left)
	nextStep := a.each("step", left)
	g.step(a, from, to)
	for i := range g.rows {
		a.op("ADD", step[i], from[i])
	}
	a.op("ADD", number(max(groupBytes, groupBytes/2*g.rows)), to) // float32, or bfloat16 of two rows or four
	nextStep()
	a.op("ADD", number(4*g.rows), list)
	a.op("ADD", pitch, dst)
	next()
	a.finish()
}
