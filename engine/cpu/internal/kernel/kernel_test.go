package kernel

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"testing"
	"unsafe"
)

// guard is the value around every output. A kernel that writes outside its output changes it.
const guard = 12345.5

// values makes n reproducible numbers between -1 and 1, `offset` floats after an aligned address.
func values(seed, n, offset int) []float32 {
	all := make([]float32, n+offset+32)
	h := uint32(seed)*2654435761 + 1
	for i := range all {
		h ^= h << 13
		h ^= h >> 17
		h ^= h << 5
		all[i] = float32(int32(h)) / (1 << 31)
	}
	return all[offset : offset+n : offset+n]
}

// guarded makes n zeros with guards before and after them. check tests the guards.
func guarded(n, offset int) (inner []float32, check func(t *testing.T)) {
	all := make([]float32, n+offset+64)
	for i := range all {
		all[i] = guard
	}
	inner = all[offset+16 : offset+16+n]
	clear(inner)
	return inner, func(t *testing.T) {
		t.Helper()
		for i, v := range all {
			if (i < offset+16 || i >= offset+16+n) && v != guard {
				t.Fatalf("wrote %v at %d, outside of its output of %d", v, i-offset-16, n)
			}
		}
	}
}

// eachPath runs f for every path by name. A path that this machine lacks is skipped by name.
func eachPath(t *testing.T, f func(t *testing.T, p *Path)) {
	have := map[string]*Path{}
	for _, p := range Paths() {
		have[p.Name] = p
	}
	for _, name := range AllPaths() {
		t.Run(name, func(t *testing.T) {
			if have[name] == nil {
				t.Skip("NOT TESTED: this machine does not run it")
			}
			f(t, have[name])
		})
	}
}

// TestAllPaths: every path that this machine runs is in the list that the tests go through. Under
// emulation, MOCO_TEST_FASTEST names the path that the emulated processor must have first.
func TestAllPaths(t *testing.T) {
	if want, got := os.Getenv("MOCO_TEST_FASTEST"), Paths()[0].Name; want != "" && got != want {
		t.Errorf("the fastest path is %s, want %s", got, want)
	}
	for _, p := range Paths() {
		if !slices.Contains(AllPaths(), p.Name) {
			t.Errorf("path %s is not in AllPaths", p.Name)
		}
	}
}

func close32(got, want float32, scale float64) bool {
	if got == want || got != got && want != want {
		return true
	}
	return math.Abs(float64(got)-float64(want)) <= 1e-5*max(scale, math.Abs(float64(want)))
}

func same(t *testing.T, what string, got, want []float32, scale float64) {
	t.Helper()
	for i := range want {
		if !close32(got[i], want[i], scale) {
			t.Fatalf("%s: value %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}

func TestTile(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, tile := range slices.Concat(p.Tiles, p.Short) {
			for _, shape := range []struct{ k, taps, tiles int }{{1, 1, 1}, {2, 3, 2}, {4, 9, 3}, {16, 1, 1}, {5, 49, 2}} {
				for _, acc := range []int64{0, 1} {
					for _, offset := range []int{0, 1, 5} {
						t.Run(fmt.Sprintf("%dx%d k%d taps%d tiles%d acc%d at%d", tile.Rows, tile.Block, 4*shape.k,
							shape.taps, shape.tiles, acc, offset), func(t *testing.T) {
							inner, pixels := 4*shape.k, 40
							x := values(1, pixels*inner, offset)
							b := values(2, shape.taps*inner*tile.Block, offset+1)
							y, check := guarded(pixels*tile.Block, offset+2)
							copy(y, values(3, len(y), 0))
							before := append([]float32(nil), y...)
							want := append([]float32(nil), y...)
							var in, out []int32
							var taps []int64
							for i := range tile.Rows * shape.tiles {
								in = append(in, int32(4*inner*(i*7%20)))
								out = append(out, int32(4*tile.Block*(i%(pixels-1))))
							}
							// A tail names its last row again.
							last := len(in) - 1
							in[last], out[last] = in[last-1], out[last-1]
							for n := range shape.taps {
								taps = append(taps, int64(4*inner*(n%20)), int64(4*n*inner*tile.Block))
							}
							seen := map[int32]bool{}
							for i := range in {
								if seen[out[i]] {
									// The row is written once, from what was there before.
									continue
								}
								seen[out[i]] = true
								for j := range tile.Block {
									var s float64
									for n := range shape.taps {
										for k := range inner {
											xv, bv := x[int(in[i])/4+int(taps[2*n])/4+k], b[int(taps[2*n+1])/4+k*tile.Block+j]
											s += float64(xv) * float64(bv)
										}
									}
									at := int(out[i])/4 + j
									want[at] = float32(s)
									if acc != 0 {
										want[at] += before[at]
									}
								}
							}
							tile.Run(&TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0],
								Tiles: int64(shape.tiles), Taps: &taps[0], NTaps: int64(shape.taps),
								K: int64(shape.k), B: unsafe.Pointer(&b[0]), Y: unsafe.Pointer(&y[0]), Acc: acc})
							same(t, "y", y, want, float64(shape.taps*inner))
							check(t)
						})
					}
				}
			}
		}
	})
}

func TestGrad(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, g := range p.Grads {
			for _, n := range []int{1, 2, 7, 100} {
				for _, tiles := range []int{1, 3} {
					for _, acc := range []int64{0, 1} {
						t.Run(fmt.Sprintf("%dx%d n%d tiles%d acc%d", g.Rows, g.Block, n, tiles, acc), func(t *testing.T) {
							ch := g.Rows * tiles
							x, dy := values(1, 101*ch, 3), values(2, 101*g.Block, 1)
							stride := g.Block + 16
							dw, check := guarded(ch*stride, 5)
							copy(dw, values(3, len(dw), 0))
							want := append([]float32(nil), dw...)
							var pixels []int32
							for i := range n {
								pixels = append(pixels, int32(4*ch*(i*3%101)), int32(4*g.Block*(i*5%101)))
							}
							for r := range ch {
								for j := range g.Block {
									var s float64
									for i := range n {
										s += float64(x[int(pixels[2*i])/4+r]) * float64(dy[int(pixels[2*i+1])/4+j])
									}
									if acc != 0 {
										s += float64(want[r*stride+j])
									}
									want[r*stride+j] = float32(s)
								}
							}
							g.Run(&GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pixels[0], N: int64(n),
								DY: unsafe.Pointer(&dy[0]), DW: unsafe.Pointer(&dw[0]),
								RowStride: int64(4 * stride), Acc: acc, Tiles: int64(tiles)})
							same(t, "dw", dw, want, float64(n))
							check(t)
						})
					}
				}
			}
		}
	})
}

// TestChannels compares the routines of batch norm with the portable path.
func TestChannels(t *testing.T) {
	plain := portable()
	eachPath(t, func(t *testing.T, p *Path) {
		for _, ch := range []int{16, 32, 48, 64, 128, 192} {
			for _, rows := range []int{1, 2, 3, 4, 5, 8, 9, 31} {
				for _, offset := range []int{0, 3} {
					n := rows * ch
					x, dy, residual := values(1, n, offset), values(2, n, offset+1), values(3, n, 0)
					a, b, c := values(4, ch, 1), values(5, ch, 2), values(6, ch, 3)
					what := fmt.Sprintf("%d rows of %d at %d", rows, ch, offset)
					// pair runs the routine of both paths, each on its own output.
					pair := func(name string, size int, run func(p *Path, out []float32)) {
						t.Helper()
						got, check := guarded(size, offset)
						want := make([]float32, size)
						run(p, got)
						run(plain, want)
						same(t, name+", "+what, got, want, float64(rows))
						check(t)
					}
					pair("Sums", ch, func(p *Path, out []float32) { p.Sums(Float32s(x), ch, out) })
					pair("Squares", ch, func(p *Path, out []float32) { p.Squares(Float32s(x), ch, a, out) })
					for _, sign := range []bool{false, true} {
						scale, shift := b, c
						if !sign {
							scale, shift = nil, nil
						}
						pair("Normalise", n, func(p *Path, out []float32) {
							p.Normalise(NormaliseArgs{Y: Float32s(out), X: Float32s(x), Channels: ch,
								Affine: Affine{c, a, b}, ReLU: sign})
						})
						pair("Normalise+residual", n, func(p *Path, out []float32) {
							p.Normalise(NormaliseArgs{Y: Float32s(out), X: Float32s(x),
								Residual: Float32s(residual), Channels: ch, Affine: Affine{c, a, b}, ReLU: sign})
						})
						pair("GradSums", 2*ch, func(p *Path, out []float32) {
							p.GradSums(GradSumsArgs{DY: Float32s(dy), X: Float32s(x), Channels: ch,
								Affine: Affine{a, scale, shift}, Sum: out[:ch], Dot: out[ch:]})
						})
						pair("GradInput", n, func(p *Path, out []float32) {
							p.GradInput(GradInputArgs{DX: Float32s(out), DY: Float32s(dy), X: Float32s(x),
								Channels: ch, Affine: Affine{a, scale, shift}, A: a, B: b, C: c})
						})
					}
					pair("Normalise in place", n, func(p *Path, out []float32) {
						copy(out, x)
						p.Normalise(NormaliseArgs{Y: Float32s(out), X: Float32s(out), Channels: ch,
							Affine: Affine{c, a, b}, ReLU: true})
					})
					pair("GradInput in place", n, func(p *Path, out []float32) {
						copy(out, dy)
						p.GradInput(GradInputArgs{DX: Float32s(out), DY: Float32s(out), X: Float32s(x),
							Channels: ch, Affine: Affine{a, b, c}, A: a, B: b, C: c})
					})
				}
			}
		}
	})
}

func TestVectors(t *testing.T) {
	plain := portable()
	eachPath(t, func(t *testing.T, p *Path) {
		for n := range 140 {
			for _, offset := range []int{0, 1, 7} {
				x, y, z := values(1, n, offset), values(2, n, offset+2), values(3, n, 0)
				what := fmt.Sprintf("%d values at %d", n, offset)
				pair := func(name string, run func(p *Path, out []float32)) {
					t.Helper()
					got, check := guarded(n, offset)
					want := make([]float32, n)
					run(p, got)
					run(plain, want)
					same(t, name+", "+what, got, want, 1e-30)
					check(t)
				}
				pair("ReLU", func(p *Path, out []float32) { p.ReLU(out, x) })
				pair("ReLUGrad", func(p *Path, out []float32) { p.ReLUGrad(Float32s(out), Float32s(x), Float32s(y)) })
				pair("Larger", func(p *Path, out []float32) { copy(out, x); p.Larger(out, y) })
				pair("Claim", func(p *Path, out []float32) { copy(out, z); p.Claim(out, append([]float32(nil), x...), x, y) })
				pair("what Claim leaves", func(p *Path, out []float32) { copy(out, z); p.Claim(make([]float32, n), out, x, y) })
				pair("WeightedSum of 1", func(p *Path, out []float32) { p.WeightedSum(out, 2, x, 0, nil, 0, nil) })
				pair("WeightedSum of 2", func(p *Path, out []float32) { p.WeightedSum(out, 0.9, x, 0.1, y, 0, nil) })
				pair("WeightedSum of 3", func(p *Path, out []float32) { p.WeightedSum(out, 0.9, x, 0.1, y, -0.5, z) })
				pair("Scale in place", func(p *Path, out []float32) { copy(out, x); p.Scale(out, out, 3) })
				pair("ExpSum", func(p *Path, out []float32) { p.ExpSum(out, x, 80, 3) })
				if d, w := p.Dot(x, y), plain.Dot(x, y); !close32(d, w, float64(n)) {
					t.Fatalf("Dot, %s: %v, want %v", what, d, w)
				}
				if s, w := p.ExpSum(make([]float32, n), x, 2, 0), plain.ExpSum(make([]float32, n), x, 2, 0); !close32(s, w, 1) {
					t.Fatalf("ExpSum, %s: %v, want %v", what, s, w)
				}
				if n > 0 {
					if m, w := p.RowMax(x), plain.RowMax(x); m != w {
						t.Fatalf("RowMax, %s: %v, want %v", what, m, w)
					}
				}
			}
		}
	})
}

// TestExponential: ExpSum is within 2e-6 of math.Exp over its range, and right at the edges.
func TestExponential(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		var x []float32
		for v := -100.0; v < 88; v += 0.0173 {
			x = append(x, float32(v))
		}
		x = append(x, float32(math.Inf(-1)), 0, -87, 88, -1e30)
		for len(x)%32 != 0 {
			x = append(x, 1)
		}
		got := make([]float32, len(x))
		p.ExpSum(got, x, 1, 0)
		for i, v := range x {
			want := math.Exp(float64(v))
			if v < -87 {
				want = 0
			}
			if math.Abs(float64(got[i])-want) > 2e-6*want {
				t.Fatalf("exp(%v) is %v, want %v", v, got[i], want)
			}
		}
	})
}

// TestTransposeRight compares with the definition, for rows and columns that do not fill blocks.
func TestTransposeRight(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		beside := p.PairDepth / 2
		for _, rows := range []int{1, 7, 8, 16, 19} {
			for _, cols := range []int{4, 8, 20, 32} {
				const stride = 24
				src := values(1, rows*(cols+3), 1)
				dst, check := guarded(cols*stride, 2)
				p.TransposeRight(dst, stride, src, cols+3, rows, cols)
				for r := range rows {
					for c := range cols {
						got, want := dst[c/beside*beside*stride+beside*r+c%beside], src[r*(cols+3)+c]
						if got != want {
							t.Fatalf("%dx%d: row %d, column %d is %v, want %v", rows, cols, r, c, got, want)
						}
					}
				}
				check(t)
			}
		}
	})
}

// TestPair compares with the definition, bit by bit.
func TestPair(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, block := range []int{16, 32, 48, 64} {
			const n = 8
			rows := values(1, n*block, 1)
			got := make([]uint16, n*block+1)
			got[n*block] = 7
			p.Pair(got[:n*block], rows, block)
			for i := range rows {
				var want [1]uint16
				narrow(want[:], rows[i:i+1])
				k, j := i/block, i%block
				if at := k/p.PairDepth*p.PairDepth*block + p.PairDepth*j + k%p.PairDepth; got[at] != want[0] {
					t.Fatalf("blocks of %d: value %d of row %d is %04x, want %04x", block, j, k, got[at], want[0])
				}
			}
			if got[n*block] != 7 {
				t.Fatalf("blocks of %d: wrote beyond them", block)
			}
		}
	})
}

func TestTranspose(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for _, rows := range []int{1, 4, 7, 8, 16, 19, 64} {
			for _, cols := range []int{1, 3, 8, 16, 21, 64} {
				src := values(1, rows*(cols+3), 1)
				dst, check := guarded((cols-1)*(rows+5)+rows, 2)
				p.Transpose(dst, rows+5, src, cols+3, rows, cols)
				for r := range rows {
					for c := range cols {
						if dst[c*(rows+5)+r] != src[r*(cols+3)+c] {
							t.Fatalf("%dx%d: row %d, column %d is %v, want %v", rows, cols, r, c, dst[c*(rows+5)+r],
								src[r*(cols+3)+c])
						}
					}
				}
				check(t)
			}
		}
	})
}

// TestNaNs: no routine may lose a NaN, wherever it lies. A run that diverged would look well.
func TestNaNs(t *testing.T) {
	isNaN := func(v float32) bool { return v != v }
	eachPath(t, func(t *testing.T, p *Path) {
		for at := range 70 {
			x := values(1, 80, 0)
			x[at] = float32(math.NaN())
			y, zeros, one, positive := make([]float32, 80), make([]float32, 80), values(2, 16, 0), make([]float32, 80)
			for i := range positive {
				positive[i] = 1
			}
			for name, run := range map[string]func() float32{
				"Normalise with ReLU": func() float32 {
					p.Normalise(NormaliseArgs{Y: Float32s(y), X: Float32s(x), Channels: 16,
						Affine: Affine{zeros, one, zeros}, ReLU: true})
					return y[at]
				},
				"Normalise of a residual": func() float32 {
					p.Normalise(NormaliseArgs{Y: Float32s(y), X: Float32s(zeros), Residual: Float32s(x),
						Channels: 16, Affine: Affine{zeros, one, zeros}, ReLU: true})
					return y[at]
				},
				"Sums":    func() float32 { clear(y); p.Sums(Float32s(x), 16, y[:16]); return y[at%16] },
				"Squares": func() float32 { clear(y); p.Squares(Float32s(x), 16, zeros, y[:16]); return y[at%16] },
				"GradSums": func() float32 {
					clear(y)
					p.GradSums(GradSumsArgs{DY: Float32s(x), X: Float32s(zeros), Channels: 16,
						Affine: Affine{Mean: zeros}, Sum: y, Dot: y[16:]})
					return y[at%16]
				},
				"GradInput": func() float32 {
					p.GradInput(GradInputArgs{DX: Float32s(y), DY: Float32s(x), X: Float32s(zeros), Channels: 16,
						Affine: Affine{Mean: zeros}, A: one, B: one, C: one})
					return y[at]
				},
				"Larger of a NaN":   func() float32 { clear(y); p.Larger(y, x); return y[at] },
				"Larger than a NaN": func() float32 { copy(y, x); p.Larger(y, zeros); return y[at] },
				"ReLU":              func() float32 { p.ReLU(y, x); return y[at] },
				"ReLUGrad":          func() float32 { p.ReLUGrad(Float32s(y), Float32s(x), Float32s(positive)); return y[at] },
				"WeightedSum":       func() float32 { p.WeightedSum(y, 1, zeros, 1, x, 0, nil); return y[at] },
				"RowMax":            func() float32 { return p.RowMax(x) },
				"the sum of ExpSum": func() float32 { return p.ExpSum(y, x, 1, 0) },
				"ExpSum":            func() float32 { p.ExpSum(y, x, 1, 0); return y[at] },
				"Dot":               func() float32 { return p.Dot(x, zeros) },
			} {
				if v := run(); !isNaN(v) {
					t.Fatalf("%s made %v of a NaN at %d", name, v, at)
				}
			}
		}
	})
}

// everything is the results of all routines, as one list. Operands lie `offset` floats after an
// aligned address. n floats go through the routines that have no rows.
func everything(p *Path, n, offset int) []float32 {
	const ch, pixels, whole = 64, 16, 1024
	// at is the same values, `by` floats further for each offset.
	at := func(seed, n, by int) []float32 {
		moved := make([]float32, n+17*by)[offset*by:][:n]
		copy(moved, values(seed, n, 0))
		return moved
	}
	x, y, f := at(1, max(n, whole), 1), at(2, max(n, whole), 2), at(3, ch, 3)
	got := []float32{p.Dot(x[:n], y[:n]), p.RowMax(x[:n])}
	result := func(n int, run func(out []float32)) {
		out := make([]float32, n+offset)[offset:]
		run(out)
		got = append(got, out...)
	}
	rows, dy := x[:whole], y[:whole]
	result(n+1, func(out []float32) { out[n] = p.ExpSum(out[:n], x[:n], 3, 1) })
	result(n, func(out []float32) { p.WeightedSum(out, 0.9, x[:n], 0.1, y[:n], 0, nil) })
	result(n, func(out []float32) { p.WeightedSum(out, 0.9, x[:n], 0.1, y[:n], -0.5, x[:n]) })
	result(n, func(out []float32) { p.Scale(out, x[:n], 0.3) })
	result(ch, func(out []float32) { p.Sums(Float32s(rows), ch, out) })
	result(ch, func(out []float32) { p.Squares(Float32s(rows), ch, f, out) })
	result(whole, func(out []float32) {
		p.Normalise(NormaliseArgs{Y: Float32s(out), X: Float32s(rows), Residual: Float32s(dy), Channels: ch,
			Affine: Affine{f, f, f}, ReLU: true})
	})
	result(2*ch, func(out []float32) {
		p.GradSums(GradSumsArgs{DY: Float32s(dy), X: Float32s(rows), Channels: ch, Affine: Affine{f, f, f},
			Sum: out[:ch], Dot: out[ch:]})
	})
	result(2*ch, func(out []float32) {
		p.GradSums(GradSumsArgs{DY: Float32s(dy), X: Float32s(rows), Channels: ch, Affine: Affine{Mean: f},
			Sum: out[:ch], Dot: out[ch:]})
	})
	result(whole, func(out []float32) {
		p.GradInput(GradInputArgs{DX: Float32s(out), DY: Float32s(dy), X: Float32s(rows), Channels: ch,
			Affine: Affine{f, f, f}, A: f, B: f, C: f})
	})
	result(whole, func(out []float32) {
		p.GradInput(GradInputArgs{DX: Float32s(out), DY: Float32s(dy), X: Float32s(rows), Channels: ch,
			Affine: Affine{Mean: f}, A: f, B: f, C: f})
	})
	got = append(got, tokenRoutines(p, rows, dy, f, offset)...)
	for _, tile := range p.Tiles {
		in, to := make([]int32, tile.Rows), make([]int32, tile.Rows)
		for r := range in {
			in[r], to[r] = int32(4*ch*(r%pixels)), int32(4*tile.Block*r)
		}
		weights := at(4, ch*tile.Block, 1)
		result(tile.Rows*tile.Block, func(out []float32) {
			tile.Run(&TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &to[0], Tiles: 1, Taps: &[]int64{0, 0}[0], NTaps: 1,
				K: ch / 4, B: unsafe.Pointer(&weights[0]), Y: unsafe.Pointer(&out[0])})
		})
	}
	// Tiles of several heights share the channels of a block: a sum does not depend on who makes it.
	from := 0
	for i, g := range p.Grads {
		if i > 0 && p.Grads[i-1].Block != g.Block || from == ch {
			from = 0
		}
		var pairs []int32
		for i := range pixels {
			pairs = append(pairs, int32(4*ch*i), int32(4*g.Block*i))
		}
		tiles := (ch - from) / g.Rows
		result(tiles*g.Rows*g.Block, func(out []float32) {
			g.Run(&GradArgs{X: unsafe.Pointer(&x[from]), Pixels: &pairs[0], N: pixels, DY: unsafe.Pointer(&y[0]),
				DW:        unsafe.Pointer(&out[0]),
				RowStride: int64(4 * g.Block), Tiles: int64(tiles)})
		})
		from += tiles * g.Rows
	}
	for _, f := range []struct {
		in, out int
		run     func(*Transform)
	}{{6, 6, p.Winograd.Input}, {6, 4, p.Winograd.Output}, {3, 6, p.Winograd.Weights},
		{4, 6, p.Winograd.OutputGrad}, {6, 3, p.Winograd.WeightsGrad}} {
		result(16*f.out*f.out, func(out []float32) {
			f.run(&Transform{Src: unsafe.Pointer(&x[0]), Dst: unsafe.Pointer(&out[0]), SrcRow: int64(64 * f.in),
				SrcCol: 64, DstRow: int64(64 * f.out), DstCol: 64, N: 1})
		})
	}
	return got
}

// TestAddressDoesNotMatter: the same values at another address give the same bits.
func TestAddressDoesNotMatter(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		first := everything(p, 1024+17, 0)
		for offset := 1; offset < 17; offset++ {
			for i, v := range everything(p, 1024+17, offset) {
				if math.Float32bits(v) != math.Float32bits(first[i]) {
					t.Fatalf("at offset %d result %d is %v, at 0 it is %v", offset, i, v, first[i])
				}
			}
		}
	})
}

// likeAVX2 are the paths that give the same bits as avx2, but for products of pairs.
var likeAVX2 = []string{"avx2", "neon", "neonbf16"}

// TestNEONRoundsLikeAVX2: they add in the same order, so they give the same bits. No machine runs
// both AVX2 and NEON, so each is compared with the same checksum. Whoever changes the order of both
// on purpose puts the new checksum here.
func TestNEONRoundsLikeAVX2(t *testing.T) {
	const want = 0x9940d87987ecc4e3
	tested := false
	for _, p := range Paths() {
		if !slices.Contains(likeAVX2, p.Name) {
			continue
		}
		tested = true
		sum := fnv.New64a()
		// Only whole blocks: Go does the rest, and its math.Exp differs between machines.
		for _, v := range everything(p, 1024, 0) {
			binary.Write(sum, binary.LittleEndian, v)
		}
		if sum.Sum64() != want {
			t.Errorf("the checksum of what %s gives is %#x, want %#x", p.Name, sum.Sum64(), uint64(want))
		}
	}
	if !tested {
		t.Skip("NOT TESTED: this machine runs neither")
	}
}

func TestNoAllocation(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		x, y, f := values(1, 1024, 0), values(2, 1024, 0), values(3, 64, 0)
		g, b := values(4, 64, 0), values(5, 64, 0)
		offsets := []int32{0, 16, -1, 48}
		if n := testing.AllocsPerRun(10, func() {
			p.Sums(Float32s(x), 64, f)
			p.Normalise(NormaliseArgs{Y: Float32s(y), X: Float32s(x), Residual: Float32s(x), Channels: 64,
				Affine: Affine{f, f, f}, ReLU: true})
			p.GradSums(GradSumsArgs{DY: Float32s(y), X: Float32s(x), Channels: 64, Affine: Affine{f, f, f}, Sum: f, Dot: f})
			p.WeightedSum(y, 1, x, 2, y, 0, nil)
			p.ExpSum(y, x, 1, 0)
			p.Dot(x, y)
			p.RowMax(x)
			p.Transpose(y, 32, x, 32, 32, 32)
			p.TransposeRight(y, 32, x, 32, 32, 32)
			p.Pair(halves(y), x, 64)
			p.GatherPairs(y, 16, BFloat16s(halves(x)), offsets, 16)
			p.GatherRight(y, 16, BFloat16s(halves(x)), offsets, 16)
			tokens(p, y, x, f, g, b)
		}); n > 0 {
			t.Errorf("%v allocations a round", n)
		}
	})
}

func BenchmarkTile(b *testing.B) {
	for _, p := range Paths() {
		for _, tile := range p.Tiles {
			b.Run(fmt.Sprintf("%s/%dx%d", p.Name, tile.Rows, tile.Block), func(b *testing.B) {
				const inner, tiles, taps = 64, 16, 9
				x, y, w := values(1, 200*inner, 0), make([]float32, tile.Rows*tiles*tile.Block),
					values(2, taps*inner*tile.Block, 0)
				var in, out []int32
				list := make([]int64, 2*taps)
				for i := range tile.Rows * tiles {
					in, out = append(in, int32(4*inner*i%(100*4*inner))), append(out, int32(4*tile.Block*i))
				}
				for n := range taps {
					list[2*n], list[2*n+1] = int64(4*inner*n), int64(4*n*inner*tile.Block)
				}
				a := &TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: tiles, Taps: &list[0],
					NTaps: taps, K: inner / 4, B: unsafe.Pointer(&w[0]), Y: unsafe.Pointer(&y[0])}
				for b.Loop() {
					tile.Run(a)
				}
				flops := 2 * float64(tile.Rows*tiles*tile.Block*inner*taps)
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkGrad(b *testing.B) {
	for _, p := range Paths() {
		for _, g := range p.Grads {
			b.Run(fmt.Sprintf("%s/%dx%d", p.Name, g.Rows, g.Block), func(b *testing.B) {
				const n = 128
				x, dy, dw := values(1, n*64, 0), values(2, n*g.Block, 0), make([]float32, 64*g.Block)
				var pixels []int32
				for i := range n {
					pixels = append(pixels, int32(i*64*4), int32(i*g.Block*4))
				}
				a := &GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pixels[0], N: n, DY: unsafe.Pointer(&dy[0]),
					DW: unsafe.Pointer(&dw[0]), RowStride: int64(4 * g.Block), Acc: 1, Tiles: int64(64 / g.Rows)}
				for b.Loop() {
					g.Run(a)
				}
				flops := 2 * n * float64(64/g.Rows*g.Rows) * float64(g.Block)
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkGradDistance: what it costs if the pixels that are summed over lie a power of two apart, and
// share sets of the cache. Distances are in floats, of inputs and gradients alike.
func BenchmarkGradDistance(b *testing.B) {
	for _, p := range Paths() {
		g := p.Grads[0]
		for _, distance := range []int{256, 256 + 16, 1024, 1024 + 16} {
			b.Run(fmt.Sprintf("%s/%d", p.Name, distance), func(b *testing.B) {
				const n, channels = 128, 240
				x, dy, dw := values(1, n*distance, 0), values(2, n*distance, 0), make([]float32, channels*g.Block)
				var pixels []int32
				for i := range n {
					pixels = append(pixels, int32(4*i*distance), int32(4*i*distance))
				}
				a := &GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pixels[0], N: n, DY: unsafe.Pointer(&dy[0]),
					DW: unsafe.Pointer(&dw[0]), RowStride: int64(4 * g.Block), Acc: 1, Tiles: int64(channels / g.Rows)}
				flops := 2 * n * g.Block * (channels / g.Rows * g.Rows)
				for b.Loop() {
					g.Run(a)
				}
				b.ReportMetric(float64(flops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkChannels(b *testing.B) {
	for _, p := range Paths() {
		for _, ch := range []int{16, 64, 512} {
			n := 1 << 14 // 64 KB, as the engine cuts it
			x, dy, y, f := values(1, n, 0), values(2, n, 0), make([]float32, n), values(3, ch, 0)
			for name, run := range map[string]func(){
				"Sums":    func() { p.Sums(Float32s(x), ch, f) },
				"Squares": func() { p.Squares(Float32s(x), ch, f, f) },
				"Normalise": func() {
					p.Normalise(NormaliseArgs{Y: Float32s(y), X: Float32s(x), Channels: ch, Affine: Affine{f, f, f},
						ReLU: true})
				},
				"GradSums": func() {
					p.GradSums(GradSumsArgs{DY: Float32s(dy), X: Float32s(x), Channels: ch, Affine: Affine{f, f, f},
						Sum: f, Dot: f})
				},
				"GradInput": func() {
					p.GradInput(GradInputArgs{DX: Float32s(y), DY: Float32s(dy), X: Float32s(x), Channels: ch,
						Affine: Affine{f, f, f}, A: f, B: f, C: f})
				},
			} {
				b.Run(fmt.Sprintf("%s/%s/%d", p.Name, name, ch), func(b *testing.B) {
					b.SetBytes(int64(4 * n))
					for b.Loop() {
						run()
					}
				})
			}
		}
	}
}

// TestWinograd: a convolution made of the transforms must be the convolution. Each transform must
// agree with its matrix, at any distance between places.
func TestWinograd(t *testing.T) {
	plain := portableWinograd()
	eachPath(t, func(t *testing.T, p *Path) {
		for _, f := range []struct {
			name      string
			in, out   int
			got, want func(*Transform)
		}{
			{"input", 6, 6, p.Winograd.Input, plain.Input}, {"output", 6, 4, p.Winograd.Output, plain.Output},
			{"weights", 3, 6, p.Winograd.Weights, plain.Weights},
			{"outputGrad", 4, 6, p.Winograd.OutputGrad, plain.OutputGrad},
			{"weightsGrad", 6, 3, p.Winograd.WeightsGrad, plain.WeightsGrad},
		} {
			for _, groups := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s groups%d", f.name, groups), func(t *testing.T) {
					ch := 16 * groups
					x := values(7, f.in*(f.in*ch+5), 3)
					want := make([]float32, f.out*f.out*ch)
					got, check := guarded(len(want), 1)
					for _, side := range []struct {
						run func(*Transform)
						dst []float32
					}{{f.got, got}, {f.want, want}} {
						side.run(&Transform{Src: unsafe.Pointer(&x[0]), Dst: unsafe.Pointer(&side.dst[0]),
							SrcRow: int64(4 * (f.in*ch + 5)), SrcCol: int64(4 * ch), SrcStep: 64,
							DstRow: 64, DstCol: int64(64 * f.out), DstStep: int64(64 * f.out * f.out), N: int64(groups)})
					}
					same(t, "transform", got, want, 50)
					check(t)
				})
			}
		}
	})
}

// TestBFloat16Conversions: every path converts to the same bits, and rounds to nearest, ties to
// even. Denormals count. A NaN whose lower half is zero, as in those that arithmetic makes, keeps
// its upper half.
func TestBFloat16Conversions(t *testing.T) {
	inputs := append(values(9, 200, 0), float32(math.Inf(1)), float32(math.Inf(-1)), 0,
		float32(math.Copysign(0, -1)), 1e-45, math.MaxFloat32, float32(math.NaN()))
	for _, bits := range []uint32{
		0x7fc00000, 0xffc00000, 0x7fc10000, // NaNs
		0x00008000, 0x00008001, 0x00018000, 0x807fffff, 0x007f8000, 0x0080ffff, // denormals and their neighbours
		0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0xbf808000, // ties and their neighbours
	} {
		inputs = append(inputs, math.Float32frombits(bits))
	}
	want := make([]uint16, len(inputs))
	narrow(want, inputs)
	for i, w := range []uint16{0x3f80, 0x3f82, 0x3f81, 0x3f81, 0xbf80} {
		if got := want[len(want)-5+i]; got != w {
			t.Errorf("%08x narrows to %04x, want %04x", math.Float32bits(inputs[len(want)-5+i]), got, w)
		}
	}
	eachPath(t, func(t *testing.T, p *Path) {
		for n := range len(inputs) {
			got, back, plain := make([]uint16, n+1), make([]float32, n+1), make([]float32, n)
			got[n], back[n] = 7, 7
			p.Narrow(got[:n], inputs[len(inputs)-n:])
			p.Widen(back[:n], want[len(inputs)-n:])
			widen(plain, want[len(inputs)-n:])
			for i, w := range want[len(inputs)-n:] {
				if got[i] != w || math.Float32bits(back[i]) != math.Float32bits(plain[i]) {
					t.Fatalf("value %d of %d: %v narrows to %04x, want %04x, which widens to %v", i, n,
						inputs[len(inputs)-n+i], got[i], w, back[i])
				}
			}
			if got[n] != 7 || back[n] != 7 {
				t.Fatalf("%d values: wrote beyond them", n)
			}
		}
	})
}

// TestChannelsBFloat16 compares the routines of batch norm over bfloat16 with the portable path.
func TestChannelsBFloat16(t *testing.T) {
	plain := portable()
	const guard = 0x4711
	eachPath(t, func(t *testing.T, p *Path) {
		for _, ch := range []int{16, 48, 64, 128} {
			for _, rows := range []int{1, 3, 4, 9} {
				n := rows * ch
				bf16 := func(seed int) Values {
					x := make([]uint16, n)
					narrow(x, values(seed, n, 0))
					return BFloat16s(x)
				}
				x, dy, residual := bf16(1), bf16(2), bf16(3)
				a, b, c := values(4, ch, 1), values(5, ch, 2), values(6, ch, 3)
				sums := func(name string, run func(p *Path, out []float32)) {
					t.Helper()
					got, want := make([]float32, 2*ch), make([]float32, 2*ch)
					run(p, got)
					run(plain, want)
					same(t, fmt.Sprintf("%s, %d rows of %d", name, rows, ch), got, want, float64(rows))
				}
				rowwise := func(name string, run func(p *Path, out Values)) {
					t.Helper()
					got, want := make([]uint16, n+32), make([]uint16, n)
					got[n] = guard
					run(p, BFloat16s(got[:n]))
					run(plain, BFloat16s(want))
					for i, w := range want {
						if d := int(got[i]) - int(w); d < -1 || d > 1 {
							t.Fatalf("%s, %d rows of %d: value %d is %04x, want %04x", name, rows, ch, i, got[i], w)
						}
					}
					if got[n] != guard {
						t.Fatalf("%s, %d rows of %d: wrote beyond them", name, rows, ch)
					}
				}
				sums("Sums", func(p *Path, out []float32) { p.Sums(x, ch, out) })
				sums("Squares", func(p *Path, out []float32) { p.Squares(x, ch, a, out) })
				rowwise("ReLUGrad", func(p *Path, out Values) { p.ReLUGrad(out, x, dy) })
				for _, sign := range []bool{false, true} {
					scale, shift := b, c
					if !sign {
						scale, shift = nil, nil
					}
					rowwise("Normalise", func(p *Path, out Values) {
						p.Normalise(NormaliseArgs{Y: out, X: x, Channels: ch, Affine: Affine{c, a, b}, ReLU: sign})
					})
					rowwise("Normalise+residual", func(p *Path, out Values) {
						p.Normalise(NormaliseArgs{Y: out, X: x, Residual: residual, Channels: ch,
							Affine: Affine{c, a, b}, ReLU: sign})
					})
					sums("GradSums", func(p *Path, out []float32) {
						p.GradSums(GradSumsArgs{DY: dy, X: x, Channels: ch, Affine: Affine{a, scale, shift},
							Sum: out[:ch], Dot: out[ch:]})
					})
					rowwise("GradInput", func(p *Path, out Values) {
						p.GradInput(GradInputArgs{DX: out, DY: dy, X: x, Channels: ch,
							Affine: Affine{a, scale, shift}, A: a, B: b, C: c})
					})
				}
			}
		}
	})
}

// TestPairs checks the tiles of bfloat16 against float64, with outputs in both formats.
func TestPairs(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		floats := slices.Concat(p.Tiles, p.Short)
		for i, tile := range slices.Concat(p.Pairs, p.ShortPairs) {
			if tile.Block != floats[i].Block || tile.Rows != floats[i].Rows {
				t.Errorf("tile %d is %dx%d, and %dx%d for float32", i, tile.Rows, tile.Block, floats[i].Rows, floats[i].Block)
			}
			for _, inner := range []int{8, 32} {
				for flags := range int64(4) {
					acc, bf16 := flags&1, flags>>1
					const taps, pixels = 3, 20
					x, b := make([]uint16, pixels*inner), make([]uint16, taps*inner*tile.Block)
					narrow(x, values(1, len(x), 0))
					rows := values(2, taps*inner*tile.Block, 0)
					rounded := make([]uint16, len(rows))
					narrow(rounded, rows)
					p.Pair(b, rows, tile.Block)
					y, yh := make([]float32, pixels*tile.Block), make([]uint16, pixels*tile.Block)
					for i := range y {
						y[i], yh[i] = 1, 0x3f80
					}
					in, out := make([]int32, tile.Rows), make([]int32, tile.Rows)
					a := &TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: 1, NTaps: taps,
						K: int64(inner / 8), B: unsafe.Pointer(&b[0]), Y: unsafe.Pointer(&y[0]), Acc: acc,
						BF16: bf16}
					size := int32(4)
					if bf16 != 0 {
						a.Y, size = unsafe.Pointer(&yh[0]), 2
					}
					var list []int64
					for n := range taps {
						list = append(list, int64(2*n*inner), int64(2*n*inner*tile.Block))
					}
					a.Taps = &list[0]
					for r := range in {
						in[r], out[r] = int32(2*inner*(r*5%17)), int32(tile.Block*r)*size
					}
					tile.Run(a)
					for r := range tile.Rows {
						for j := range tile.Block {
							want := float64(acc)
							for n := range taps {
								for k := range inner {
									w := math.Float32frombits(uint32(rounded[(n*inner+k)*tile.Block+j]) << 16)
									want += float64(w) * float64(math.Float32frombits(uint32(x[int(in[r])/2+n*inner+k])<<16))
								}
							}
							got, tolerance := y[r*tile.Block+j], 1e-4
							if bf16 != 0 {
								got, tolerance = math.Float32frombits(uint32(yh[r*tile.Block+j])<<16), 0.01*math.Abs(want)+1e-4
							}
							if math.Abs(float64(got)-want) > tolerance {
								t.Fatalf("%dx%d, %d channels, acc %d, bf16 %d: row %d, output %d is %v, want %v",
									tile.Rows, tile.Block, inner, acc, bf16, r, j, got, want)
							}
						}
					}
				}
			}
		}
	})
}

// roundToOdd rounds a float64 to float32: what does not fit sets the lowest bit.
func roundToOdd(x float64) float32 {
	y := float32(x)
	if float64(y) == x {
		return y
	}
	if math.Abs(float64(y)) > math.Abs(x) { // rounded away from zero
		y = math.Float32frombits(math.Float32bits(y) - 1)
	}
	return math.Float32frombits(math.Float32bits(y) | 1)
}

// TestPairsRoundToOdd: the arithmetic of ARM's BFMMLA is the same on all processors, and an
// emulator's is too: a pair's products are exact, and each addition is rounded to odd. The values
// are such that float64 holds every sum.
func TestPairsRoundToOdd(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		if p.Name != "neonbf16" {
			t.Skip("another arithmetic")
		}
		const inner = 24
		tile := p.Pairs[0]
		x, b := make([]uint16, tile.Rows*inner), make([]uint16, inner*tile.Block)
		weights := values(2, inner*tile.Block, 0)
		narrow(x, values(1, len(x), 0))
		p.Pair(b, weights, tile.Block)
		y := make([]float32, tile.Rows*tile.Block)
		in, out := make([]int32, tile.Rows), make([]int32, tile.Rows)
		for r := range in {
			in[r], out[r] = int32(2*inner*r), int32(4*tile.Block*r)
		}
		tile.Run(&TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: 1, Taps: &[]int64{0, 0}[0], NTaps: 1,
			K: inner / 8, B: unsafe.Pointer(&b[0]), Y: unsafe.Pointer(&y[0])})
		rounded := make([]uint16, len(weights))
		narrow(rounded, weights)
		value := func(bits uint16) float64 { return float64(math.Float32frombits(uint32(bits) << 16)) }
		for r := range tile.Rows {
			for j := range tile.Block {
				var want float32
				for k := 0; k < inner; k += 2 {
					first := value(x[r*inner+k]) * value(rounded[k*tile.Block+j])
					second := value(x[r*inner+k+1]) * value(rounded[(k+1)*tile.Block+j])
					want = roundToOdd(float64(want) + float64(roundToOdd(first+second)))
				}
				if got := y[r*tile.Block+j]; got != want {
					t.Fatalf("row %d, output %d is %v, want %v", r, j, got, want)
				}
			}
		}
	})
}

// TestPairGrads checks the weight gradient of bfloat16, through GatherPairs, against float64.
func TestPairGrads(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		for i, g := range p.PairGrads {
			if g.Block != p.Grads[i].Block || g.Rows != p.Grads[i].Rows {
				t.Errorf("gradient tile %d is %dx%d, and %dx%d for float32", i, g.Rows, g.Block, p.Grads[i].Rows,
					p.Grads[i].Block)
			}
			const pixels, ch = 20, 48
			x, dy := make([]uint16, pixels*ch), make([]uint16, pixels*g.Block)
			narrow(x, values(1, len(x), 0))
			narrow(dy, values(2, len(dy), 0))
			var in, out, list []int32
			for i := range pixels {
				in, out = append(in, int32(ch*(i*7%pixels))), append(out, int32(g.Block*i))
			}
			in[3], in[pixels-1], out[pixels-1] = -1, -1, -1
			inputs, gradients := make([]float32, pixels/2*ch), make([]float32, pixels/2*g.Block)
			p.GatherPairs(inputs, ch, BFloat16s(x), in, ch)
			p.GatherRight(gradients, g.Block, BFloat16s(dy), out, g.Block)
			for i := range pixels / 2 {
				list = append(list, int32(4*i*ch), int32(4*i*g.Block))
			}
			dw, check := guarded(ch*g.Block, 3)
			want := make([]float32, len(dw))
			for r := range ch / g.Rows * g.Rows {
				for j := range g.Block {
					var s float64
					for i := range pixels {
						if in[i] >= 0 {
							xv := math.Float32frombits(uint32(x[int(in[i])+r]) << 16)
							dyv := math.Float32frombits(uint32(dy[int(out[i])+j]) << 16)
							s += float64(xv) * float64(dyv)
						}
					}
					want[r*g.Block+j] = float32(s)
				}
			}
			g.Run(&GradArgs{X: unsafe.Pointer(&inputs[0]), Pixels: &list[0], N: pixels / 2,
				DY: unsafe.Pointer(&gradients[0]), DW: unsafe.Pointer(&dw[0]), RowStride: int64(4 * g.Block),
				Tiles: int64(ch / g.Rows)})
			same(t, fmt.Sprintf("%dx%d", g.Rows, g.Block), dw, want, pixels)
			check(t)
		}
	})
}

// gathering is the type of Gather and GatherPairs.
type gathering = func(dst []float32, pitch int, src Values, offsets []int32, width int)

// TestGather compares with the portable path, bit by bit.
func TestGather(t *testing.T) {
	plain := portable()
	eachPath(t, func(t *testing.T, p *Path) {
		for _, width := range []int{16, 48, 64, 256} {
			for _, rows := range []int{4, 8, 20} {
				wide := values(1, 21*(width+3), 0)
				half := make([]uint16, len(wide))
				narrow(half, wide)
				var offsets []int32
				for i := range rows {
					offsets = append(offsets, int32(i*7%20*(width+3)))
				}
				offsets[rows/2] = -1
				pitch := width + 5
				for _, c := range []struct {
					name      string
					got, want gathering
					src       Values
				}{
					{"Gather", p.Gather, plain.Gather, Float32s(wide)},
					{"Gather of bfloat16", p.Gather, plain.Gather, BFloat16s(half)},
					{"GatherPairs", p.GatherPairs, plain.GatherPairs, BFloat16s(half)},
					{"GatherRight", p.GatherRight, gatherGroups(p.PairDepth), BFloat16s(half)},
				} {
					dst, check := guarded((rows-1)*pitch+width, 3)
					want := make([]float32, len(dst))
					c.got(dst, pitch, c.src, offsets, width)
					c.want(want, pitch, c.src, offsets, width)
					for i := range want {
						if math.Float32bits(dst[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%s of %d rows of %d: value %d is %x, want %x", c.name, rows, width, i,
								math.Float32bits(dst[i]), math.Float32bits(want[i]))
						}
					}
					check(t)
				}
			}
		}
	})
}

func BenchmarkPairs(b *testing.B) {
	for _, p := range Paths() {
		for _, tile := range p.Pairs {
			b.Run(fmt.Sprintf("%s/%dx%d", p.Name, tile.Rows, tile.Block), func(b *testing.B) {
				const inner, tiles, taps = 64, 16, 9
				x, w, y := make([]uint16, 200*inner), make([]uint16, taps*inner*tile.Block),
					make([]float32, tile.Rows*tiles*tile.Block)
				narrow(x, values(1, len(x), 0))
				narrow(w, values(2, len(w), 0))
				var in, out []int32
				list := make([]int64, 2*taps)
				for i := range tile.Rows * tiles {
					in, out = append(in, int32(2*inner*i%(100*2*inner))), append(out, int32(4*tile.Block*i))
				}
				for n := range taps {
					list[2*n], list[2*n+1] = int64(2*inner*n), int64(2*n*inner*tile.Block)
				}
				a := &TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: tiles, Taps: &list[0],
					NTaps: taps, K: inner / 8, B: unsafe.Pointer(&w[0]), Y: unsafe.Pointer(&y[0])}
				for b.Loop() {
					tile.Run(a)
				}
				b.ReportMetric(2*float64(tile.Rows*tiles*tile.Block*inner*taps)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkWinograd(b *testing.B) {
	for _, p := range Paths() {
		for _, f := range []struct {
			name    string
			in, out int
			run     func(*Transform)
		}{{"Input", 6, 6, p.Winograd.Input}, {"Output", 6, 4, p.Winograd.Output},
			{"Weights", 3, 6, p.Winograd.Weights}, {"OutputGrad", 4, 6, p.Winograd.OutputGrad},
			{"WeightsGrad", 6, 3, p.Winograd.WeightsGrad}} {
			b.Run(p.Name+"/"+f.name, func(b *testing.B) {
				const ch = 64
				src, dst := values(1, f.in*f.in*ch, 0), make([]float32, f.out*f.out*ch)
				a := &Transform{Src: unsafe.Pointer(&src[0]), Dst: unsafe.Pointer(&dst[0]),
					SrcRow: int64(4 * f.in * ch), SrcCol: 4 * ch, SrcStep: 64,
					DstRow: int64(4 * f.out * ch), DstCol: 4 * ch, DstStep: 64, N: ch / 16}
				b.SetBytes(int64(4 * (len(src) + len(dst))))
				for b.Loop() {
					f.run(a)
				}
			})
		}
	}
}

func BenchmarkGather(b *testing.B) {
	for _, p := range Paths() {
		const rows, width = 128, 64
		for _, stride := range []int{width, 1024} {
			src, dst := make([]uint16, rows*stride), make([]float32, rows*width)
			var offsets []int32
			for i := range rows {
				offsets = append(offsets, int32(i*stride))
			}
			for name, run := range map[string]gathering{"Gather": p.Gather, "GatherPairs": p.GatherPairs} {
				b.Run(fmt.Sprintf("%s/%s/%d", p.Name, name, stride), func(b *testing.B) {
					b.SetBytes(2 * rows * width)
					for b.Loop() {
						run(dst, width, BFloat16s(src), offsets, width)
					}
				})
			}
		}
	}
}

func BenchmarkBFloat16(b *testing.B) {
	for _, p := range Paths() {
		wide, bf16 := values(1, 1<<13, 0), make([]uint16, 1<<13)
		for name, run := range map[string]func(){
			"Widen": func() { p.Widen(wide, bf16) }, "Narrow": func() { p.Narrow(bf16, wide) },
			"Pair": func() { p.Pair(bf16, wide, p.Tiles[0].Block) },
		} {
			b.Run(p.Name+"/"+name, func(b *testing.B) {
				b.SetBytes(6 << 13)
				for b.Loop() {
					run()
				}
			})
		}
	}
}
