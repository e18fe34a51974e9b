package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A shell makes several words of photos/*.jpg. Of --data photos/*.jpg it thus makes a flag with its
// value and words that belong to nothing.

// filesFlag marks a flag that may be given several times, each time with a file.
const filesFlag = "files"

// gather gives words that stand behind the value of a flag for files to that flag.
func gather(root *cobra.Command, args []string) ([]string, error) {
	c, _, err := root.Find(args)
	if err != nil {
		return args, nil // which cobra will say
	}
	var all []string
	var open *pflag.Flag // whose values are being read
	var values []string
	flush := func() error {
		if open == nil {
			return nil
		}
		if _, one := open.Value.(*paths); one && len(values) > 1 {
			pattern, err := onePattern(values)
			if err != nil {
				return fmt.Errorf("--%s: %w", open.Name, err)
			}
			values = []string{pattern}
		}
		for _, v := range values {
			all = append(all, "--"+open.Name+"="+v)
		}
		open, values = nil, nil
		return nil
	}
	for i := 0; i < len(args); i++ {
		word := args[i]
		if open != nil && (!strings.HasPrefix(word, "-") || word == "-") {
			values = append(values, word)
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		name, value, inline := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		f := c.Flag(name)
		switch {
		case word == "--":
			return append(all, args[i:]...), nil
		case !strings.HasPrefix(word, "--") || f == nil:
			all = append(all, word)
		case takesFiles(f) && inline:
			open, values = f, []string{value}
		case takesFiles(f) && i+1 < len(args):
			i++
			open, values = f, []string{args[i]}
		case !inline && f.NoOptDefVal == "" && i+1 < len(args):
			i++
			all = append(all, word, args[i])
		default:
			all = append(all, word)
		}
	}
	return all, flush()
}

// takesFiles tells whether a flag's values are files.
func takesFiles(f *pflag.Flag) bool {
	_, images := f.Value.(*paths)
	_, files := f.Annotations[filesFlag]
	return images || files
}

// noArguments refuses words that belong to no flag, and says where images go.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	missing := ""
	c.Flags().VisitAll(func(f *pflag.Flag) {
		_, required := f.Annotations[cobra.BashCompOneRequiredFlag]
		if missing == "" && required && takesFiles(f) && !f.Changed {
			missing = fmt.Sprintf("; images go behind a flag: --%s %s", f.Name, args[0])
		}
	})
	return fmt.Errorf("%q belongs to no flag%s", args[0], missing)
}
