package event

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

type step struct {
	Step int    `json:"step"`
	Text string `json:"text,omitempty"`
}

func (step) Kind() string { return "step" }

type stopped struct{}

func (stopped) Kind() string { return "stopped" }

type list []int

func (list) Kind() string { return "list" }

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20) // longer than a Scanner's buffer
	var b bytes.Buffer
	for _, e := range []Event{step{Step: 3}, stopped{}, step{4, long}} {
		if err := Write(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	if want := "{\"event\":\"step\",\"step\":3}\n{\"event\":\"stopped\"}\n"; !strings.HasPrefix(b.String(), want) {
		t.Errorf("wrote %q, want %q first", b.String()[:60], want)
	}
	b.WriteString("{\"event\":\"step\",\"st") // cut short by a kill
	var kinds []string
	var last step
	for l, err := range Lines(&b) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, l.Kind)
		if l.Kind == "step" {
			if err := l.Into(&last); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "step stopped step" || last.Step != 4 || last.Text != long {
		t.Errorf("read %q, the last step %d with %d letters", got, last.Step, len(last.Text))
	}
}

func TestNoObject(t *testing.T) {
	t.Parallel()
	if err := Write(io.Discard, list{1}); err == nil || !strings.Contains(err.Error(), "no object") {
		t.Errorf("a list as an event: %v", err)
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var got error
	for _, err := range Lines(io.MultiReader(strings.NewReader("{\"event\":\"a\"}\n"), iotest.ErrReader(broken))) {
		got = err
	}
	if !errors.Is(got, broken) {
		t.Errorf("got %v, want %v last", got, broken)
	}
}
