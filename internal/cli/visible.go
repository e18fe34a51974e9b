package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// visible is a text as a terminal may have it. Names come from whoever made the files: a control
// character in one could move the cursor or break a table, and one that turns the direction of
// writing could make a name look like another. Such characters are written as in Go's strings.
func visible(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
		text = text[n:]
	}
	return b.String()
}

// hidden tells whether a character is not seen itself but changes what is.
func hidden(r rune) bool {
	const zeroWidthSpace, wordJoiner, byteOrderMark = 0x200b, 0x2060, 0xfeff
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) ||
		r == zeroWidthSpace || r == wordJoiner || r == byteOrderMark
}

// multiline is a text whose ends of lines are meant.
type multiline string

// seen is an argument of a format that is made visible.
type seen struct{ value any }

// Format formats the value as the directive says.
func (a seen) Format(f fmt.State, verb rune) {
	text := fmt.Sprintf(fmt.FormatString(f, verb), a.value)
	if _, ok := a.value.(multiline); !ok {
		io.WriteString(f, visible(text))
		return
	}
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
		io.WriteString(f, visible(line))
		if end {
			io.WriteString(f, "\n")
		}
	}
}

// formatted is fmt.Sprintf with visible arguments. Its format is the program's own text and stays.
func formatted(format string, args []any) string {
	all := make([]any, len(args))
	for i, a := range args {
		all[i] = seen{a}
	}
	return fmt.Sprintf(format, all...)
}

// table is a table for people, to be flushed.
type table struct{ *tabwriter.Writer }

// row adds a row of cells.
func (t table) row(cells ...string) {
	for i, c := range cells {
		if i > 0 {
			io.WriteString(t, "\t")
		}
		io.WriteString(t, visible(c))
	}
	io.WriteString(t, "\n")
}
