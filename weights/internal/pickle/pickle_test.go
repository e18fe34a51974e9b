package pickle

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"runtime"
	"strings"
	"testing"
)

// shown writes a value as text, each shared container once.
func shown(v any) string {
	seen := map[any]bool{}
	var show func(v any) string
	list := func(items []any) string {
		var out []string
		for _, v := range items {
			out = append(out, show(v))
		}
		return strings.Join(out, " ")
	}
	entries := func(items []Entry) string {
		var out []string
		for _, e := range items {
			out = append(out, show(e.Key)+":"+show(e.Value))
		}
		return strings.Join(out, " ")
	}
	show = func(v any) string {
		switch v.(type) {
		case *List, *Dict, *Object:
			if seen[v] {
				return "again"
			}
			seen[v] = true
		}
		switch v := v.(type) {
		case string:
			return fmt.Sprintf("%q", v)
		case Bytes:
			return fmt.Sprintf("%x", []byte(v))
		case *List:
			return "[" + list(v.Items) + "]"
		case *Tuple:
			return "(" + list(v.Items) + ")"
		case *Dict:
			return "{" + entries(v.Entries) + "}"
		case *Global:
			return v.String()
		case *Persistent:
			return "<" + show(v.ID) + ">"
		case *Object:
			out := show(v.Class) + "(" + list(v.Args.Items) + ")"
			if len(v.State) > 0 {
				out += " state " + list(v.State)
			}
			if len(v.Items) > 0 {
				out += " items " + list(v.Items)
			}
			if len(v.Entries) > 0 {
				out += " entries " + entries(v.Entries)
			}
			return out
		case nil, bool, int64, float64, *big.Int:
			return fmt.Sprint(v)
		}
		return fmt.Sprintf("%T, which no pickle holds", v)
	}
	return show(v)
}

// TestProtocols reads what Python 3.11 wrote (testdata/make.py).
func TestProtocols(t *testing.T) {
	t.Parallel()
	for protocol := range 6 {
		raw, err := os.ReadFile(fmt.Sprintf("testdata/protocol-%d.pkl", protocol))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Decode(raw)
		if err != nil {
			t.Errorf("protocol %d: %v", protocol, err)
			continue
		}
		if p.Size != len(raw) {
			t.Errorf("protocol %d took %d of %d bytes", protocol, p.Size, len(raw))
		}
		builtins, bytes, set, frozen := "builtins", "00ff", "[7]", "(8)"
		namespace := `argparse.Namespace() state {"a":1}`
		if protocol < 3 {
			builtins, bytes = "__builtin__", `_codecs.encode("\x00ÿ" "latin1")`
		}
		if protocol < 4 {
			set, frozen = builtins+".set([7])", builtins+".frozenset([8])"
		}
		if protocol < 2 {
			namespace = `copy_reg._reconstructor(argparse.Namespace __builtin__.object <nil>) state {"a":1}`
		}
		want := `{"text":"hé€\n\\u0041" ` +
			`"numbers":[0 255 256 65536 -1 2147483648 -1099511627776 1180591620717411303424 true false <nil> 1.5 +Inf] ` +
			`"tuples":(() (1) (1 2) (1 2 3) (1 2 3 4)) "bytes":` + bytes + ` "set":` + set + ` "frozen":` + frozen +
			` "shared":[[1] again] "namespace":` + namespace + ` "sub":cfg.Sub() state {"note":"x"} entries "lr":0.1 ` +
			`"path":pathlib.PurePosixPath("a" "b") "complex":` + builtins + `.complex(0 1)}`
		if got := shown(p.Value); got != want {
			t.Errorf("protocol %d is read as\n%s, want\n%s", protocol, got, want)
		}
	}
}

// TestOperations are those that Python 3 does not write, and uses that it does not make.
func TestOperations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ pickle, want string }{
		"Python 2's text":      {"S'a\\x41\\n\\'\\q\"'\n.", `"aA\n'\\q\""`},
		"in double quotes":     {"S\"it's\"\n.", `"it's"`},
		"binary text":          {"(U\x01aT\x02\x00\x00\x00bct.", `("a" "bc")`},
		"a long of protocol 2": {"(\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00\x8b\x01\x00\x00\x00\x80t.", "(0 -1 255 -128)"},
		"a long in a line":     {"L-12L\n.", "-12"},
		"eight bytes' lengths": {"(\x8d\x01\x00\x00\x00\x00\x00\x00\x00a\x8e\x01\x00\x00\x00\x00\x00\x00\x00b\x96\x01\x00\x00\x00\x00\x00\x00\x00ct.", `("a" 62 63)`},
		"pops":                 {"K\x01K\x020(K\x03K\x041(0.", "1"},
		"dup":                  {"]2a.", "[again]"},
		"a dictionary":         {"(K\x01K\x02d.", "{1:2}"},
		"a key twice":          {"}(K\x01K\x02K\x01K\x03u.", "{1:2 1:3}"},
		"inst":                 {"(K\x01ia\nB\n.", "a.B(1)"},
		"obj":                  {"(ca\nB\nK\x01o.", "a.B(1)"},
		"named arguments":      {"ca\nB\nK\x01\x85}K\x02K\x03s\x92.", "a.B(1) entries 2:3"},
		"persistent":           {"(Pname\nK\x07Qt.", `(<"name"> <7>)`},
		"a made class":         {"ca\nB\n)R)R.", "a.B()()"},
		"a loaded class":       {"K\x01Q)\x81.", "<1>()"},
		"two states":           {"ca\nB\n)RK\x01bK\x02b.", "a.B() state 1 2"},
		"items and entries":    {"ca\nB\n)RK\x01a(K\x02K\x03eK\x04K\x05s.", "a.B() items 1 2 3 entries 4:5"},
		"a memo by line":       {"K\x07p12\n0g12\n.", "7"},
		"a memo by four bytes": {"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.", "7"},
		"memoize":              {"K\x07\x94K\x08\x94h\x00h\x01\x86.", "(7 8)"},
		"a frame":              {"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "<nil>"},
		"booleans of old":      {"(I00\nI01\nI-3\nt.", "(false true -3)"},
		"a large float":        {"F1e999\n.", "+Inf"},
		"the outer stays":      {"K\x05N.N", "<nil>"},
		"holds itself":         {"]q\x00h\x00a.", "[again]"},
	} {
		p, err := Decode([]byte(c.pickle))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := shown(p.Value); got != c.want {
			t.Errorf("%s is read as %s, want %s", name, got, c.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ pickle, want string }{
		"an extension":         {"\x82\x01.", "operation 0x82"},
		"a buffer":             {"\x97.", "operation 0x97"},
		"an operation":         {"\xff.", "operation 0xff"},
		"another protocol":     {"\x80\x09.", "protocol 9"},
		"nothing to stop with": {".", "stack is empty"},
		"a pop":                {"0.", "stack is empty"},
		"a pop beyond a mark":  {"K\x01(R.", "stack is empty"},
		"a tuple":              {"K\x01\x86.", "stack is empty"},
		"a tuple past a mark":  {"K\x01(K\x02\x86.", "stack is empty"},
		"a dup":                {"2.", "stack is empty"},
		"no mark":              {"K\x01e.", "no mark"},
		"a key without value":  {"(K\x01d.", "without a value"},
		"an append":            {"K\x01K\x02a.", "no list"},
		"an item":              {"K\x01K\x02K\x03s.", "no dictionary"},
		"a state":              {"]K\x02b.", "no object"},
		"a call of a number":   {"K\x01)R.", "no class or function"},
		"a call with a list":   {"ca\nB\n]R.", "no tuple"},
		"keywords":             {"ca\nB\n)]\x92.", "no dictionary"},
		"an empty call":        {"(o.", "call of nothing"},
		"a name":               {"K\x01U\x01a\x93.", "not named by text"},
		"the memo":             {"h\x00.", "not kept"},
		"a memo's place":       {"gx\n.", "no number"},
		"a number":             {"Ix\n.", "is none"},
		"a float":              {"Fx\n.", "is none"},
		"text without quotes":  {"Sabc\n.", "quotes"},
		"half a quote":         {"S'\n.", "quotes"},
		"a huge text":          {"X\xff\xff\xff\xff.", "not believable"},
		"huge bytes":           {"\x8e\x00\x00\x00\x00\x00\x00\x00\x40.", "not believable"},
		"a long number":        {"\x8b\x00\x00\x10\x00.", "not believable"},
		"a long line":          {"I" + strings.Repeat("1", 5000) + "\n.", "not believable"},
		"operations":           {strings.Repeat("N0", MaxOperations) + ".", "not believable"},
	} {
		if p, err := Decode([]byte(c.pickle)); err == nil {
			t.Errorf("%s is read as %s", name, shown(p.Value))
		} else if !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrShort) {
			t.Errorf("%s: the error is %v, want %q", name, err, c.want)
		}
	}
}

// TestCutShort: whatever the beginning of a pickle, it says that more is needed.
func TestCutShort(t *testing.T) {
	t.Parallel()
	for protocol := range 6 {
		raw, err := os.ReadFile(fmt.Sprintf("testdata/protocol-%d.pkl", protocol))
		if err != nil {
			t.Fatal(err)
		}
		for n := range raw {
			if _, err := Decode(raw[:n]); !errors.Is(err, ErrShort) {
				t.Fatalf("protocol %d: the first %d bytes give %v", protocol, n, err)
			}
		}
	}
}

// TestMemory: pickles that would double in Python with each operation, or announce much, take
// memory in proportion to their bytes.
func TestMemory(t *testing.T) {
	doubling := "]q\x00"
	for range 1000 {
		doubling += "]h\x00ah\x00aq\x00" // each list holds the one before twice
	}
	for name, raw := range map[string]string{
		"doubling": doubling + ".", "marks": strings.Repeat("(", 100_000) + ".",
		"nested": strings.Repeat("]", 50_000) + strings.Repeat("a", 49_999) + ".",
		"memo":   "N" + strings.Repeat("r\xff\xff\xff\xff", 1000) + ".",
		"frames": strings.Repeat("\x95\xff\xff\xff\xff\xff\xff\xff\x7f", 1000) + "N.",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode([]byte(raw))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 300*uint64(len(raw))+1<<20 {
			t.Errorf("%s: %d bytes take %d of memory (%v)", name, len(raw), took, err)
		}
	}
}

// FuzzDecode: whatever the bytes, a value or an error; and the value's end is a STOP.
func FuzzDecode(f *testing.F) {
	for protocol := range 6 {
		raw, err := os.ReadFile(fmt.Sprintf("testdata/protocol-%d.pkl", protocol))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("(K\x01ia\nB\n(ca\nB\nK\x01oS'a'\nVb\np0\ng0\nF1.5\nI1\nL2L\nPx\nt."))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
				t.Errorf("the error is not one short line: %q", err)
			}
			return
		}
		if p.Size < 1 || p.Size > len(raw) || raw[p.Size-1] != '.' {
			t.Fatalf("the pickle's end is %d of %d", p.Size, len(raw))
		}
		again, err := Decode(raw[:p.Size])
		if err != nil || len(again.Globals) != len(p.Globals) || len(again.Persistent) != len(p.Persistent) {
			t.Errorf("what was read is read in another way without what follows it: %v", err)
		}
	})
}
