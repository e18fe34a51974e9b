// Package text writes names as text. File systems, archives and command lines have names of any
// bytes; JSON, Parquet and HTML have text, and a reader of them has eyes.
package text

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Name is a name as valid UTF-8, never the same for two names. A byte that is no UTF-8 becomes \xNN
// (two lower-case hexadecimal digits). So that a name which holds such a text of its own cannot be
// taken for it, a backslash before an x is written \x5c. Every other name stays as it is.
func Name(name string) string {
	if utf8.ValidString(name) && !strings.Contains(name, `\x`) {
		return name
	}
	return escape(name, false)
}

// Names is Name of each of several names that stand together. Where two of them are the same text in
// different spellings, composed (NFC) and not, all but the composed one are written with every byte
// outside of ASCII as \xNN: a reader could not tell them apart. The result is names itself if
// nothing had to be written otherwise.
func Names(names []string) []string {
	all := names
	set := func(i int, to string) {
		if len(all) > 0 && &all[0] == &names[0] {
			all = append([]string(nil), names...)
		}
		all[i] = to
	}
	spelled := map[string]int{} // names of each text that has one which is not composed
	for _, n := range names {
		if !norm.NFC.IsNormalString(n) {
			spelled[norm.NFC.String(n)] = 0
		}
	}
	if len(spelled) > 0 {
		for _, n := range names {
			composed := norm.NFC.String(n)
			if _, ok := spelled[composed]; ok {
				spelled[composed]++
			}
		}
	}
	for i, n := range names {
		to := Name(n)
		if len(spelled) > 0 && !norm.NFC.IsNormalString(n) && spelled[norm.NFC.String(n)] > 1 {
			to = escape(n, true)
		}
		if to != n {
			set(i, to)
		}
	}
	return all
}

// escape writes bytes that are no UTF-8, and backslashes before an x, as \xNN; with plain, all that
// is not ASCII.
func escape(name string, plain bool) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		switch {
		case r == utf8.RuneError && n == 1, strings.HasPrefix(name[i:], `\x`), plain && r >= utf8.RuneSelf:
			b.WriteString(`\x`)
			b.WriteByte(hex[name[i]>>4])
			b.WriteByte(hex[name[i]&15])
			i++
		default:
			b.WriteString(name[i : i+n])
			i += n
		}
	}
	return b.String()
}
