package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// What a pickle may take. Real checkpoints lie far below: ResNet-152 with a momentum encoder and
// its optimizer is 150,000 operations in 2 MB.
const (
	// MaxSize is the most bytes of a pickle.
	MaxSize = 64 << 20
	// MaxOperations is the most operations of a pickle, each of which makes at most one value.
	MaxOperations = 1 << 20

	maxLine   = 1 << 10 // bytes of a name or number that ends with its line
	maxNumber = 1 << 10 // bytes of a whole number
)

// ErrShort says that the bytes end before the pickle does.
var ErrShort = errors.New("the pickle is cut short")

// ErrLimit is wrapped by the errors of pickles that announce or do more than the limits allow.
var ErrLimit = errors.New("not believable")

// Pickle is a decoded pickle.
type Pickle struct {
	Value      any
	Persistent []*Persistent // those of the pickle, in its order
	Globals    []*Global     // likewise
	Size       int           // bytes that it took
}

// Decode reads the pickle at the start of raw. The error is ErrShort where more bytes could make it
// whole.
func Decode(raw []byte) (*Pickle, error) {
	d := decoder{raw: raw, memo: map[uint64]any{}, out: &Pickle{}}
	for n := 0; ; n++ {
		if n >= MaxOperations || d.at > MaxSize {
			return nil, fmt.Errorf("a pickle of more than %d operations or %d MiB is %w", MaxOperations, MaxSize>>20, ErrLimit)
		}
		if d.at >= len(raw) {
			return nil, ErrShort
		}
		op := raw[d.at]
		d.at++
		if op == '.' {
			break
		}
		do := operations[op]
		if do == nil {
			return nil, fmt.Errorf("the pickle has the operation 0x%02x, which is not known or not read", op)
		}
		if err := do(&d); err != nil {
			return nil, err
		}
	}
	v, err := d.pop()
	if err != nil {
		return nil, err
	}
	d.out.Value, d.out.Size = v, d.at
	return d.out, nil
}

// decoder is the stack machine.
type decoder struct {
	raw   []byte
	at    int
	stack []any
	marks []int // the stack's height at each open mark
	memo  map[uint64]any
	out   *Pickle
}

// damaged is the error of an operation that finds something else than it needs.
func (d *decoder) damaged(what string) error {
	return fmt.Errorf("the pickle is damaged near byte %d: %s", d.at, what)
}

// take returns the next n bytes.
func (d *decoder) take(n int) ([]byte, error) {
	if len(d.raw)-d.at < n {
		return nil, ErrShort
	}
	d.at += n
	return d.raw[d.at-n : d.at], nil
}

// uint reads a number of width bytes.
func (d *decoder) uint(width int) (uint64, error) {
	b, err := d.take(width)
	if err != nil {
		return 0, err
	}
	var le [8]byte
	copy(le[:], b)
	return binary.LittleEndian.Uint64(le[:]), nil
}

// counted reads a number of width bytes, and as many bytes as it says.
func (d *decoder) counted(width int, limit uint64) ([]byte, error) {
	n, err := d.uint(width)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("the pickle announces a value of %d bytes, which is %w", n, ErrLimit)
	}
	return d.take(int(n))
}

// line reads up to a line's end, and returns it without that.
func (d *decoder) line() (string, error) {
	rest := d.raw[d.at:min(len(d.raw), d.at+maxLine)]
	n := bytes.IndexByte(rest, '\n')
	if n < 0 && len(rest) < maxLine {
		return "", ErrShort
	} else if n < 0 {
		return "", fmt.Errorf("a line of the pickle is longer than %d bytes, which is %w", maxLine, ErrLimit)
	}
	d.at += n + 1
	return string(rest[:n]), nil
}

func (d *decoder) push(v any) error {
	d.stack = append(d.stack, v)
	return nil
}

// floor is the height of the stack that operations may not go below: that of the last mark.
func (d *decoder) floor() int {
	if n := len(d.marks); n > 0 {
		return d.marks[n-1]
	}
	return 0
}

func (d *decoder) pop() (any, error) {
	n := len(d.stack) - 1
	if n < d.floor() {
		return nil, d.damaged("its stack is empty")
	}
	v := d.stack[n]
	d.stack = d.stack[:n]
	return v, nil
}

// pop2 takes two values off: the second one down, and the top.
func (d *decoder) pop2() (below, top any, err error) {
	if top, err = d.pop(); err == nil {
		below, err = d.pop()
	}
	return below, top, err
}

// top returns the value on top of the stack, which stays there.
func (d *decoder) top() (any, error) {
	n := len(d.stack) - 1
	if n < d.floor() {
		return nil, d.damaged("its stack is empty")
	}
	return d.stack[n], nil
}

// popMark takes off what was pushed since the last mark, and the mark. The values are the caller's.
func (d *decoder) popMark() ([]any, error) {
	if len(d.marks) == 0 {
		return nil, d.damaged("it has no mark")
	}
	floor := d.floor()
	d.marks = d.marks[:len(d.marks)-1]
	items := append([]any(nil), d.stack[floor:]...)
	d.stack = d.stack[:floor]
	return items, nil
}
