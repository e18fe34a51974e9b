package pickle

import (
	"strconv"
	"strings"
)

func (d *decoder) text(width int) error {
	b, err := d.counted(width, MaxSize)
	if err != nil {
		return err
	}
	return d.push(string(b))
}

func (d *decoder) binary(width int) error {
	b, err := d.counted(width, MaxSize)
	if err != nil {
		return err
	}
	return d.push(Bytes(b))
}

// quoted pushes text as protocol 0 of Python 2 writes it: in quotes and with escapes.
func (d *decoder) quoted() error {
	s, err := d.line()
	if err != nil {
		return err
	}
	s = strings.TrimRight(s, "\r ")
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
		return d.damaged("text without its quotes")
	}
	return d.push(unescape(s[1 : len(s)-1]))
}

// unescape resolves the escapes of Python's string literals. One that Python does not know stays.
func unescape(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		c, rest := rune(s[0]), s[1:]
		if c == '\\' && rest != "" {
			if quote := rest[0]; quote == '\'' || quote == '"' {
				c, rest = rune(quote), rest[1:]
			} else if escaped, _, after, err := strconv.UnquoteChar(s, 0); err == nil && escaped < 256 {
				c, rest = escaped, after
			}
		}
		out.WriteByte(byte(c))
		s = rest
	}
	return out.String()
}

// escaped pushes text as protocol 0 writes Unicode: Latin-1, with \uXXXX and \UXXXXXXXX for the
// rest.
func (d *decoder) escaped() error {
	s, err := d.line()
	if err != nil {
		return err
	}
	var out strings.Builder
	for len(s) > 0 {
		c, rest := rune(s[0]), s[1:]
		if strings.HasPrefix(s, `\u`) || strings.HasPrefix(s, `\U`) {
			if escaped, _, after, err := strconv.UnquoteChar(s, 0); err == nil {
				c, rest = escaped, after
			}
		}
		out.WriteRune(c)
		s = rest
	}
	return d.push(out.String())
}
