package text

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const composed, decomposed = "caf\u00e9", "cafe\u0301"

func TestNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ names, want []string }{
		"plain":               {[]string{"a/b.png", `a\b`, composed}, nil},
		"decomposed alone":    {[]string{"a", decomposed}, nil},
		"both spellings":      {[]string{composed, "a", decomposed}, []string{composed, "a", `cafe\xcc\x81`}},
		"two that are not":    {[]string{"o\u0302\u0323", "o\u0323\u0302"}, []string{`o\xcc\x82\xcc\xa3`, `o\xcc\xa3\xcc\x82`}},
		"no UTF-8":            {[]string{"caf\xe9", `caf\xe9`}, []string{`caf\xe9`, `caf\x5cxe9`}},
		"no UTF-8 and both":   {[]string{"\xff" + composed, "\xff" + decomposed}, []string{`\xff` + composed, `\xffcafe\xcc\x81`}},
		"the text of another": {[]string{composed, decomposed, `cafe\xcc\x81`}, []string{composed, `cafe\xcc\x81`, `cafe\x5cxcc\x5cx81`}},
		"nothing":             {nil, nil},
	} {
		given := slices.Clone(c.names)
		got := Names(c.names)
		if want := c.want; want == nil && !slices.Equal(got, c.names) || want != nil && !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
		if !slices.Equal(c.names, given) {
			t.Errorf("%s: the names themselves are now %q", name, c.names)
		}
	}
}

// FuzzNames: what is written is text, looks different for different names, and leads back to them.
func FuzzNames(f *testing.F) {
	f.Add(composed, decomposed)
	f.Add("\xff", `\xff`)
	f.Add("o\u0302\u0323", `\x`)
	f.Fuzz(func(t *testing.T, a, b string) {
		got := Names([]string{a, b})
		for i, name := range []string{a, b} {
			if !utf8.ValidString(got[i]) {
				t.Errorf("%q is written %q", name, got[i])
			}
			if back := unescape(t, got[i]); back != name {
				t.Errorf("%q is written %q, which reads %q", name, got[i], back)
			}
		}
		if a != b && norm.NFC.String(got[0]) == norm.NFC.String(got[1]) {
			t.Errorf("%q and %q are both written %q", a, b, got[0])
		}
	})
}

// unescape undoes \xNN.
func unescape(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		v, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteByte(byte(v))
		text = after[2:]
	}
}
