package data

import (
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"net/url"
	"strconv"
	"strings"

	"moco/internal/rng"
	"moco/picture"
)

// builtin is the drawn set: ten classes of shape or texture at random place, size, angle and
// colour, on random backgrounds, with noise. Colour, brightness and background say nothing about
// the class, so that comparing pixels goes wrong most of the time, and what helps is what
// contrastive learning finds. An image is a pure function of the seed, the part and its index (on
// one kind of processor: where multiplying and adding are fused, a value may round to the next
// level); nothing is stored.
type builtin struct {
	part Part
	edge int // pixels
	seed uint64
	n    int
}

// drawings are the classes, sorted by name. A drawing maps a place to how far it lies outside the
// figure, negative inside, in units of the figure's radius (textures: of their period).
var drawings = [...]struct {
	name    string
	texture bool // fills the frame instead of lying in it
	outside func(u, v float64) float64
}{
	{"checker", true, func(u, v float64) float64 {
		a, b := wave(u), wave(v)
		return max(min(a, -b), min(-a, b)) // one of the two stripes, not both: inside where the signs differ
	}},
	{"cross", false, func(u, v float64) float64 {
		u, v = math.Abs(u), math.Abs(v)
		return min(max(u-1, v-0.33), max(u-0.33, v-1))
	}},
	{"disc", false, func(u, v float64) float64 { return math.Sqrt(u*u+v*v) - 0.9 }},
	{"dots", true, func(u, v float64) float64 {
		u, v = u-math.Round(u), v-math.Round(v)
		return math.Sqrt(u*u+v*v) - 0.3
	}},
	{"ring", false, func(u, v float64) float64 { return math.Abs(math.Sqrt(u*u+v*v)-0.75) - 0.2 }},
	{"square", false, func(u, v float64) float64 { return max(math.Abs(u), math.Abs(v)) - 0.8 }},
	{"star", false, func(u, v float64) float64 {
		// A pentagram: inside at least four of the five half-planes.
		first, second := math.Inf(-1), math.Inf(-1)
		for _, n := range pentagon {
			d := n[0]*u + n[1]*v - 0.36
			first, second = max(first, d), max(second, min(first, d))
		}
		return second
	}},
	{"stripes", true, func(u, _ float64) float64 { return wave(u) }},
	{"triangle", false, func(u, v float64) float64 {
		const c, s = 0.5, 0.8660254037844386
		return max(-v, s*u+c*v, -s*u+c*v) - 0.52
	}},
	{"waves", true, func(u, v float64) float64 { return wave(math.Sqrt(u*u + v*v)) }},
}

// pentagon holds the normals of a regular pentagon's sides.
var pentagon = [5][2]float64{
	{0, -1}, {0.9510565162951535, -0.30901699437494745}, {0.5877852522924731, 0.8090169943749475},
	{-0.5877852522924731, 0.8090169943749475}, {-0.9510565162951535, -0.30901699437494745},
}

// wave is the signed distance to stripes of width 1/2 and period 1.
func wave(u float64) float64 { return math.Abs(u-math.Round(u)) - 0.25 }

// openBuiltin parses "builtin:train?n=2000&size=32&seed=0".
func openBuiltin(path string, opts Options) (*Set, error) {
	name, query, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "builtin"), ":"), "?")
	b := &builtin{edge: 32}
	switch {
	case name == "train" || (name == "" && opts.Part != Test):
		b.part, b.n = Train, 5000
	case name == "test" || name == "":
		b.part, b.n = Test, 1000
	default:
		return nil, fmt.Errorf("%s: the built-in set has the parts builtin:train and builtin:test", path)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; write it like builtin:train?n=2000&size=32&seed=0", path, err)
	}
	for key, value := range values {
		v, err := strconv.ParseUint(value[len(value)-1], 10, 63)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %s must be a whole number, not %q", path, key, value[len(value)-1])
		case key == "n" && v >= 1 && v <= 10_000_000:
			b.n = int(v)
		case key == "size" && v >= 8 && v <= 2048 && v*v <= uint64(opts.MaxPixels):
			b.edge = int(v)
		case key == "seed":
			b.seed = v
		case key == "n" || key == "size":
			return nil, fmt.Errorf("%s: %s is out of range (n: 1 to 10 million images, size: 8 to 2048 pixels)", path, key)
		default:
			return nil, fmt.Errorf("%s: %q is not known; the built-in set takes n, size and seed", path, key)
		}
	}
	s := &Set{kind: "built-in", backend: b, names: make([]string, b.n), labels: make([]int32, b.n)}
	for _, d := range drawings {
		s.classes = append(s.classes, d.name)
	}
	for i := range b.n {
		s.labels[i] = int32(i % len(drawings))
		s.names[i] = fmt.Sprintf("%s/%06d-%s", b.part, i, s.classes[s.labels[i]])
	}
	return s, nil
}

func (b *builtin) header(int) (string, int, int, error) { return "drawn", b.edge, b.edge, nil }
func (b *builtin) size(int) int64                       { return 0 }
func (b *builtin) close() error                         { return nil }

func (b *builtin) fingerprint(h hash.Hash) { h.Write(b.identity(nil)) }

// stored is what an image is drawn from.
func (b *builtin) stored(i int, buf []byte) ([]byte, bool, error) {
	return binary.LittleEndian.AppendUint64(b.identity(buf[:0]), uint64(i)), false, nil
}

// identity appends all that the drawings depend on.
func (b *builtin) identity(to []byte) []byte {
	const version = 1 // of the drawings: a change of what is drawn changes it
	for _, v := range []uint64{version, b.seed, uint64(b.part), uint64(b.edge)} {
		to = binary.LittleEndian.AppendUint64(to, v)
	}
	return to
}

// colour is linear in the stored values: red, green, blue, 0 to 255.
type colour [3]float64

func (c colour) luma() float64 { return 0.299*c[0] + 0.587*c[1] + 0.114*c[2] }

func randomColour(r *rng.Source) colour {
	return colour{r.Uniform(0, 255), r.Uniform(0, 255), r.Uniform(0, 255)}
}

// read draws image i. All lengths are in units of the image's edge.
func (b *builtin) read(i int, _ picture.Options, dst *Image) error {
	const tag = 0x6275696c74 // "built": the streams of this set are its own
	r := rng.New(tag, b.seed, uint64(b.part), uint64(i))
	d := &drawings[i%len(drawings)]
	dst.Resize(b.edge, b.edge)

	// Two fields of colour, each plain, a ramp or blotches; behind and in the figure.
	behind, front := randomColour(&r), randomColour(&r)
	for math.Abs(behind.luma()-front.luma()) < 45 { // an invisible figure would be nobody's to learn
		front = randomColour(&r)
	}
	ground, figure := newField(&r), newField(&r)

	// The figure's own axes: a place (x, y) is at u, v in them.
	cx, cy := r.Uniform(0.38, 0.62), r.Uniform(0.38, 0.62)
	scale := r.Uniform(0.27, 0.44)
	if d.texture {
		cx, cy = r.Uniform(0, 1), r.Uniform(0, 1)
		scale = r.Uniform(0.18, 0.34) // the period: at least five pixels of 32
	}
	sin, cos := math.Sincos(r.Uniform(0, 2*math.Pi))
	squeeze := math.Exp(r.Uniform(-0.15, 0.15))
	ux, uy := cos/scale*squeeze, sin/scale*squeeze
	vx, vy := -sin/scale/squeeze, cos/scale/squeeze
	sharp := scale * float64(b.edge) // the distance of 1 in pixels: coverage changes over one pixel
	noise := r.Uniform(0, 24)

	step := 1 / float64(b.edge)
	out := dst.Pix
	for py := range b.edge {
		y := (float64(py) + 0.5) * step
		for px := range b.edge {
			x := (float64(px) + 0.5) * step
			u, v := (x-cx)*ux+(y-cy)*uy, (x-cx)*vx+(y-cy)*vy
			cover := max(0, min(0.5-d.outside(u, v)*sharp, 1))
			g, f := ground.at(x, y), figure.at(x, y)
			random := r.Uint64()
			for c := range 3 {
				// Two bytes make a triangular distribution from -1 to 1.
				grain := float64(int32(random&0xff)+int32(random>>8&0xff)-255) / 255
				random >>= 16
				value := behind[c] + g + cover*(front[c]+f-behind[c]-g) + noise*grain
				out[c] = uint8(max(0, min(value+0.5, 255)))
			}
			out = out[3:]
		}
	}
	return nil
}

// field is how bright a surface is from place to place: a ramp and blotches on a grid, both
// possibly zero.
type field struct {
	base, dx, dy float64
	blotchy      bool
	grid         [6][6]float64
}

func newField(r *rng.Source) field {
	var f field
	switch r.IntN(3) {
	case 1:
		sin, cos := math.Sincos(r.Uniform(0, 2*math.Pi))
		strength := r.Uniform(40, 120)
		f.dx, f.dy = strength*cos, strength*sin
		f.base = -(f.dx + f.dy) / 2
	case 2:
		f.blotchy = true
		strength := r.Uniform(15, 50)
		for i := range f.grid {
			for j := range f.grid[i] {
				f.grid[i][j] = r.Uniform(-strength, strength)
			}
		}
	}
	return f
}

// at returns what is added to the colour at a place of the unit square.
func (f *field) at(x, y float64) float64 {
	if !f.blotchy {
		return f.base + f.dx*x + f.dy*y
	}
	x, y = x*5, y*5
	i, j := int(y), int(x)
	y, x = y-float64(i), x-float64(j)
	above := f.grid[i][j] + x*(f.grid[i][j+1]-f.grid[i][j])
	below := f.grid[i+1][j] + x*(f.grid[i+1][j+1]-f.grid[i+1][j])
	return above + y*(below-above)
}
