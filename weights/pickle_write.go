package weights

import (
	"bufio"
	"encoding/binary"
)

// pickleWriter writes Python's pickle format, which is a program for a small stack machine, one
// opcode at a time: only those that files of tensors take. All of them belong to protocol 2 but
// raw, which is protocol 3. Nothing is memoised: a few repeated names cost less than keeping track
// of them.
//
// The bufio.Writer keeps its first error for whoever flushes it.
type pickleWriter struct{ *bufio.Writer }

func (p pickleWriter) protocol(n byte) { p.Write([]byte{0x80, n}) }
func (p pickleWriter) stop()           { p.WriteByte('.') }

// global pushes what Python finds under a name of a module.
func (p pickleWriter) global(module, name string) { p.WriteString("c" + module + "\n" + name + "\n") }

func (p pickleWriter) none() { p.WriteByte('N') }

func (p pickleWriter) bool(v bool) {
	if v {
		p.WriteByte(0x88)
	} else {
		p.WriteByte(0x89)
	}
}

// int pushes a number: in one, two or four bytes, or as long as it takes.
func (p pickleWriter) int(v int64) {
	switch {
	case v >= 0 && v < 1<<8:
		p.Write([]byte{'K', byte(v)})
	case v >= 0 && v < 1<<16:
		p.Write(binary.LittleEndian.AppendUint16([]byte{'M'}, uint16(v)))
	case v >= -1<<31 && v < 1<<31:
		p.Write(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(v)))
	default:
		p.Write(binary.LittleEndian.AppendUint64([]byte{0x8A, 8}, uint64(v)))
	}
}

func (p pickleWriter) string(s string) {
	p.Write(binary.LittleEndian.AppendUint32([]byte{'X'}, uint32(len(s))))
	p.WriteString(s)
}

// raw pushes bytes, fewer than 4 GiB.
func (p pickleWriter) raw(b []byte) {
	p.Write(binary.LittleEndian.AppendUint32([]byte{'B'}, uint32(len(b))))
	p.Write(b)
}

// tuple pushes a tuple of what f pushes.
func (p pickleWriter) tuple(f func()) {
	p.WriteByte('(')
	f()
	p.WriteByte('t')
}

// ints pushes a tuple of numbers.
func (p pickleWriter) ints(v []int) {
	if len(v) == 0 {
		p.WriteByte(')')
		return
	}
	p.tuple(func() {
		for _, n := range v {
			p.int(int64(n))
		}
	})
}

// items puts the keys and values that f pushes into the dictionary on top of the stack.
func (p pickleWriter) items(f func()) {
	p.WriteByte('(')
	f()
	p.WriteByte('u')
}

func (p pickleWriter) dict() { p.WriteByte('}') }

// call replaces a callable and its tuple of arguments by what it returns.
func (p pickleWriter) call() { p.WriteByte('R') }

// setState gives the object below the top of the stack the state on top of it.
func (p pickleWriter) setState() { p.WriteByte('b') }

// persistent replaces a tuple by what the reader knows under it.
func (p pickleWriter) persistent() { p.WriteByte('Q') }
