package picture

import (
	"encoding/binary"
	"errors"
)

// directory is the first directory of a TIFF structure (TIFF 6.0 section 2, BigTIFF), as TIFF files
// and EXIF data have it.
type directory struct {
	order  binary.ByteOrder
	all    []byte // the structure, which offsets count from
	fields map[uint16]field
}

// field is one entry of a directory.
type field struct {
	kind  uint16
	count uint64
	data  []byte // count values; nil if they lie beyond the end
}

// kindBytes are the lengths of the field types 1 to 18.
var kindBytes = [...]uint64{
	1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}

var errNoTIFF = errors.New("no TIFF header")

// readDirectory reads the first directory. Fields that lie beyond the end of the data have no
// values.
func readDirectory(b []byte) (*directory, error) {
	d := &directory{all: b, fields: map[uint16]field{}}
	if len(b) < 8 {
		return nil, errShort
	}
	switch string(b[:2]) {
	case "II":
		d.order = binary.LittleEndian
	case "MM":
		d.order = binary.BigEndian
	default:
		return nil, errNoTIFF
	}
	wide := false // BigTIFF: counts and offsets of eight bytes
	switch d.order.Uint16(b[2:]) {
	case 42, 42 << 8: // some writers turn the two bytes round
	case 43:
		wide = true
	default:
		return nil, errNoTIFF
	}
	at, head, entry := uint64(d.order.Uint32(b[4:])), uint64(2), uint64(12)
	if wide {
		if len(b) < 16 {
			return nil, errShort
		}
		at, head, entry = d.order.Uint64(b[8:]), 8, 20
	}
	size := uint64(len(b))
	if at > size || size-at < head {
		return nil, errShort
	}
	var n uint64
	if wide {
		n = d.order.Uint64(b[at:])
	} else {
		n = uint64(d.order.Uint16(b[at:]))
	}
	at += head
	for ; n > 0 && size-at >= entry; n-- {
		d.add(b[at:at+entry], wide)
		at += entry
	}
	return d, nil
}

// add reads one entry: tag, type, count, and the values themselves or where they are.
func (d *directory) add(e []byte, wide bool) {
	tag := d.order.Uint16(e)
	if _, twice := d.fields[tag]; twice {
		return
	}
	f := field{kind: d.order.Uint16(e[2:])}
	value := e[8:]
	if wide {
		f.count, value = d.order.Uint64(e[4:]), e[12:]
	} else {
		f.count = uint64(d.order.Uint32(e[4:]))
	}
	if int(f.kind) < len(kindBytes) && kindBytes[f.kind] > 0 && f.count <= uint64(len(d.all)) {
		need := f.count * kindBytes[f.kind]
		from := uint64(0)
		if need > uint64(len(value)) {
			if from = uint64(d.order.Uint32(value)); wide {
				from = d.order.Uint64(value)
			}
			value = d.all
		}
		if size := uint64(len(value)); from <= size && need <= size-from {
			f.data = value[from : from+need]
		}
	}
	d.fields[tag] = f
}

// ints returns a field's values if it is there and holds whole numbers of any type, else nil.
func (d *directory) ints(tag uint16) []int64 {
	f := d.fields[tag]
	const most = 1 << 24
	if f.data == nil || f.count > most {
		return nil
	}
	v := make([]int64, 0, f.count)
	for b := f.data; len(b) > 0; b = b[kindBytes[f.kind]:] {
		switch f.kind {
		case 1, 7:
			v = append(v, int64(b[0]))
		case 6:
			v = append(v, int64(int8(b[0])))
		case 3:
			v = append(v, int64(d.order.Uint16(b)))
		case 8:
			v = append(v, int64(int16(d.order.Uint16(b))))
		case 4, 13:
			v = append(v, int64(d.order.Uint32(b)))
		case 9:
			v = append(v, int64(int32(d.order.Uint32(b))))
		case 16, 17, 18:
			v = append(v, int64(d.order.Uint64(b)))
		default:
			return nil
		}
	}
	return v
}

// int returns a field's first value, otherwise if it is not there.
func (d *directory) int(tag uint16, otherwise int64) int64 {
	if v := d.ints(tag); len(v) > 0 {
		return v[0]
	}
	return otherwise
}

// has tells whether a field is there.
func (d *directory) has(tag uint16) bool {
	_, ok := d.fields[tag]
	return ok
}
