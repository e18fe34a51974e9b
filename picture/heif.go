//go:build heic && nodynamic

package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"

	"github.com/gen2brain/avif"
	"github.com/gen2brain/heic"
)

// boxedReader reads HEIC and AVIF. The tag nodynamic keeps the libraries from looking for C
// libraries on the machine: the program stays static, and the pixels do not depend on what is
// installed.
func boxedReader(format string) (reader, bool) {
	switch format {
	case "heic", "heif":
		return reader{size: boxedSize, decode: (*Decoder).decodeHEIC}, true
	case "avif":
		return reader{size: boxedSize, decode: (*Decoder).decodeAVIF}, true
	}
	return reader{}, false
}

// boxes calls see with each box (ISO/IEC 14496-12 section 4.2) in b.
func boxes(b []byte, see func(kind string, body []byte)) {
	for len(b) >= 8 {
		size, head := uint64(binary.BigEndian.Uint32(b)), uint64(8)
		switch {
		case size == 0:
			size = uint64(len(b))
		case size == 1 && len(b) >= 16:
			size, head = binary.BigEndian.Uint64(b[8:]), 16
		}
		if size < head || size > uint64(len(b)) {
			return
		}
		see(string(b[4:8]), b[head:size])
		b = b[size:]
	}
}

// boxedFile is what the boxes say of the first picture (ISO/IEC 23008-12).
type boxedFile struct {
	primary    uint32
	properties []property
	uses       map[uint32][]int // by picture: places in properties
}

// property is one box of ipco.
type property struct {
	kind string
	body []byte
}

// parseBoxed reads meta, where the properties of pictures are.
func parseBoxed(content []byte) *boxedFile {
	f := &boxedFile{uses: map[uint32][]int{}}
	const fullHead = 4 // version and flags
	boxes(content, func(kind string, body []byte) {
		if kind != "meta" || len(body) < fullHead {
			return
		}
		boxes(body[fullHead:], func(kind string, body []byte) {
			switch {
			case kind == "pitm" && len(body) >= 8 && body[0] > 0:
				f.primary = binary.BigEndian.Uint32(body[4:])
			case kind == "pitm" && len(body) >= 6:
				f.primary = uint32(binary.BigEndian.Uint16(body[4:]))
			case kind == "iprp":
				boxes(body, f.propertyBox)
			}
		})
	})
	return f
}

// propertyBox reads ipco, the properties, and ipma, which pictures have which.
func (f *boxedFile) propertyBox(kind string, body []byte) {
	switch kind {
	case "ipco":
		boxes(body, func(kind string, body []byte) { f.properties = append(f.properties, property{kind, body}) })
	case "ipma":
		if len(body) < 8 {
			return
		}
		wideItem, wideIndex := body[0] > 0, body[3]&1 != 0
		number := func(wide bool, narrow, broad int) (v uint32) {
			n := narrow
			if wide {
				n = broad
			}
			if len(body) < n {
				body = nil
				return 0
			}
			for _, b := range body[:n] {
				v = v<<8 | uint32(b)
			}
			body = body[n:]
			return v
		}
		entries := binary.BigEndian.Uint32(body[4:])
		body = body[8:]
		for ; entries > 0 && len(body) > 0; entries-- {
			item := number(wideItem, 2, 4)
			for n := number(false, 1, 1); n > 0 && len(body) > 0; n-- {
				at := number(wideIndex, 1, 2)
				if wideIndex {
					at &= 0x7fff
				} else {
					at &= 0x7f
				}
				f.uses[item] = append(f.uses[item], int(at)-1)
			}
		}
	}
}

// each calls see with the primary picture's properties, in order.
func (f *boxedFile) each(see func(property)) {
	for _, at := range f.uses[f.primary] {
		if at >= 0 && at < len(f.properties) {
			see(f.properties[at])
		}
	}
}

func boxedSize(content []byte) (width, height int, err error) {
	err = errors.New("no size is given")
	parseBoxed(content).each(func(p property) {
		if p.kind == "ispe" && len(p.body) >= 12 {
			width, height = int(binary.BigEndian.Uint32(p.body[4:])), int(binary.BigEndian.Uint32(p.body[8:]))
			err = nil
		}
	})
	return width, height, err
}

// decodeHEIC decodes with a library that turns the picture upright itself. It mixes up the rows of
// chroma of narrow pictures.
func (d *Decoder) decodeHEIC(content []byte, dst *Image) (orientation int, err error) {
	const narrow = 128
	if min(dst.Width, dst.Height) < narrow && max(dst.Width, dst.Height) < narrow {
		return 0, &UnsupportedError{Format: "heic", Kind: "fewer than 128 pixels a row"}
	}
	m, err := heic.Decode(bytes.NewReader(content))
	if err != nil {
		return 0, err
	}
	return 1, d.fromBoxed(dst, m)
}

// fromBoxed converts what a library gives, if it is no larger than the header said.
func (d *Decoder) fromBoxed(dst *Image, m image.Image) error {
	size := m.Bounds().Size()
	if size.X <= 0 || size.Y <= 0 || size.X > dst.Width*dst.Height/size.Y {
		return errors.New("the picture is larger than its header says")
	}
	dst.Resize(size.X, size.Y)
	d.fromImage(dst, m, d.options.Ground)
	return nil
}

// decodeAVIF decodes, and turns the picture as its boxes say: first irot, a quarter of a turn
// counter-clockwise each, then imir.
func (d *Decoder) decodeAVIF(content []byte, dst *Image) (orientation int, err error) {
	m, err := avif.Decode(bytes.NewReader(content))
	if err != nil {
		return 0, err
	}
	quarters, mirror := 0, byte(0)
	parseBoxed(content).each(func(p property) {
		switch {
		case len(p.body) < 1:
		case p.kind == "irot":
			quarters = int(p.body[0] & 3)
		case p.kind == "imir":
			mirror = 1 + p.body[0]&1
		}
	})
	// By quarter turns: none, with the rows turned round, with the columns turned round.
	table := [4][3]int{{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}
	return table[quarters][mirror], d.fromBoxed(dst, m)
}
