package tfevents

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Event is what was read of a record.
type Event struct {
	Seconds float64 // since 1970
	Step    int
	Version string // of the format, in the first event of a file
	Restart bool   // what earlier files have of this step and later ones counts no more
	Scalars []Scalar
}

// errRecord is the error of a record that is not what its checksum says, or no event.
var errRecord = errors.New("a record of an event file is damaged")

// maxRecord is the longest record that is read. Those of scalars have some hundred bytes.
const maxRecord = 1 << 20

// Read reads the events of a file. A record that is cut short ends the file, as for TensorBoard: the
// writer may have been killed.
func Read(r io.Reader) (events []Event, err error) {
	for {
		data, err := readRecord(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		var e Event
		if err := e.parse(data); err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

func readRecord(r io.Reader) ([]byte, error) {
	head := make([]byte, 12)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(head[8:]) != masked(head[:8]) {
		return nil, fmt.Errorf("%w: the checksum of its length is another", errRecord)
	}
	length := binary.LittleEndian.Uint64(head)
	if length > maxRecord {
		return nil, fmt.Errorf("%w: %d bytes are too many", errRecord, length)
	}
	data := make([]byte, length+4)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(data[length:]) != masked(data[:length]) {
		return nil, fmt.Errorf("%w: its checksum is another", errRecord)
	}
	return data[:length], nil
}

// field is a field of a message: a number, or bytes.
type field struct {
	number protowire.Number
	value  uint64
	bytes  []byte
}

// each calls f with the fields of a message.
func each(message []byte, f func(field) error) error {
	for len(message) > 0 {
		number, kind, used := protowire.ConsumeTag(message)
		if used < 0 {
			return fmt.Errorf("%w: %w", errRecord, protowire.ParseError(used))
		}
		message = message[used:]
		one := field{number: number}
		switch kind {
		case protowire.VarintType:
			one.value, used = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			one.value, used = protowire.ConsumeFixed64(message)
		case protowire.Fixed32Type:
			var v uint32
			v, used = protowire.ConsumeFixed32(message)
			one.value = uint64(v)
		case protowire.BytesType:
			one.bytes, used = protowire.ConsumeBytes(message)
		default:
			used = protowire.ConsumeFieldValue(number, kind, message)
		}
		if used < 0 {
			return fmt.Errorf("%w: %w", errRecord, protowire.ParseError(used))
		}
		message = message[used:]
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
}

func (e *Event) parse(message []byte) error {
	return each(message, func(f field) error {
		switch f.number {
		case eventTime:
			e.Seconds = math.Float64frombits(f.value)
		case eventStep:
			e.Step = int(f.value)
		case eventVersion:
			e.Version = string(f.bytes)
		case eventSummary:
			return each(f.bytes, e.value)
		case eventSession:
			return each(f.bytes, func(f field) error {
				e.Restart = e.Restart || f.number == sessionStatus && f.value == sessionOpen
				return nil
			})
		}
		return nil
	})
}

// value reads a value of a summary.
func (e *Event) value(f field) error {
	if f.number != summaryValue {
		return nil
	}
	var s Scalar
	err := each(f.bytes, func(f field) error {
		switch f.number {
		case valueTag:
			s.Tag = string(f.bytes)
		case valueSimple:
			s.Value = float64(math.Float32frombits(uint32(f.value)))
		}
		return nil
	})
	e.Scalars = append(e.Scalars, s)
	return err
}
