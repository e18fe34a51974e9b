package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxPaths is how many paths a pattern may stand for.
const maxPaths = 1 << 20

// expand returns the paths that a pattern stands for, sorted within each alternative of its braces,
// and whether it is a pattern at all. A path that names something on the disk is none, whatever
// letters it has.
func expand(pattern string) (paths []string, several bool, err error) {
	if isBuiltin(pattern) || !strings.ContainsAny(pattern, "*?[{") {
		return []string{pattern}, false, nil
	}
	if _, err := os.Lstat(pattern); err == nil {
		return []string{pattern}, false, nil
	}
	words, err := braces(pattern)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", pattern, err)
	}
	for _, word := range words {
		if _, err := os.Lstat(word); err == nil || !strings.ContainsAny(word, "*?[") {
			paths = append(paths, word)
			continue
		}
		found, err := filepath.Glob(word)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", pattern, err)
		}
		if !strings.HasPrefix(filepath.Base(word), ".") {
			found = slices.DeleteFunc(found, func(p string) bool { return strings.HasPrefix(filepath.Base(p), ".") })
		}
		if len(found) == 0 {
			return nil, false, fmt.Errorf("%s: no file or folder matches", word)
		}
		paths = append(paths, found...)
	}
	return paths, true, nil
}

// braces expands {a,b} and {000..127} as shells do. Braces that hold neither a comma nor a range
// stay.
func braces(word string) ([]string, error) {
	for open := range len(word) {
		if word[open] != '{' {
			continue
		}
		end := closing(word[open:])
		if end < 0 {
			continue
		}
		choices, err := alternatives(word[open+1 : open+end])
		if err != nil {
			return nil, err
		}
		if choices == nil {
			continue
		}
		tails, err := braces(word[open+end+1:])
		if err != nil {
			return nil, err
		}
		if len(choices)*len(tails) > maxPaths {
			return nil, errTooMany
		}
		words := make([]string, 0, len(choices)*len(tails))
		for _, c := range choices {
			for _, t := range tails {
				words = append(words, word[:open]+c+t)
			}
		}
		return words, nil
	}
	return []string{word}, nil
}

var errTooMany = errors.New("the pattern stands for more than a million paths")

// closing returns where the brace that s begins with is closed, or -1.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// alternatives returns what the inside of a pair of braces stands for, nil for itself.
func alternatives(inside string) ([]string, error) {
	if first, last, ok := strings.Cut(inside, ".."); ok {
		return numberRange(first, last)
	}
	var parts []string
	depth, from := 0, 0
	for i := range len(inside) {
		switch {
		case inside[i] == '{':
			depth++
		case inside[i] == '}':
			depth--
		case inside[i] == ',' && depth == 0:
			parts, from = append(parts, inside[from:i]), i+1
		}
	}
	if parts == nil {
		return nil, nil
	}
	var all []string
	for _, p := range append(parts, inside[from:]) {
		words, err := braces(p)
		if err != nil {
			return nil, err
		}
		if all = append(all, words...); len(all) > maxPaths {
			return nil, errTooMany
		}
	}
	return all, nil
}

// numberRange counts from first to last, up or down, with as many digits as the longer of them
// where one has zeros in front. It returns nil if these are no numbers.
func numberRange(first, last string) ([]string, error) {
	a, err1 := strconv.ParseUint(first, 10, 62)
	b, err2 := strconv.ParseUint(last, 10, 62)
	if err1 != nil || err2 != nil {
		return nil, nil
	}
	if max(a, b)-min(a, b) >= maxPaths {
		return nil, errTooMany
	}
	width := 0
	if len(first) > 1 && first[0] == '0' || len(last) > 1 && last[0] == '0' {
		width = max(len(first), len(last))
	}
	var words []string
	for n := min(a, b); n <= max(a, b); n++ {
		words = append(words, fmt.Sprintf("%0*d", width, n))
	}
	if a > b {
		slices.Reverse(words)
	}
	return words, nil
}

// prefixes gives each of several paths the folder that its images' names begin with: its own last
// name. Where two are the same, as many folders before it are added as make them differ.
func prefixes(paths []string) ([]string, error) {
	full := make([]string, len(paths))
	at := map[string]string{}
	for i, p := range paths {
		full[i] = p
		if !isBuiltin(p) {
			abs, err := filepath.Abs(p)
			if err != nil {
				return nil, err
			}
			full[i] = filepath.ToSlash(abs)
		}
		if before, twice := at[full[i]]; twice {
			return nil, fmt.Errorf("%s and %s are the same path; give it once", before, p)
		}
		at[full[i]] = p
	}
	for p, given := range at {
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			if outer, ok := at[p[:i]]; ok {
				return nil, fmt.Errorf("%s lies in %s; give one of them", given, outer)
			}
		}
	}
	list := make([]string, len(paths))
	for parts := 1; ; parts++ {
		same := map[string]int{}
		for i := range full {
			if list[i] == "" || parts > 1 && strings.HasPrefix(list[i], "\x00") {
				list[i] = lastParts(full[i], parts)
			}
			same[list[i]]++
		}
		again := false
		for i := range list {
			if same[list[i]] > 1 {
				list[i], again = "\x00", true
			}
		}
		if !again {
			return list, nil
		}
	}
}

// lastParts returns the last n parts of a path.
func lastParts(p string, n int) string {
	i := len(p)
	for range n {
		if i = strings.LastIndexByte(p[:i], '/'); i < 0 {
			return p
		}
	}
	return p[i+1:]
}
