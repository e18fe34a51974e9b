package kernel

import (
	"fmt"
	"math"
	"testing"
	"unsafe"
)

// guard is what tests put round every output; a kernel that writes there shows.
const guard = 12345.5

// values makes n reproducible numbers between -1 and 1, `offset` floats behind an aligned address.
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

// guarded makes n zeros with guards before and behind; check tells whether they still stand.
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

// eachPath runs f for every path by name; one that this machine lacks is skipped by name.
func eachPath(t *testing.T, f func(t *testing.T, p *Path)) {
	have := map[string]*Path{}
	for _, p := range Paths() {
		have[p.Name] = p
	}
	for _, name := range []string{"avx512", "avx2", "portable"} {
		t.Run(name, func(t *testing.T) {
			if have[name] == nil {
				t.Skip("NOT TESTED: this machine does not run it")
			}
			f(t, have[name])
		})
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
		for _, tile := range p.Tiles {
			for _, shape := range []struct{ k, taps, tiles int }{{1, 1, 1}, {2, 3, 2}, {4, 9, 3}, {16, 1, 1}, {5, 49, 2}} {
				for _, acc := range []int64{0, 1} {
					for _, offset := range []int{0, 1, 5} {
						t.Run(fmt.Sprintf("%dx%d k%d taps%d tiles%d acc%d at%d", tile.Rows, tile.Block, 4*shape.k, shape.taps, shape.tiles, acc, offset), func(t *testing.T) {
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
							last := len(in) - 1 // a tail that names its last row again
							in[last], out[last] = in[last-1], out[last-1]
							for n := range shape.taps {
								taps = append(taps, int64(4*inner*(n%20)), int64(4*n*inner*tile.Block))
							}
							seen := map[int32]bool{}
							for i := range in {
								if seen[out[i]] {
									continue // written once, from what was there before
								}
								seen[out[i]] = true
								for j := range tile.Block {
									var s float64
									for n := range shape.taps {
										for k := range inner {
											s += float64(x[int(in[i])/4+int(taps[2*n])/4+k]) * float64(b[int(taps[2*n+1])/4+k*tile.Block+j])
										}
									}
									at := int(out[i])/4 + j
									want[at] = float32(s)
									if acc != 0 {
										want[at] += before[at]
									}
								}
							}
							tile.Run(&TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: int64(shape.tiles), Taps: &taps[0], NTaps: int64(shape.taps),
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
							g.Run(&GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pixels[0], N: int64(n), DY: unsafe.Pointer(&dy[0]), DW: unsafe.Pointer(&dw[0]),
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
					// pair runs the routine of both paths on outputs of their own
					pair := func(name string, size int, run func(p *Path, out []float32)) {
						t.Helper()
						got, check := guarded(size, offset)
						want := make([]float32, size)
						run(p, got)
						run(plain, want)
						same(t, name+", "+what, got, want, float64(rows))
						check(t)
					}
					pair("Sums", ch, func(p *Path, out []float32) { p.Sums(x, ch, out) })
					pair("Squares", ch, func(p *Path, out []float32) { p.Squares(x, ch, a, out) })
					for _, sign := range []bool{false, true} {
						scale, shift := b, c
						if !sign {
							scale, shift = nil, nil
						}
						pair("Normalise", n, func(p *Path, out []float32) { p.Normalise(out, x, nil, ch, c, a, b, sign) })
						pair("Normalise+residual", n, func(p *Path, out []float32) { p.Normalise(out, x, residual, ch, c, a, b, sign) })
						pair("GradSums", 2*ch, func(p *Path, out []float32) { p.GradSums(dy, x, ch, a, scale, shift, out[:ch], out[ch:]) })
						pair("GradInput", n, func(p *Path, out []float32) { p.GradInput(out, dy, x, ch, a, scale, shift, a, b, c) })
					}
					pair("Normalise in place", n, func(p *Path, out []float32) { copy(out, x); p.Normalise(out, out, nil, ch, c, a, b, true) })
					pair("GradInput in place", n, func(p *Path, out []float32) { copy(out, dy); p.GradInput(out, out, x, ch, a, b, c, a, b, c) })
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
				pair("ReLUGrad", func(p *Path, out []float32) { p.ReLUGrad(out, x, y) })
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

// TestExponential holds ExpSum to 2e-6 of math.Exp over its range, and to its edges.
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
							t.Fatalf("%dx%d: row %d, column %d is %v, want %v", rows, cols, r, c, dst[c*(rows+5)+r], src[r*(cols+3)+c])
						}
					}
				}
				check(t)
			}
		}
	})
}

// TestNaNs: a NaN must not be lost, wherever it lies, or a run that diverged would look well.
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
				"Normalise with ReLU":     func() float32 { p.Normalise(y, x, nil, 16, zeros, one, zeros, true); return y[at] },
				"Normalise of a residual": func() float32 { p.Normalise(y, zeros, x, 16, zeros, one, zeros, true); return y[at] },
				"Sums":                    func() float32 { clear(y); p.Sums(x, 16, y[:16]); return y[at%16] },
				"Squares":                 func() float32 { clear(y); p.Squares(x, 16, zeros, y[:16]); return y[at%16] },
				"GradSums":                func() float32 { clear(y); p.GradSums(x, zeros, 16, zeros, nil, nil, y, y[16:]); return y[at%16] },
				"GradInput":               func() float32 { p.GradInput(y, x, zeros, 16, zeros, nil, nil, one, one, one); return y[at] },
				"ReLU":                    func() float32 { p.ReLU(y, x); return y[at] },
				"ReLUGrad":                func() float32 { p.ReLUGrad(y, x, positive); return y[at] },
				"WeightedSum":             func() float32 { p.WeightedSum(y, 1, zeros, 1, x, 0, nil); return y[at] },
				"RowMax":                  func() float32 { return p.RowMax(x) },
				"the sum of ExpSum":       func() float32 { return p.ExpSum(y, x, 1, 0) },
				"ExpSum":                  func() float32 { p.ExpSum(y, x, 1, 0); return y[at] },
				"Dot":                     func() float32 { return p.Dot(x, zeros) },
			} {
				if v := run(); !isNaN(v) {
					t.Fatalf("%s made %v of a NaN at %d", name, v, at)
				}
			}
		}
	})
}

// TestAddressDoesNotMatter: the same values at another address give the same bits.
func TestAddressDoesNotMatter(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		const n, ch, pixels = 1024 + 17, 64, 16
		var first []float32
		for offset := range 17 {
			// at is the same values, `by` floats further for each offset
			at := func(seed, n, by int) []float32 {
				moved := make([]float32, n+17*by)[offset*by:][:n]
				copy(moved, values(seed, n, 0))
				return moved
			}
			x, y, f := at(1, n, 1), at(2, n, 2), at(3, ch, 3)
			got := []float32{p.Dot(x, y), p.RowMax(x)}
			result := func(n int, run func(out []float32)) {
				out := make([]float32, n+offset)[offset:]
				run(out)
				got = append(got, out...)
			}
			rows := x[:1024]
			result(n+1, func(out []float32) { out[n] = p.ExpSum(out[:n], x, 3, 1) })
			result(n, func(out []float32) { p.WeightedSum(out, 0.9, x, 0.1, y, 0, nil) })
			result(ch, func(out []float32) { p.Sums(rows, ch, out) })
			result(ch, func(out []float32) { p.Squares(rows, ch, f, out) })
			result(1024, func(out []float32) { p.Normalise(out, rows, y[:1024], ch, f, f, f, true) })
			result(2*ch, func(out []float32) { p.GradSums(y[:1024], rows, ch, f, f, f, out[:ch], out[ch:]) })
			result(1024, func(out []float32) { p.GradInput(out, y[:1024], rows, ch, f, f, f, f, f, f) })
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
			for _, g := range p.Grads {
				var pairs []int32
				for i := range pixels {
					pairs = append(pairs, int32(4*ch*i), int32(4*g.Block*i))
				}
				result(ch*g.Block, func(out []float32) {
					g.Run(&GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pairs[0], N: pixels, DY: unsafe.Pointer(&y[0]), DW: unsafe.Pointer(&out[0]),
						RowStride: int64(4 * g.Block), Tiles: int64(ch / g.Rows)})
				})
			}
			if first == nil {
				first = got
			}
			for i := range got {
				if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
					t.Fatalf("at offset %d result %d is %v, at 0 it is %v", offset, i, got[i], first[i])
				}
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	eachPath(t, func(t *testing.T, p *Path) {
		x, y, f := values(1, 1024, 0), values(2, 1024, 0), values(3, 64, 0)
		if n := testing.AllocsPerRun(10, func() {
			p.Sums(x, 64, f)
			p.Normalise(y, x, x, 64, f, f, f, true)
			p.GradSums(y, x, 64, f, f, f, f, f)
			p.WeightedSum(y, 1, x, 2, y, 0, nil)
			p.ExpSum(y, x, 1, 0)
			p.Dot(x, y)
			p.RowMax(x)
			p.Transpose(y, 32, x, 32, 32, 32)
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
				x, y, w := values(1, 200*inner, 0), make([]float32, tile.Rows*tiles*tile.Block), values(2, taps*inner*tile.Block, 0)
				var in, out []int32
				list := make([]int64, 2*taps)
				for i := range tile.Rows * tiles {
					in, out = append(in, int32(4*inner*i%(100*4*inner))), append(out, int32(4*tile.Block*i))
				}
				for n := range taps {
					list[2*n], list[2*n+1] = int64(4*inner*n), int64(4*n*inner*tile.Block)
				}
				a := &TileArgs{X: unsafe.Pointer(&x[0]), In: &in[0], Out: &out[0], Tiles: tiles, Taps: &list[0], NTaps: taps, K: inner / 4, B: unsafe.Pointer(&w[0]), Y: unsafe.Pointer(&y[0])}
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
				a := &GradArgs{X: unsafe.Pointer(&x[0]), Pixels: &pixels[0], N: n, DY: unsafe.Pointer(&dy[0]), DW: unsafe.Pointer(&dw[0]), RowStride: int64(4 * g.Block), Acc: 1, Tiles: int64(64 / g.Rows)}
				for b.Loop() {
					g.Run(a)
				}
				b.ReportMetric(2*n*64*float64(g.Block)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
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
				"Sums":      func() { p.Sums(x, ch, f) },
				"Squares":   func() { p.Squares(x, ch, f, f) },
				"Normalise": func() { p.Normalise(y, x, nil, ch, f, f, f, true) },
				"GradSums":  func() { p.GradSums(dy, x, ch, f, f, f, f, f) },
				"GradInput": func() { p.GradInput(y, dy, x, ch, f, f, f, f, f, f) },
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
