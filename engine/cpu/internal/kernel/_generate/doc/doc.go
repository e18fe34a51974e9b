// Package doc breaks the comments of generated functions into lines.
package doc

import "strings"

// Lines are the lines of a comment, of at most 97 columns, so that they have 100 behind "// ".
func Lines(comment string) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(comment) {
		if line != "" && len(line)+1+len(word) > 97 {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
