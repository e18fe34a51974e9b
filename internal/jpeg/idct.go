package jpeg

import "encoding/binary"

// The plain inverse transforms, which are the specification of the kernels. The transform is that
// of Loeffler, Ligtenberg and Moschytz with 11 multiplications, in fixed point of 13 bits; after
// the columns 2 bits of fraction are kept. Numbers have the widths that libjpeg-turbo's vector code
// gives them, 16 bits but for products, so that coefficients of damaged files give the same pixels
// too.

// The constants of the transform, times 8192.
const (
	f0298 = 2446
	f0390 = 3196
	f0541 = 4433
	f0765 = 6270
	f0899 = 7373
	f1175 = 9633
	f1501 = 12299
	f1847 = 15137
	f1961 = 16069
	f2053 = 16819
	f2562 = 20995
	f3072 = 25172
)

// idct8 dequantizes and transforms a block to 8x8 samples.
func idct8(dst []byte, stride int, b, quant *block) {
	var work [64]int16
	if flat(b) {
		for x := range 8 {
			v := b[x] * quant[x] << 2
			for y := range 8 {
				work[8*y+x] = v
			}
		}
	} else {
		for x := range 8 {
			var column [8]int16
			for y := range 8 {
				column[y] = b[8*y+x] * quant[8*y+x]
			}
			for y, v := range transform8(column, 11) {
				work[8*y+x] = v
			}
		}
	}
	for y := range 8 {
		row := transform8([8]int16(work[8*y:]), 18)
		out := dst[y*stride : y*stride+8 : y*stride+8]
		for x, v := range row {
			out[x] = sample(v)
		}
	}
}

// flat tells that rows 1 to 7 of a block are 0.
func flat(b *block) bool {
	var any int16
	for _, v := range b[8:] {
		any |= v
	}
	return any == 0
}

// sample limits a value to 8 bits around 128.
func sample(v int16) uint8 { return uint8(max(-128, min(v, 127)) + 128) }

// transform8 is the transform of 8 values, divided by 2^shift and rounded.
func transform8(in [8]int16, shift uint) (out [8]int16) {
	even := func(v int16) int32 { return int32(v) << 13 }
	tmp2 := f0541*int32(in[2]) + (f0541-f1847)*int32(in[6])
	tmp3 := (f0541+f0765)*int32(in[2]) + f0541*int32(in[6])
	tmp0, tmp1 := even(in[0]+in[4]), even(in[0]-in[4])
	tmp10, tmp13, tmp11, tmp12 := tmp0+tmp3, tmp0-tmp3, tmp1+tmp2, tmp1-tmp2

	s3, s4 := int32(in[7]+in[3]), int32(in[5]+in[1])
	z3 := (f1175-f1961)*s3 + f1175*s4
	z4 := f1175*s3 + (f1175-f0390)*s4
	i1, i3, i5, i7 := int32(in[1]), int32(in[3]), int32(in[5]), int32(in[7])
	odd0 := (f0298-f0899)*i7 - f0899*i1 + z3
	odd1 := (f2053-f2562)*i5 - f2562*i3 + z4
	odd2 := (f3072-f2562)*i3 - f2562*i5 + z3
	odd3 := (f1501-f0899)*i1 - f0899*i7 + z4

	half := int32(1) << (shift - 1)
	for i, pair := range [4][2]int32{{tmp10, odd3}, {tmp11, odd2}, {tmp12, odd1}, {tmp13, odd0}} {
		out[i] = narrow((pair[0] + pair[1] + half) >> shift)
		out[7-i] = narrow((pair[0] - pair[1] + half) >> shift)
	}
	return out
}

// narrow limits a value to 16 bits.
func narrow(v int32) int16 { return int16(max(-1<<15, min(v, 1<<15-1))) }

// The constants of the transform to 4 and to 2 values, times 8192.
const (
	f0211 = 1730
	f0509 = 4176
	f0601 = 4926
	f0720 = 5906
	f0850 = 6967
	f1061 = 8697
	f1272 = 10426
	f1451 = 11893
	f2172 = 17799
	f3624 = 29692
)

// idct4 transforms a block to 4x4 samples. Row and column 4 do not count.
func idct4(dst []byte, stride int, b, quant *block) {
	var work [8][4]int16 // by column
	onlyFirst := true
	for y := 1; y < 8; y++ {
		for x := range 8 {
			onlyFirst = onlyFirst && (y == 4 || b[8*y+x] == 0)
		}
	}
	for x := range 8 {
		var column [8]int16
		for y := range 8 {
			column[y] = b[8*y+x] * quant[8*y+x]
		}
		if v := column[0] << 2; onlyFirst {
			work[x] = [4]int16{v, v, v, v}
			continue
		}
		work[x] = transform4(column, 12)
	}
	for y := range 4 {
		var row [8]int16
		for x := range 8 {
			row[x] = work[x][y]
		}
		out := dst[y*stride : y*stride+4 : y*stride+4]
		for x, v := range transform4(row, 19) {
			out[x] = sample(v)
		}
	}
}

func transform4(in [8]int16, shift uint) (out [4]int16) {
	tmp0 := int32(in[0]) << 14
	tmp2 := f1847*int32(in[2]) - f0765*int32(in[6])
	i1, i3, i5, i7 := int32(in[1]), int32(in[3]), int32(in[5]), int32(in[7])
	odd0 := f1061*i1 - f2172*i3 + f1451*i5 - f0211*i7
	odd2 := f2562*i1 + f0899*i3 - f0601*i5 - f0509*i7
	half := int32(1) << (shift - 1)
	out[0] = narrow((tmp0 + tmp2 + odd2 + half) >> shift)
	out[1] = narrow((tmp0 - tmp2 + odd0 + half) >> shift)
	out[2] = narrow((tmp0 - tmp2 - odd0 + half) >> shift)
	out[3] = narrow((tmp0 + tmp2 - odd2 + half) >> shift)
	return out
}

// idct2 transforms a block to 2x2 samples. Rows and columns 2, 4 and 6 do not count.
func idct2(dst []byte, stride int, b, quant *block) {
	var sum, difference [8]int32
	for _, x := range [5]int{0, 1, 3, 5, 7} {
		v := func(y int) int32 { return int32(b[8*y+x] * quant[8*y+x]) }
		even := v(0) << 15
		odd := f3624*v(1) - f1272*v(3) + f0850*v(5) - f0720*v(7)
		sum[x], difference[x] = (even+odd+1<<12)>>13, (even-odd+1<<12)>>13
	}
	for y, row := range [2]*[8]int32{&sum, &difference} {
		v := func(x int) int32 { return int32(narrow(row[x])) }
		even := row[0] << 15
		odd := f3624*v(1) - f1272*v(3) + f0850*v(5) - f0720*v(7)
		dst[y*stride] = sample(narrow((even + odd + 1<<19) >> 20))
		dst[y*stride+1] = sample(narrow((even - odd + 1<<19) >> 20))
	}
}

// dcSample is the one value of a block of which only the first coefficient is not 0, at 8x8 and
// 4x4.
func dcSample(dc, quant int16) uint8 { return sample(int16((int32(dc*quant<<2) + 16) >> 5)) }

// dcPair is the same at 2x2.
func dcPair(dc, quant int16) uint8 { return sample(narrow((int32(dc*quant)<<17 + 1<<19) >> 20)) }

// dcReduced is the transform to one sample. Far out of range it wraps, as libjpeg's table does.
func dcReduced(dc, quant int16) uint8 {
	v := (int32(dc)*int32(quant) + 4) >> 3
	return sample(int16(v << 22 >> 22))
}

func fillSquare(dst []byte, stride, size int, v uint8) {
	word := uint64(v) * 0x0101010101010101
	for y := range size {
		row := dst[y*stride:]
		switch size {
		case 8:
			binary.LittleEndian.PutUint64(row, word)
		case 4:
			binary.LittleEndian.PutUint32(row, uint32(word))
		default:
			binary.LittleEndian.PutUint16(row, uint16(word))
		}
	}
}
