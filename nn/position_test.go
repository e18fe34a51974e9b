package nn

import (
	"math"
	"testing"
)

// TestInterpolation compares with PyTorch 1.13's F.interpolate in float64, on the values
// sin(0.7*i) of a square grid: by size, by the factor (to+0.1)/from, and with antialiasing. The
// values are those at the places 0, 1, to, to+1, to*to/2 and to*to-1.
func TestInterpolation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to int
		kind     string
		want     []float64
	}{
		{4, 6, "bicubic", []float64{-0.095022246, 0.311749553, 0.270738922, 0.203788425, -0.662310568, -1.0927495}},
		{4, 6, "bicubic_offset", []float64{-0.09705191, 0.299441092, 0.259197225, 0.208680247, -0.635684505, -1.035030217}},
		{4, 6, "bicubic_antialias", []float64{-0.070177968, 0.298890221, 0.218435354, 0.193994557, -0.632636049, -1.040000572}},
		{7, 3, "bicubic", []float64{-0.44246352, 0.863588994, 0.550078037, -0.887567034, -0.887567034, 0.409441686}},
		{7, 3, "bicubic_offset", []float64{-0.414319836, 0.839329, 0.433421502, -0.91908745, -0.91908745, 0.334156214}},
		{7, 3, "bicubic_antialias", []float64{-0.302412638, 0.420524988, 0.192546493, -0.370249787, -0.370249787, 0.190344829}},
		{16, 37, "bicubic", []float64{0.033194981, 0.187917241, -0.199739257, -0.059057712, 0.988084741, 0.634376698}},
		{16, 37, "bicubic_antialias", []float64{0.029476287, 0.157343349, -0.161728661, -0.043692212, 0.887654441, 0.6225425}},
		{37, 16, "bicubic", []float64{0.745289815, 0.570894646, 0.439804924, -0.932320951, 0.540728211, 0.971086516}},
		{37, 16, "bicubic_offset", []float64{0.737539648, 0.591213342, 0.46324158, -0.917944567, 0.629678501, 0.965733986}},
		{37, 16, "bicubic_antialias", []float64{0.765750159, 0.37332411, 0.261426513, -0.755407061, 0.379342665, 0.831371551}},
	} {
		w := resampling(c.from, c.to, c.kind)
		for i, place := range []int{0, 1, c.to, c.to + 1, c.to * c.to / 2, c.to*c.to - 1} {
			var got float64
			for row, a := range w[place/c.to] {
				for column, b := range w[place%c.to] {
					got += a * b * math.Sin(0.7*float64(row*c.from+column))
				}
			}
			if math.Abs(got-c.want[i]) > 1e-8 {
				t.Errorf("%s from %d to %d: place %d is %.9f, want %.9f", c.kind, c.from, c.to, place, got, c.want[i])
			}
		}
	}
}

// TestSincos compares some values with those of MoCo v3's build_2d_sincos_position_embedding.
func TestSincos(t *testing.T) {
	t.Parallel()
	c := vit("vit_ti16")
	c.Position = "sincos"
	x := initialised(t, c, "pos_embed")
	for _, v := range x[:192] {
		if v != 0 {
			t.Fatalf("the class token has the position %v, want zeros", v)
		}
	}
	// The patch of row 3 and column 5 stands behind the class token and 3*14+5 others.
	patch := x[(1+3*14+5)*192:]
	frequency := math.Pow(10000, -7.0/48)
	for place, want := range map[int]float64{
		0: math.Sin(3), 48: math.Cos(3), 96: math.Sin(5), 144: math.Cos(5),
		7: math.Sin(3 * frequency), 48 + 7: math.Cos(3 * frequency), 96 + 7: math.Sin(5 * frequency),
	} {
		if got := float64(patch[place]); math.Abs(got-want) > 1e-7 {
			t.Errorf("channel %d is %v, want %v", place, got, want)
		}
	}
}
