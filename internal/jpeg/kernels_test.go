package jpeg

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// eachPath runs f for every kernel path by name; one that this machine lacks is skipped by name.
func eachPath(t *testing.T, f func(t *testing.T, k *kernels)) {
	for _, name := range []string{"avx2", "portable"} {
		t.Run(name, func(t *testing.T) {
			k, err := kernelsFor(name)
			if err != nil {
				t.Skip("NOT TESTED: this machine does not run it")
			}
			f(t, k)
		})
	}
}

const guard = 0xA5

// guarded makes n bytes at an odd address, and room of `after` bytes behind; check tells whether
// what lies further out was written to.
func guarded(n, after, offset int) (inner []byte, check func(t *testing.T)) {
	all := bytes.Repeat([]byte{guard}, offset+64+n+after+64)
	from := offset + 64
	return all[from : from+n+after], func(t *testing.T) {
		t.Helper()
		for i, v := range all {
			if (i < from || i >= from+n+after) && v != guard {
				t.Fatalf("wrote %d at %d, outside of an output of %d", v, i-from, n)
			}
		}
	}
}

// coefficientKinds are blocks of all that can be in one: small and full range, sparse and dense,
// one row only, and the extremes.
func coefficientKinds(r *rand.Rand) (b, quant block) {
	full := func() int16 { return int16(r.Uint32()) }
	for i := range quant {
		quant[i] = int16(1 + r.IntN(255))
		if r.IntN(20) == 0 {
			quant[i] = full()
		}
	}
	value := []func() int16{
		full,
		func() int16 { return int16(r.IntN(64) - 32) },
		func() int16 { return int16(r.IntN(2048) - 1024) },
		func() int16 { return [4]int16{-1 << 15, 1<<15 - 1, -1, 1}[r.IntN(4)] },
	}[r.IntN(4)]
	switch r.IntN(4) {
	case 0: // dense
		for i := range b {
			b[i] = value()
		}
	case 1: // a few
		for range 1 + r.IntN(6) {
			b[r.IntN(64)] = value()
		}
	case 2: // the first row, and perhaps row 4, which a transform to 4 does not see
		for i := range 8 {
			b[i] = value()
		}
		if r.IntN(2) == 0 {
			b[32+r.IntN(8)] = value()
		}
	case 3:
		b[0] = value()
	}
	return b, quant
}

func TestTransforms(t *testing.T) {
	eachPath(t, func(t *testing.T, k *kernels) {
		for _, c := range []struct {
			size      int
			got, want func(dst []byte, stride int, b, quant *block)
		}{{8, k.idct8, idct8}, {4, k.idct4, idct4}, {2, k.idct2, idct2}} {
			r := rand.New(rand.NewPCG(1, uint64(c.size)))
			for n := range 20000 {
				b, quant := coefficientKinds(r)
				before := b
				stride := c.size + n%5*3
				got, check := guarded(stride*(c.size-1)+c.size, 0, n%7)
				want := bytes.Clone(got)
				c.got(got, stride, &b, &quant)
				c.want(want, stride, &b, &quant)
				if !bytes.Equal(got, want) || b != before {
					t.Fatalf("to %d, case %d:\n%d\ntimes %d\ngives %d\nwant  %d", c.size, n, b, quant, got, want)
				}
				check(t)
			}
		}
	})
}

// TestFlat holds the values of blocks with DC alone to those of the transforms.
func TestFlat(t *testing.T) {
	quant := block{37, 1}
	for dc := range 1 << 16 {
		b := block{int16(dc)}
		eight, four, two := make([]byte, 64), make([]byte, 16), make([]byte, 4)
		idct8(eight, 8, &b, &quant)
		idct4(four, 4, &b, &quant)
		idct2(two, 2, &b, &quant)
		want := bytes.Repeat([]byte{dcSample(b[0], quant[0])}, 64)
		pair := bytes.Repeat([]byte{dcPair(b[0], quant[0])}, 4)
		if !bytes.Equal(eight, want) || !bytes.Equal(four, want[:16]) || !bytes.Equal(two, pair) {
			t.Fatalf("DC %d gives %d, %d and %d, want %d and %d", b[0], eight, four, two, want[0], pair[0])
		}
	}
}

func TestRows(t *testing.T) {
	eachPath(t, func(t *testing.T, k *kernels) {
		for n := 1; n <= 100; n++ {
			for offset := range 3 {
				r := rand.New(rand.NewPCG(uint64(n), uint64(offset)))
				in := make([][]byte, 3)
				for i := range in {
					in[i] = make([]byte, offset+n+2+slack)[offset:]
					for x := range in[i] {
						in[i][x] = byte(r.IntN(256))
						if r.IntN(4) == 0 {
							in[i][x] = byte(r.IntN(2) * 255)
						}
					}
				}
				for name, f := range map[string]struct {
					width, after int
					run          func(k *kernels, dst []byte)
				}{
					"h2v1":  {2 * n, slack, func(k *kernels, dst []byte) { k.h2v1(dst, in[0], n) }},
					"h2v2":  {2 * n, slack, func(k *kernels, dst []byte) { k.h2v2(dst, in[0], in[1], n) }},
					"h1v2a": {n, slack, func(k *kernels, dst []byte) { k.h1v2(dst, in[0], in[1], n, 0) }},
					"h1v2b": {n, slack, func(k *kernels, dst []byte) { k.h1v2(dst, in[0], in[1], n, 1) }},
					"ycc":   {3 * n, 0, func(k *kernels, dst []byte) { k.ycc(dst, in[0], in[1], in[2], n) }},
				} {
					t.Run(fmt.Sprintf("%s n%d at%d", name, n, offset), func(t *testing.T) {
						got, check := guarded(f.width, f.after, offset)
						want := bytes.Clone(got)
						f.run(k, got)
						f.run(&portable, want)
						if !bytes.Equal(got[:f.width], want[:f.width]) {
							t.Fatalf("gives %d\nwant  %d", got[:f.width], want[:f.width])
						}
						check(t)
					})
				}
			}
		}
	})
}

// TestColours converts every colour.
func TestColours(t *testing.T) {
	eachPath(t, func(t *testing.T, k *kernels) {
		row := make([][]byte, 3)
		for i := range row {
			row[i] = make([]byte, 256+slack)
		}
		got, want := make([]byte, 3*256), make([]byte, 3*256)
		for cb := range 256 {
			for cr := range 256 {
				for x := range 256 {
					row[0][x], row[1][x], row[2][x] = byte(x), byte(cb), byte(cr)
				}
				k.ycc(got, row[0], row[1], row[2], 256)
				yccRGB(want, row[0], row[1], row[2], 256)
				if !bytes.Equal(got, want) {
					t.Fatalf("Cb %d, Cr %d: %d, want %d", cb, cr, got, want)
				}
			}
		}
	})
}

// TestLayout holds the words that assembly knows to their places.
func TestLayout(t *testing.T) {
	var r bitReader
	var f refinement
	for _, c := range []struct{ got, want uintptr }{
		{unsafe.Offsetof(r.acc), 0}, {unsafe.Offsetof(r.n), 8}, {unsafe.Offsetof(r.next), 16}, {unsafe.Offsetof(r.buf), 24},
		{unsafe.Offsetof(f.acc), 0}, {unsafe.Offsetof(f.limit), 24}, {unsafe.Offsetof(f.one), 64},
		{unsafe.Offsetof(f.old), 96}, {unsafe.Sizeof(f), 104}, {unsafe.Sizeof(block{}), 128},
	} {
		if c.got != c.want {
			t.Errorf("an offset of %d, want %d", c.got, c.want)
		}
	}
}

// someCode is a random prefix code of n symbols: short codes for a few, long ones for the others.
func someCode(r *rand.Rand, n int) *huffman {
	counts := make([]byte, 16)
	room := 1 << 16
	for left, length := n, 1; left > 0 && length <= 16; length++ {
		free := room >> (16 - length)
		k := min(left, free-1, r.IntN(3))
		if length == 16 {
			k = min(left, free)
		}
		if k > 0 {
			counts[length-1] = byte(k)
			room -= k << (16 - length)
			left -= k
		}
	}
	total := 0
	for _, c := range counts {
		total += int(c)
	}
	symbols := make([]byte, total)
	for i := range symbols {
		symbols[i] = byte(r.IntN(256))
	}
	return newHuffman(counts, symbols)
}

// someBits is a reader of random data.
func someBits(r *rand.Rand, n int) *bitReader {
	b := &bitReader{data: make([]byte, n)}
	for i := range b.data {
		b.data[i] = byte(r.IntN(255)) // without 0xFF
	}
	b.load()
	return b
}

// TestCoefficients decodes random bits with random codes; blocks that overflow are common there.
func TestCoefficients(t *testing.T) {
	eachPath(t, func(t *testing.T, k *kernels) {
		for n := range 3000 {
			r := rand.New(rand.NewPCG(2, uint64(n)))
			dc, ac := someCode(r, 12), someCode(r, 1+r.IntN(200))
			for i := range dc.symbols {
				dc.symbols[i] &= 15
			}
			dc.assign(12)
			if dc.prepareDC() != nil || ac.prepareAC() != nil {
				t.Fatal("the test's code is no code")
			}
			got := someBits(r, 60+r.IntN(200))
			want := *got
			var a, b scratch
			for at := -1; at < 63 && got.next < got.size; {
				i := k.coefficients(got, dc.dc, ac.ac, &a, at)
				j := coefficients(&want, dc.dc, ac.ac, &b, at)
				if i != j || a != b || got.next*8-got.n != want.next*8-want.n {
					t.Fatalf("case %d, from %d: place %d, bit %d, want place %d, bit %d\n%d\n%d",
						n, at, i, got.next*8-got.n, j, want.next*8-want.n, a, b)
				}
				if at = i; at < 0 {
					dc.difference(got)
					dc.difference(&want)
					at = 0
				} else if at < 63 {
					at = ac.coefficient(got, &a, at)
					ac.coefficient(&want, &b, i)
				}
			}
		}
	})
}

// TestRefine refines random blocks with random bits and codes, sparse and dense, in bands of all
// kinds.
func TestRefine(t *testing.T) {
	eachPath(t, func(t *testing.T, k *kernels) {
		for n := range 2000 {
			r := rand.New(rand.NewPCG(3, uint64(n)))
			h := someCode(r, 1+r.IntN(60))
			for i := range h.symbols {
				h.symbols[i] = h.symbols[i]&0xF0 | byte(r.IntN(8)/3) // mostly 0 and 1, at times 2
			}
			if h.prepareBand() != nil {
				t.Fatal("the test's code is no code")
			}
			s := &scan{from: 1 + r.IntN(30), low: uint(r.IntN(3))}
			s.to = s.from + r.IntN(64-s.from)
			blocks, known := make([]block, 20), make([]uint64, 20)
			density := 1 + r.IntN(8)
			for i := range blocks {
				for at := 1; at < 64; at++ {
					if r.IntN(8) < density {
						blocks[i][zigzag[at]] = int16(1+r.IntN(5)) << (s.low + 1) * int16(1-2*r.IntN(2))
						known[i] |= 1 << (63 - at)
					}
				}
			}
			got := someBits(r, 40+r.IntN(300))
			want := *got
			blocks2, known2 := append([]block(nil), blocks...), append([]uint64(nil), known...)
			p := &progressive{r: got, s: s, table: h, k: k, run: r.IntN(4)}
			q := &progressive{r: &want, s: s, table: h, k: &portable, run: p.run}
			p.refine(blocks, known)
			q.refine(blocks2, known2)
			if p.run != q.run || got.next*8-got.n != want.next*8-want.n || got.short != want.short {
				t.Fatalf("case %d: run %d, bit %d, want run %d, bit %d",
					n, p.run, got.next*8-got.n, q.run, want.next*8-want.n)
			}
			for i := range blocks {
				if blocks[i] != blocks2[i] || known[i] != known2[i] {
					t.Fatalf("case %d, block %d:\n%d %x\nwant\n%d %x", n, i, blocks[i], known[i], blocks2[i], known2[i])
				}
			}
		}
	})
}
