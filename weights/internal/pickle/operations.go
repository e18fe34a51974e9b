package pickle

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// operations are what each opcode does, under the names that Python's Lib/pickletools.py gives
// them. STOP is Decode's own.
var operations = [256]func(*decoder) error{
	// the stack and the memo
	'(':  (*decoder).mark,
	'0':  (*decoder).popOne,                                                 // POP
	'1':  func(d *decoder) error { _, err := d.popMark(); return err },      // POP_MARK
	'2':  (*decoder).dup,                                                    // DUP
	'g':  func(d *decoder) error { return d.get(d.decimal()) },              // GET
	'h':  func(d *decoder) error { return d.get(d.uint(1)) },                // BINGET
	'j':  func(d *decoder) error { return d.get(d.uint(4)) },                // LONG_BINGET
	'p':  func(d *decoder) error { return d.put(d.decimal()) },              // PUT
	'q':  func(d *decoder) error { return d.put(d.uint(1)) },                // BINPUT
	'r':  func(d *decoder) error { return d.put(d.uint(4)) },                // LONG_BINPUT
	0x94: func(d *decoder) error { return d.put(uint64(len(d.memo)), nil) }, // MEMOIZE
	0x80: (*decoder).protocol,                                               // PROTO
	0x95: func(d *decoder) error { _, err := d.uint(8); return err },        // FRAME: a hint for readers of streams

	// numbers and constants
	'N':  func(d *decoder) error { return d.push(nil) },   // NONE
	0x88: func(d *decoder) error { return d.push(true) },  // NEWTRUE
	0x89: func(d *decoder) error { return d.push(false) }, // NEWFALSE
	'I':  (*decoder).decimalInt,                           // INT
	'L':  (*decoder).decimalInt,                           // LONG
	'J':  (*decoder).int32,                                // BININT
	'K':  func(d *decoder) error { return d.small(1) },    // BININT1
	'M':  func(d *decoder) error { return d.small(2) },    // BININT2
	0x8a: func(d *decoder) error { return d.long(1) },     // LONG1
	0x8b: func(d *decoder) error { return d.long(4) },     // LONG4
	'F':  (*decoder).decimalFloat,                         // FLOAT
	'G':  (*decoder).float,                                // BINFLOAT

	// text and bytes
	'S':  (*decoder).quoted,                             // STRING
	'V':  (*decoder).escaped,                            // UNICODE
	'U':  func(d *decoder) error { return d.text(1) },   // SHORT_BINSTRING
	'T':  func(d *decoder) error { return d.text(4) },   // BINSTRING
	0x8c: func(d *decoder) error { return d.text(1) },   // SHORT_BINUNICODE
	'X':  func(d *decoder) error { return d.text(4) },   // BINUNICODE
	0x8d: func(d *decoder) error { return d.text(8) },   // BINUNICODE8
	'C':  func(d *decoder) error { return d.binary(1) }, // SHORT_BINBYTES
	'B':  func(d *decoder) error { return d.binary(4) }, // BINBYTES
	0x8e: func(d *decoder) error { return d.binary(8) }, // BINBYTES8
	0x96: func(d *decoder) error { return d.binary(8) }, // BYTEARRAY8

	// containers
	']':  func(d *decoder) error { return d.push(&List{}) },  // EMPTY_LIST
	')':  func(d *decoder) error { return d.push(&Tuple{}) }, // EMPTY_TUPLE
	'}':  func(d *decoder) error { return d.push(&Dict{}) },  // EMPTY_DICT
	0x8f: func(d *decoder) error { return d.push(&List{}) },  // EMPTY_SET
	'l':  (*decoder).list,                                    // LIST
	't':  (*decoder).tuple,                                   // TUPLE
	0x91: (*decoder).tuple,                                   // FROZENSET
	'd':  (*decoder).dict,                                    // DICT
	0x85: func(d *decoder) error { return d.tupleOf(1) },     // TUPLE1
	0x86: func(d *decoder) error { return d.tupleOf(2) },     // TUPLE2
	0x87: func(d *decoder) error { return d.tupleOf(3) },     // TUPLE3
	'a':  (*decoder).appendOne,                               // APPEND
	'e':  (*decoder).appendAll,                               // APPENDS
	0x90: (*decoder).appendAll,                               // ADDITEMS
	's':  (*decoder).setOne,                                  // SETITEM
	'u':  (*decoder).setAll,                                  // SETITEMS

	// what Python would look up, make or load
	'c':  (*decoder).global,        // GLOBAL
	0x93: (*decoder).stackGlobal,   // STACK_GLOBAL
	'R':  (*decoder).call,          // REDUCE
	0x81: (*decoder).call,          // NEWOBJ
	0x92: (*decoder).callKeywords,  // NEWOBJ_EX
	'i':  (*decoder).inst,          // INST
	'o':  (*decoder).obj,           // OBJ
	'b':  (*decoder).build,         // BUILD
	'P':  (*decoder).persistent,    // PERSID
	'Q':  (*decoder).binPersistent, // BINPERSID
}

func (d *decoder) mark() error {
	d.marks = append(d.marks, len(d.stack))
	return nil
}

// popOne takes off a value, or a mark that nothing was pushed on.
func (d *decoder) popOne() error {
	if n := len(d.marks); n > 0 && d.marks[n-1] == len(d.stack) {
		d.marks = d.marks[:n-1]
		return nil
	}
	_, err := d.pop()
	return err
}

func (d *decoder) dup() error {
	v, err := d.top()
	if err != nil {
		return err
	}
	return d.push(v)
}

// decimal reads a number in a line.
func (d *decoder) decimal() (uint64, error) {
	s, err := d.line()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, d.damaged("a place in its memo is no number")
	}
	return n, nil
}

func (d *decoder) get(n uint64, err error) error {
	if err != nil {
		return err
	}
	v, ok := d.memo[n]
	if !ok {
		return d.damaged("it refers to a value that it has not kept")
	}
	return d.push(v)
}

func (d *decoder) put(n uint64, err error) error {
	if err != nil {
		return err
	}
	v, err := d.top()
	if err != nil {
		return err
	}
	d.memo[n] = v
	return nil
}

func (d *decoder) protocol() error {
	n, err := d.uint(1)
	if err == nil && n > 5 {
		err = d.damaged("protocol " + strconv.FormatUint(n, 10) + " is not known")
	}
	return err
}

func (d *decoder) int32() error {
	n, err := d.uint(4)
	if err != nil {
		return err
	}
	return d.push(int64(int32(n)))
}

// small pushes a number of 1 or 2 bytes without a sign.
func (d *decoder) small(width int) error {
	n, err := d.uint(width)
	if err != nil {
		return err
	}
	return d.push(int64(n))
}

// long pushes a number in as many bytes as a number of width bytes says: two's complement, the
// lowest byte first.
func (d *decoder) long(width int) error {
	le, err := d.counted(width, maxNumber)
	if err != nil {
		return err
	}
	be := make([]byte, len(le))
	for i, b := range le {
		be[len(le)-1-i] = b
	}
	n := new(big.Int).SetBytes(be)
	if len(be) > 0 && be[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return d.pushBig(n)
}

// pushBig pushes a number as an int64 where it is one.
func (d *decoder) pushBig(n *big.Int) error {
	if n.IsInt64() {
		return d.push(n.Int64())
	}
	return d.push(n)
}

// decimalInt pushes a number in a line; "00" and "01" are how protocol 0 writes False and True.
func (d *decoder) decimalInt() error {
	s, err := d.line()
	if err != nil {
		return err
	}
	if s == "00" || s == "01" {
		return d.push(s == "01")
	}
	n, ok := new(big.Int).SetString(strings.TrimSuffix(s, "L"), 10)
	if !ok {
		return d.damaged("a whole number is none")
	}
	return d.pushBig(n)
}

func (d *decoder) decimalFloat() error {
	s, err := d.line()
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(v, 0) { // Python reads what is too large as infinite
		return d.damaged("a number is none")
	}
	return d.push(v)
}

func (d *decoder) float() error {
	b, err := d.take(8)
	if err != nil {
		return err
	}
	return d.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
}
