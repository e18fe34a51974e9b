// Package event writes and reads events as JSON, one object a line, each with the name of its kind
// under "event". A run's log.jsonl and every command's --json output are such lines;
// docs/events.md lists the kinds with their fields.
package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Event is something that happened, with fields as JSON tags name them.
type Event interface {
	// Kind is what stands under "event". It is the same for all values of a type.
	Kind() string
}

// Marshal is an event as JSON, without a line's end. Strings that are no UTF-8 are written as names
// are (text.Name). JSON has no NaN and no infinity: an event that holds one is an error.
func Marshal(e Event) ([]byte, error) {
	kind, err := json.Marshal(e.Kind())
	if err != nil {
		return nil, err
	}
	fields, err := json.Marshal(e)
	if err == nil && maybeLost(fields) {
		fields, err = json.Marshal(asText(e))
	}
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", kind, err)
	}
	if len(fields) < 2 || fields[0] != '{' {
		return nil, fmt.Errorf("event %s: its JSON is no object: %s", kind, fields)
	}
	line := append([]byte(`{"event":`), kind...)
	if len(fields) > 2 {
		line = append(line, ',')
	}
	return append(line, fields[1:]...), nil
}

// Write writes an event as a line.
func Write(w io.Writer, e Event) error {
	line, err := Marshal(e)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Line is an event that was read: its kind, and all of its JSON.
type Line struct {
	Kind string
	JSON []byte
}

// Into decodes the event's fields.
func (l Line) Into(e Event) error {
	if err := json.Unmarshal(l.JSON, e); err != nil {
		return fmt.Errorf("event %s: %w", l.Kind, err)
	}
	return nil
}

// Lines reads events, of any length. Lines that are no events are passed over: a kill can cut one
// short. Only an error of r itself is told, last.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for lines := bufio.NewReader(r); ; {
			raw, err := lines.ReadBytes('\n')
			if kind, ok := kindOf(raw); ok && !yield(Line{Kind: kind, JSON: bytes.TrimSpace(raw)}, nil) {
				return
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Line{}, fmt.Errorf("read events: %w", err))
				return
			}
		}
	}
}

func kindOf(raw []byte) (kind string, ok bool) {
	var e struct{ Event string }
	err := json.Unmarshal(raw, &e)
	return e.Event, err == nil && e.Event != ""
}
