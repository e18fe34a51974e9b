// Package tfevents writes the event files that TensorBoard reads: scalars by step.
//
// A file is a row of records, each a length, the data and a checksum of both. The data of a record
// is an Event, of which this package knows what scalars need: tensorflow/core/util/event.proto,
// tensorflow/core/framework/summary.proto and the comment of tensorflow/python/lib/io/python_io.py
// fix the numbers.
package tfevents

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Scalar is a number under a name. TensorBoard puts those into one group whose names begin with the
// same word and a slash.
type Scalar struct {
	Tag   string
	Value float64 // is kept as a float32
}

// The numbers of the messages' fields.
const (
	eventTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue               = 1
	valueTag, valueSimple      = 1, 2
	sessionStatus, sessionOpen = 1, 1
)

// version is what every file says first.
const version = "brain.Event:2"

// Writer appends events to a file. It keeps the first error; none of it matters to a run that the
// file is about.
type Writer struct {
	w   io.Writer
	now func() time.Time
	err error
}

// NewWriter begins a file whose first event will be of the given step. TensorBoard then forgets what
// earlier files in the folder have of that step and later ones: a run that was killed repeats them.
func NewWriter(w io.Writer, first int, now func() time.Time) *Writer {
	t := &Writer{w: w, now: now}
	t.event(0, eventVersion, []byte(version))
	if first > 0 {
		session := protowire.AppendTag(nil, sessionStatus, protowire.VarintType)
		t.event(first, eventSession, protowire.AppendVarint(session, sessionOpen))
	}
	return t
}

// Write appends the scalars of a step, in one record and one write.
func (t *Writer) Write(step int, scalars ...Scalar) error {
	var summary []byte
	for _, s := range scalars {
		value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
		value = protowire.AppendString(value, s.Tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(s.Value)))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	return t.event(step, eventSummary, summary)
}

// event appends an event that holds one thing.
func (t *Writer) event(step int, field protowire.Number, content []byte) error {
	if t.err != nil {
		return t.err
	}
	seconds := float64(t.now().UnixMicro()) / 1e6
	e := protowire.AppendTag(nil, eventTime, protowire.Fixed64Type)
	e = protowire.AppendFixed64(e, math.Float64bits(seconds))
	if step > 0 {
		e = protowire.AppendTag(e, eventStep, protowire.VarintType)
		e = protowire.AppendVarint(e, uint64(step))
	}
	e = protowire.AppendTag(e, field, protowire.BytesType)
	e = protowire.AppendBytes(e, content)
	_, t.err = t.w.Write(appendRecord(nil, e))
	return t.err
}

// appendRecord frames data as a record.
func appendRecord(b, data []byte) []byte {
	from := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, masked(b[from:]))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, masked(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a record's parts: CRC-32C, turned and shifted, since a file may hold
// checksums of its own content.
func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// prefix is what the names of event files begin with.
const prefix = "events.out.tfevents."

// Name is the name of the next event file in a folder. TensorBoard reads the files of a folder in
// the order of their names, so the time in it is never before that of a file that is there.
func Name(folder string, now time.Time) string {
	at := now.Unix()
	entries, _ := os.ReadDir(folder) // a folder that is not there has none
	for _, e := range entries {
		seconds, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), prefix), ".")
		if n, err := strconv.ParseInt(seconds, 10, 64); err == nil && n >= at && strings.HasPrefix(e.Name(), prefix) {
			at = n + 1
		}
	}
	return filepath.Join(folder, fmt.Sprintf("%s%010d.moco", prefix, at))
}
