package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
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

type where struct {
	Path string  `json:"path"`
	Loss float64 `json:"loss"`
	Deep struct {
		Paths []string          `json:"paths"`
		ByKey map[string]string `json:"by_key"`
		Raw   json.RawMessage   `json:"raw"`
		Any   any               `json:"any"`
	} `json:"deep"`
	Next   *where `json:"next,omitempty"`
	hidden string
}

func (where) Kind() string { return "where" }

// TestNoTextIsLost: paths that differ in bytes that are no UTF-8 differ in JSON, and the event stays
// as it was.
func TestNoTextIsLost(t *testing.T) {
	t.Parallel()
	e := where{Path: "caf\xe9", Next: &where{Path: "caf\xe8"}, hidden: "\xff"}
	e.Deep.Paths = []string{"plain", "a\xfe", `\ufffd`, "\ufffd", `a\xfe`}
	e.Deep.ByKey = map[string]string{"k\xff": "v\xff"}
	e.Deep.Raw = json.RawMessage(`"\ufffd"`)
	e.Deep.Any = "x\xfd"
	for _, one := range []Event{e, &e} {
		line, err := Marshal(one)
		if err != nil || !json.Valid(line) {
			t.Fatalf("%s, %v", line, err)
		}
		for _, want := range []string{`"path":"caf\\xe9"`, `"path":"caf\\xe8"`, `["plain","a\\xfe","\\ufffd","` + "\ufffd" + `","a\\xfe"]`,
			`{"k\\xff":"v\\xff"}`, `"any":"x\\xfd"`} {
			if !strings.Contains(string(line), want) {
				t.Errorf("%s lacks %s", line, want)
			}
		}
	}
	if e.Path != "caf\xe9" || e.Next.Path != "caf\xe8" || e.Deep.Paths[1] != "a\xfe" || e.Deep.ByKey["k\xff"] != "v\xff" {
		t.Errorf("the event was changed: %+v", e)
	}
}

// TestNoNaN: JSON has none, so such an event is an error and nothing of it is written.
func TestNoNaN(t *testing.T) {
	t.Parallel()
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var b bytes.Buffer
		if err := Write(&b, where{Loss: v}); err == nil || b.Len() > 0 {
			t.Errorf("%v is written as %s (%v)", v, b.String(), err)
		}
	}
}
