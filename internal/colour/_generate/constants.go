package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// constants are those of all routines. Each has 64 bytes, of which AVX2 reads the first half.
type constants struct {
	most Mem // the largest value, as a float

	// Shuffles of the bytes of four pixels, 12, in each part of 16.
	channel             [3]Mem // to 32-bit numbers of red, green or blue
	redGreen, greenBlue Mem    // to pairs of 16-bit numbers
	fromPacked          Mem    // from four reds, four greens and four blues
	thrice              Mem    // of 32-bit numbers: each lowest byte three times
	firstThree          Mem    // of 32-bit numbers: the lowest three bytes

	// What pairs are multiplied with for the luma. Green's factor has 16 bits, and is split in two
	// equal ones.
	redGreenFactors, greenBlueFactors, half Mem

	// Orders for VPERMD, by how many 32-bit numbers a register holds.
	inOrder         map[int]Mem // behind two packs of four registers
	apart, together map[int]Mem // three numbers to each part of four, and back

	turn   turnConstants
	floats floatsConstants
}

func newConstants() *constants {
	c := &constants{
		most:             floats("most", 255),
		redGreenFactors:  integers("redGreenFactors", 19595|19235<<16),
		greenBlueFactors: integers("greenBlueFactors", 19235|7471<<16),
		half:             integers("half", 0x8000),
		turn:             newTurnConstants(),
		floats:           newFloatsConstants(),
	}
	for i := range c.channel {
		c.channel[i] = shuffle("channel"+string("RGB"[i]), func(at int) int {
			if at%4 == 0 {
				return at/4*3 + i
			}
			return -1
		})
	}
	pair := func(name string, first int) Mem {
		return shuffle(name, func(at int) int {
			if at%2 == 0 {
				return at/4*3 + first + at%4/2
			}
			return -1
		})
	}
	c.redGreen, c.greenBlue = pair("redGreen", 0), pair("greenBlue", 1)
	first12 := func(name string, f func(at int) int) Mem {
		return shuffle(name, func(at int) int {
			if at < 12 {
				return f(at)
			}
			return -1
		})
	}
	c.fromPacked = first12("fromPacked", func(at int) int { return at%3*4 + at/3 })
	c.thrice = first12("thrice", func(at int) int { return at / 3 * 4 })
	c.firstThree = first12("firstThree", func(at int) int { return at/3*4 + at%3 })
	c.inOrder, c.apart, c.together = map[int]Mem{}, map[int]Mem{}, map[int]Mem{}
	for _, lanes := range []int{8, 16} {
		parts := lanes / 4
		c.inOrder[lanes] = order("inOrder", lanes, func(i int) int { return i%parts*4 + i/parts })
		c.apart[lanes] = order("apart", lanes, func(i int) int { return i/4*3 + min(i%4, 2) })
		c.together[lanes] = order("together", lanes, func(i int) int { return min(i, 3*parts-1)/3*4 + min(i, 3*parts-1)%3 })
	}
	return c
}

// integers makes a constant of 32-bit numbers, repeated.
func integers(name string, values ...uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(values[i%len(values)]))
	}
	return m
}

// floats makes a constant of floats, repeated.
func floats(name string, values ...float32) Mem {
	var bits []uint32
	for _, v := range values {
		bits = append(bits, math.Float32bits(v))
	}
	return integers(name, bits...)
}

// order makes a constant for VPERMD.
func order(name string, lanes int, f func(i int) int) Mem {
	var list []uint32
	for i := range lanes {
		list = append(list, uint32(f(i)))
	}
	return integers(name+decimal(lanes), list...)
}

// shuffle makes a constant for VPSHUFB. Below 0 is a zero.
func shuffle(name string, f func(at int) int) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range 64 {
		DATA(i, U8(max(f(i%16), -1)&0xff))
	}
	return m
}
