package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// pathsHelp says what a flag for images takes.
const pathsHelp = `A PATH of images is a folder (of images, of class folders, nested), a .tar, .tar.gz or .zip of one,
a folder of such shards, a list (CSV or Parquet with the columns path and label), CIFAR-10/100
binary files, IDX files, or builtin:train. It may be a pattern ('*.tar', 'shards/{000..127}.tar',
'{a,b}'), several may stand behind one flag (--data photos/*.jpg), and the flag may be given several
times; names of images then begin with their path's last name. One line tells what is left out.`

// paths is the value of a flag that names images. Given several times, the flag stands for all of
// its paths, which are kept as a pattern of package data: {a,b}.
type paths struct {
	to    *string
	given []string
}

// pathsFlag adds a flag that names images.
func pathsFlag(c *cobra.Command, to *string, name, help string) {
	c.Flags().Var(&paths{to: to}, name, help)
}

func (p *paths) Set(value string) error {
	p.given = append(p.given, value)
	all, err := onePattern(p.given)
	*p.to = all
	return err
}

func (p *paths) String() string {
	if p.to == nil { // pflag's own zero value
		return ""
	}
	return *p.to
}

func (p *paths) Type() string { return "string" }

// short is a path as people read it: of a pattern that was made of many paths, the first and how many
// more there are.
func short(path string) string {
	const most = 200
	first, rest, several := strings.Cut(strings.Trim(path, "{}"), ",")
	if len(path) <= most || !several {
		return path
	}
	return fmt.Sprintf("%s and %d more", first, 1+strings.Count(rest, ","))
}

// onePattern writes several paths as one pattern.
func onePattern(list []string) (string, error) {
	if len(list) == 1 {
		return list[0], nil
	}
	for _, p := range list {
		if p == "" {
			return "", usagef("one of several paths is empty")
		}
		if depth := strings.Count(p, "{") - strings.Count(p, "}"); depth != 0 || strings.Contains(outsideBraces(p), ",") {
			return "", usagef("%q: a path with a comma or a single brace cannot be one of several; rename it", p)
		}
	}
	return "{" + strings.Join(list, ",") + "}", nil
}

// outsideBraces is what of a pattern does not stand in braces.
func outsideBraces(p string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch r {
		case '{':
			depth++
			return -1
		case '}':
			depth--
			return -1
		}
		if depth > 0 {
			return -1
		}
		return r
	}, p)
}
