package picture

import (
	"encoding/hex"
	"fmt"
)

// Ground is what transparent pixels are laid on. The zero value is white. Two grounds are equal by
// ==.
type Ground struct {
	dark [3]uint8 // 255 less the colour, so that the zero value is white
	drop bool
}

// The grounds that have names. Drop leaves transparency out: a pixel keeps the colour that the file
// gives it, however little of it is seen, as Pillow's convert("RGB") does. What is behind line art
// is then mostly black.
var (
	White = Ground{}
	Black = Ground{dark: [3]uint8{255, 255, 255}}
	Drop  = Ground{drop: true}
)

// RGB returns the ground of that colour.
func RGB(r, g, b uint8) Ground { return Ground{dark: [3]uint8{255 - r, 255 - g, 255 - b}} }

// ParseGround reads "white", "black", "drop" or a colour as "#rrggbb".
func ParseGround(text string) (Ground, error) {
	switch text {
	case "white":
		return White, nil
	case "black":
		return Black, nil
	case "drop":
		return Drop, nil
	}
	if len(text) == 7 && text[0] == '#' {
		if c, err := hex.DecodeString(text[1:]); err == nil {
			return RGB(c[0], c[1], c[2]), nil
		}
	}
	return Ground{}, fmt.Errorf("ground %q is not known; want white, black, drop or a colour as #rrggbb", text)
}

// String returns what [ParseGround] reads.
func (g Ground) String() string {
	switch g {
	case White:
		return "white"
	case Black:
		return "black"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("#%02x%02x%02x", 255-g.dark[0], 255-g.dark[1], 255-g.dark[2])
}

// MarshalText is [Ground.String].
func (g Ground) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText is [ParseGround].
func (g *Ground) UnmarshalText(text []byte) (err error) {
	*g, err = ParseGround(string(text))
	return err
}

// lay writes the colour r, g, b of opacity a (255: opaque; not multiplied into the colour) over the
// ground.
func (g Ground) lay(dst []uint8, r, gr, b, a uint8) {
	dst = dst[:3:3]
	if a == 255 || g.drop {
		dst[0], dst[1], dst[2] = r, gr, b
		return
	}
	under := 255 - uint32(a)
	dst[0] = mix(r, a, 255-g.dark[0], under)
	dst[1] = mix(gr, a, 255-g.dark[1], under)
	dst[2] = mix(b, a, 255-g.dark[2], under)
}

// mix returns (over*a + ground*under) / 255, rounded to nearest, where a + under = 255. It is
// exact: Pillow's paste and alpha_composite agree on it.
func mix(over, a, ground uint8, under uint32) uint8 {
	v := uint32(over)*uint32(a) + uint32(ground)*under + 128
	return uint8((v + v>>8) >> 8)
}

// layRGBA lays a row of r, g, b, a. Most pixels are opaque or not there at all.
func (g Ground) layRGBA(dst, src []uint8) {
	bare := [3]uint8{255 - g.dark[0], 255 - g.dark[1], 255 - g.dark[2]}
	for len(src) >= 4 && len(dst) >= 3 {
		switch a := src[3]; {
		case a == 255 || g.drop:
			dst[0], dst[1], dst[2] = src[0], src[1], src[2]
		case a == 0:
			dst[0], dst[1], dst[2] = bare[0], bare[1], bare[2]
		default:
			g.lay(dst, src[0], src[1], src[2], a)
		}
		dst, src = dst[3:], src[4:]
	}
}

// layGrayAlpha lays a row of gray, a.
func (g Ground) layGrayAlpha(dst, src []uint8) {
	for len(src) >= 2 && len(dst) >= 3 {
		g.lay(dst, src[0], src[0], src[0], src[1])
		dst, src = dst[3:], src[2:]
	}
}

// colourTable is a table of colours with opacity.
type colourTable [256][4]uint8

// grayRamp is what an index beyond a file's own colours means, as in Pillow, and all there is
// without any.
func grayRamp() (p colourTable) {
	for i := range p {
		p[i] = [4]uint8{uint8(i), uint8(i), uint8(i), 255}
	}
	return p
}

// onto lays all colours on a ground.
func (p *colourTable) onto(g Ground) *[256][3]uint8 {
	var t [256][3]uint8
	for i, c := range p {
		g.lay(t[i][:], c[0], c[1], c[2], c[3])
	}
	return &t
}

// lookUp writes the colours of a row of indices.
func lookUp(dst, indices []uint8, table *[256][3]uint8) {
	for _, i := range indices {
		if len(dst) < 3 {
			return
		}
		c := &table[i]
		dst[0], dst[1], dst[2] = c[0], c[1], c[2]
		dst = dst[3:]
	}
}
