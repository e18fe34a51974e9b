package picture

import (
	"encoding/binary"
	"fmt"
)

// unfilter undoes a PNG row's filter in place. Above is the row before it, of the same length; step
// is the bytes from a pixel to the next.
func unfilter(filter byte, row, above []byte, step int) error {
	above = above[:len(row)]
	switch filter {
	case 0:
	case 1: // what is left of it
		for i := step; i < len(row); i++ {
			row[i] += row[i-step]
		}
	case 2:
		addBytes(row, above)
	case 3: // the mean of both
		for i := range min(step, len(row)) {
			row[i] += above[i] / 2
		}
		for i := step; i < len(row); i++ {
			row[i] += uint8((uint(row[i-step]) + uint(above[i])) / 2)
		}
	case 4:
		switch step {
		case 3:
			unpaeth3(row, above)
		case 4:
			unpaeth4(row, above)
		default:
			unpaeth(row, above, step)
		}
	default:
		return fmt.Errorf("row filter %d", filter)
	}
	return nil
}

// addBytes adds src to dst, eight bytes at a time: the top bits are added apart, so that nothing is
// carried into the next byte.
func addBytes(dst, src []byte) {
	const low = 0x7f7f7f7f7f7f7f7f
	for len(dst) >= 8 && len(src) >= 8 {
		a, b := binary.LittleEndian.Uint64(dst), binary.LittleEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst, (a&low+b&low)^(a^b)&^low)
		dst, src = dst[8:], src[8:]
	}
	for i := range dst {
		dst[i] += src[i]
	}
}

// unpaeth adds to each byte the one to its left, above, or above left that is nearest to left +
// above - above left.
func unpaeth(row, above []byte, step int) {
	for i := range min(step, len(row)) {
		row[i] += above[i]
	}
	for i := step; i < len(row); i++ {
		row[i] += paeth(int32(row[i-step]), int32(above[i]), int32(above[i-step]))
	}
}

// paeth chooses among left, above and above left (PNG specification, section 9.4).
func paeth(a, b, c int32) uint8 {
	pa, pb := b-c, a-c
	pc := pa + pb
	pa, pb, pc = abs(pa), abs(pb), abs(pc)
	if pb < pa {
		pa, a = pb, b
	}
	if pc < pa {
		a = c
	}
	return uint8(a)
}

func abs(v int32) int32 {
	m := v >> 31
	return (v ^ m) - m
}

// unpaeth3 is unpaeth with a step of 3: the neighbours stay in registers.
func unpaeth3(row, above []byte) {
	var a0, a1, a2, c0, c1, c2 int32
	for len(row) >= 3 && len(above) >= 3 {
		b0, b1, b2 := int32(above[0]), int32(above[1]), int32(above[2])
		v0, v1, v2 := row[0]+paeth(a0, b0, c0), row[1]+paeth(a1, b1, c1), row[2]+paeth(a2, b2, c2)
		row[0], row[1], row[2] = v0, v1, v2
		a0, a1, a2 = int32(v0), int32(v1), int32(v2)
		c0, c1, c2 = b0, b1, b2
		row, above = row[3:], above[3:]
	}
}

// unpaeth4 is unpaeth with a step of 4.
func unpaeth4(row, above []byte) {
	var a0, a1, a2, a3, c0, c1, c2, c3 int32
	for len(row) >= 4 && len(above) >= 4 {
		b0, b1, b2, b3 := int32(above[0]), int32(above[1]), int32(above[2]), int32(above[3])
		v0, v1 := row[0]+paeth(a0, b0, c0), row[1]+paeth(a1, b1, c1)
		v2, v3 := row[2]+paeth(a2, b2, c2), row[3]+paeth(a3, b3, c3)
		row[0], row[1], row[2], row[3] = v0, v1, v2, v3
		a0, a1, a2, a3 = int32(v0), int32(v1), int32(v2), int32(v3)
		c0, c1, c2, c3 = b0, b1, b2, b3
		row, above = row[4:], above[4:]
	}
}
