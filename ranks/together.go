package ranks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// beat is how often ranks that are still at work tell the others so, which else would take them for
// hung.
const beat = 5 * time.Second

// What a rank tells of its work.
const (
	working byte = iota
	done
	stopped // the context ended
	failed
)

// ErrStopped is what Together returns where another rank was interrupted.
var ErrStopped = errors.New("another process was interrupted")

// OtherError is what Together returns where another rank failed, and tells of it itself.
type OtherError struct {
	Rank int
	Text string
}

func (e *OtherError) Error() string { return fmt.Sprintf("process %d failed: %s", e.Rank, e.Text) }

// Together runs f, each rank its own, and makes one outcome of all. If f fails anywhere, it returns the
// error of the first such rank there and an *OtherError elsewhere. If a context ended anywhere, it returns the
// context's error there and ErrStopped elsewhere. f must not talk to other ranks.
func Together(g Group, f func() error) error {
	if g.Size() == 1 {
		return f()
	}
	outcome := make(chan error, 1)
	go func() { outcome <- f() }()
	var err error
	mine, all := []byte{working}, make([]byte, g.Size())
	for {
		if mine[0] == working {
			select {
			case err = <-outcome:
				mine[0] = statusOf(err)
			case <-time.After(beat):
			}
		}
		if err := g.AllGather(mine, all); err != nil {
			return err
		}
		least, most := all[0], all[0]
		for _, s := range all {
			least, most = min(least, s), max(most, s)
		}
		if least != working {
			return common(g, err, all, most)
		}
	}
}

func statusOf(err error) byte {
	switch {
	case err == nil:
		return done
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return stopped
	}
	return failed
}

// common is a rank's outcome, given what all ranks tell of theirs and the gravest of that.
func common(g Group, err error, all []byte, most byte) error {
	switch {
	case most == done:
		return nil
	case most == stopped && err == nil:
		return ErrStopped
	case most == stopped:
		return err
	}
	text := ""
	if statusOf(err) == failed {
		text = err.Error()
	}
	texts, failure := Strings(g, text)
	if failure != nil {
		return failure
	}
	first := bytes.IndexByte(all, failed)
	if first == g.Rank() {
		return err
	}
	return &OtherError{Rank: first, Text: texts[first]}
}

// Strings gives every rank the strings of all, by rank.
func Strings(g Group, s string) ([]string, error) {
	size := make([]byte, 8)
	binary.LittleEndian.PutUint64(size, uint64(len(s)))
	sizes := make([]byte, 8*g.Size())
	if err := g.AllGather(size, sizes); err != nil {
		return nil, err
	}
	most := uint64(0)
	for rank := range g.Size() {
		most = max(most, binary.LittleEndian.Uint64(sizes[8*rank:]))
	}
	all := make([]byte, most*uint64(g.Size()))
	if err := g.AllGather(append([]byte(s), make([]byte, int(most)-len(s))...), all); err != nil {
		return nil, err
	}
	texts := make([]string, g.Size())
	for rank := range texts {
		at := uint64(rank) * most
		texts[rank] = string(all[at : at+binary.LittleEndian.Uint64(sizes[8*rank:])])
	}
	return texts, nil
}

// FromFirst gives every rank the bytes that rank 0 has.
func FromFirst(g Group, b []byte) ([]byte, error) {
	size := make([]byte, 8)
	binary.LittleEndian.PutUint64(size, uint64(len(b)))
	if err := g.Broadcast(size); err != nil {
		return nil, err
	}
	if g.Rank() != 0 {
		b = make([]byte, binary.LittleEndian.Uint64(size))
	}
	return b, g.Broadcast(b)
}
