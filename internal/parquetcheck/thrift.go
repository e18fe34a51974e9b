package parquetcheck

import "encoding/binary"

// walker walks structures in Thrift's compact protocol, without making any. Its first error ends the
// walk.
type walker struct {
	b     []byte
	at    int
	depth int
	taken int64 // memory of the lists so far, once somebody makes them
	err   error
}

// kind is a type of the protocol.
type kind byte

const (
	yes kind = 1 + iota
	no
	int8s
	int16s
	int32s
	int64s
	double
	binaries
	lists
	sets
	maps
	structs
	uuids
)

// deepest is how deep structures may lie in each other.
const deepest = 32

// Memory that an element of a list takes at most once it is read: the largest structures of a footer
// take some hundred bytes.
const structMemory, otherMemory = 600, 32

func (w *walker) fail() {
	if w.err == nil {
		w.err = errDamaged
	}
}

func (w *walker) byte() byte {
	if w.err != nil || w.at >= len(w.b) {
		w.fail()
		return 0
	}
	w.at++
	return w.b[w.at-1]
}

// skip passes over bytes.
func (w *walker) skip(n uint64) {
	if w.err != nil || n > uint64(len(w.b)-w.at) {
		w.fail()
		return
	}
	w.at += int(n)
}

func (w *walker) unsigned() uint64 {
	if w.err != nil {
		return 0
	}
	v, n := binary.Uvarint(w.b[w.at:])
	if n <= 0 {
		w.fail()
		return 0
	}
	w.at += n
	return v
}

// number is a signed number.
func (w *walker) number() int64 {
	v := w.unsigned()
	return int64(v>>1) ^ -int64(v&1)
}

// structure calls field for each of a structure's fields; where that returns false, the field is passed
// over.
func (w *walker) structure(field func(id int64, k kind) bool) {
	if w.depth++; w.depth > deepest {
		w.fail()
	}
	defer func() { w.depth-- }()
	id := int64(0)
	for w.err == nil {
		head := w.byte()
		if head == 0 {
			return
		}
		if by := int64(head >> 4); by != 0 {
			id += by
		} else {
			id = w.number()
		}
		if k := kind(head & 15); !field(id, k) {
			w.pass(k)
		}
	}
}

// list calls element for each of a list's elements.
func (w *walker) list(element func(k kind)) {
	head := w.byte()
	n, k := uint64(head>>4), kind(head&15)
	if n == 15 {
		n = w.unsigned()
	}
	if n > uint64(len(w.b)-w.at) { // an element takes at least a byte
		w.fail()
		return
	}
	memory := int64(otherMemory)
	if k == structs {
		memory = structMemory
	}
	if w.taken += int64(n) * memory; w.taken > MaxFooter && w.err == nil {
		w.err = &LimitError{"bytes of memory for a header's lists", w.taken, MaxFooter}
	}
	for ; n > 0 && w.err == nil; n-- {
		element(k)
	}
}

// pass passes over a field's value.
func (w *walker) pass(k kind) {
	if k != yes && k != no { // these are their own values
		w.passElement(k)
	}
}

// passElement passes over an element of a list.
func (w *walker) passElement(k kind) {
	switch k {
	case yes, no, int8s:
		w.skip(1)
	case int16s, int32s, int64s:
		w.unsigned()
	case double:
		w.skip(8)
	case uuids:
		w.skip(16)
	case binaries:
		w.skip(w.unsigned())
	case lists, sets:
		if w.depth++; w.depth > deepest {
			w.fail()
		}
		w.list(w.passElement)
		w.depth--
	case structs:
		w.structure(func(int64, kind) bool { return false })
	default: // no header of a Parquet file has a map
		w.fail()
	}
}

// fileMetaData is the structure of this name: the columns of its groups of rows. Numbers are those of
// Parquet's parquet.thrift.
func fileMetaData(w *walker) (chunks []chunk) {
	w.structure(func(id int64, k kind) bool {
		if id != 4 || k != lists {
			return false
		}
		w.list(func(k kind) {
			if k != structs {
				w.passElement(k)
				return
			}
			chunks = append(chunks, rowGroup(w)...)
		})
		return true
	})
	return chunks
}

func rowGroup(w *walker) (chunks []chunk) {
	w.structure(func(id int64, k kind) bool {
		if id != 1 || k != lists {
			return false
		}
		w.list(func(k kind) {
			if k != structs {
				w.passElement(k)
				return
			}
			chunks = append(chunks, columnChunk(w))
		})
		return true
	})
	return chunks
}

func columnChunk(w *walker) (c chunk) {
	w.structure(func(id int64, k kind) bool {
		if id != 3 || k != structs {
			return false
		}
		w.structure(func(id int64, k kind) bool { // ColumnMetaData
			switch id {
			case 7:
				return w.into(&c.length, k, int64s)
			case 9:
				return w.into(&c.data, k, int64s)
			case 11:
				return w.into(&c.dictionary, k, int64s)
			}
			return false
		})
		return true
	})
	return c
}

// into reads a number of the kind that it must have.
func (w *walker) into(to *int64, is, must kind) bool {
	if is != must {
		w.fail()
	}
	*to = w.number()
	return true
}

// pageHeader is the structure of this name.
func pageHeader(w *walker) (p page) {
	w.structure(func(id int64, k kind) bool {
		switch id {
		case 2:
			return w.into(&p.unpacked, k, int32s)
		case 3:
			return w.into(&p.packed, k, int32s)
		case 5, 7, 8: // of a page of data, of a dictionary, of a page of data of version 2
			if k != structs {
				w.fail()
			}
			w.structure(func(id int64, k kind) bool {
				if id != 1 {
					return false
				}
				var values int64
				w.into(&values, k, int32s)
				if p.values = max(p.values, values); values < 0 {
					w.fail()
				}
				return true
			})
			return true
		}
		return false
	})
	return p
}
