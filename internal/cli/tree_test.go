package cli

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"moco"
)

// tree is the command with all below it.
func tree() *cobra.Command {
	return newRoot(&app{screen: screen{out: io.Discard, err: io.Discard}, getenv: func(string) string { return "" }})
}

// eachCommand calls f with each of moco's own commands.
func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	for _, child := range c.Commands() {
		if name := child.Name(); name != "help" && name != "completion" {
			f(child)
			eachCommand(child, f)
		}
	}
}

// TestEveryCommandHasHelp: a line for the list of commands, a story, examples that name the
// command, and no line wider than helpWidth.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	wide := func(t *testing.T, c *cobra.Command) {
		t.Helper()
		var b strings.Builder
		c.SetOut(&b)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimRight(line, "\n"); len(line) > helpWidth {
				t.Errorf("%s --help has a line of %d columns: %s", c.CommandPath(), len(line), line)
			}
		}
	}
	root := tree()
	wide(t, root)
	commands := 0
	eachCommand(root, func(c *cobra.Command) {
		wide(t, c)
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the line %q", c.CommandPath(), c.Short)
		}
		if c.HasSubCommands() {
			return
		}
		commands++
		if c.Long == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s lacks its story, or an example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example is not indented: %s", c.CommandPath(), line)
			}
		}
	})
	want := 0
	for _, makers := range registered {
		want += len(makers)
	}
	if commands != want || want < 18 {
		t.Errorf("%d commands are walked, and %d are registered", commands, want)
	}
}

// TestEveryFlagHasHelp: what it is; and that a required one says so.
func TestEveryFlagHasHelp(t *testing.T) {
	t.Parallel()
	types := map[string]string{} // of each flag that is one of some words
	eachCommand(tree(), func(c *cobra.Command) {
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.CommandPath(), f.Name)
			}
			needed := f.Annotations[cobra.BashCompOneRequiredFlag] != nil
			if needed != strings.Contains(f.Usage, "(required)") {
				t.Errorf("%s --%s: required is %v, and the help says %q", c.CommandPath(), f.Name, needed, f.Usage)
			}
			if f.Name == "features" || f.Name == "precision" {
				want := strings.ReplaceAll(f.Value.Type(), "|", ",")
				if types[f.Name] == "" {
					types[f.Name] = want
				}
				if types[f.Name] != want {
					t.Errorf("%s --%s takes %s, and another command's %s", c.CommandPath(), f.Name, want, types[f.Name])
				}
			}
		})
	})
	if types["features"] != "head,backbone" || types["precision"] != "fp32,bf16" {
		t.Errorf("the choices are %v", types)
	}
}

// TestChoices: each flag that is one of some words takes all of them, and nothing else.
func TestChoices(t *testing.T) {
	t.Parallel()
	var found []string
	eachCommand(tree(), func(c *cobra.Command) {
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			words := strings.FieldsFunc(f.Value.Type(), func(r rune) bool { return r == '|' || r == ',' })
			if len(words) < 2 {
				return
			}
			name := strings.TrimPrefix(c.CommandPath(), "moco ") + " --" + f.Name
			found = append(found, name)
			for _, word := range words {
				if list, ok := f.Value.(pflag.SliceValue); ok {
					list.Replace(nil)
				}
				if err := f.Value.Set(word); err != nil || !strings.Contains(f.Value.String(), word) {
					t.Errorf("%s %s: %v, and it is %q", name, word, err, f.Value)
				}
			}
			err := c.Flags().Set(f.Name, "nonsense")
			if err == nil || !strings.Contains(err.Error(), words[0]) {
				t.Errorf("%s nonsense: %v", name, err)
			}
			complete, ok := c.GetFlagCompletionFunc(f.Name)
			if !ok {
				t.Errorf("%s: no shell can complete it", name)
				return
			}
			if got, _ := complete(c, nil, ""); !slices.Equal(got, words) {
				t.Errorf("%s completes to %v", name, got)
			}
		})
	})
	for _, want := range []string{"train --precision", "eval knn --features", "dedupe --by", "import --side", "import --policy", "export --format",
		"export --input", "export --output", "transfer --arms", "embed --features"} {
		if !slices.Contains(found, want) {
			t.Errorf("%s is not one of some words; those are %v", want, found)
		}
	}
}

// TestPolicies: the views that an imported encoder can be said to have seen are those that there
// are.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for _, p := range policies {
		if _, err := (moco.Views{Policy: p, Size: 32}).Drawn(); err != nil {
			t.Errorf("--policy %s: %v", p, err)
		}
	}
}

// TestUsageErrors: what cobra complains of is a usage error, and names the help.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                             "",
		"trian":                        `unknown command "trian" for "moco"; did you mean train?; see ` + "`moco --help`",
		"eval":                         "",
		"eval lineer":                  `did you mean linear?; see ` + "`moco eval --help`",
		"train --dta x":                "unknown flag: --dta; see `moco train --help`",
		"train -x":                     "unknown shorthand flag",
		"train --epochs":               "flag needs an argument: --epochs",
		"train --epochs many":          `invalid argument "many"`,
		"train --data x":               `required flag(s) "out" not set; see`,
		"train extra --data x --out y": `"extra" belongs to no flag; see`,
		"info":                         "accepts 1 arg(s), received 0; see `moco info --help`",
		"info a b":                     "accepts 1 arg(s), received 2",
		"embed --model x --data y":     "[out to]",
		"embed --model x --data y --out z --to qdrant://h/c": "[out to]",
		"cluster --data x":                      "[model vectors]",
		"import a --out b --side key --strip c": "[side strip]",
		"import a --out b --side left":          "must be query or key; see `moco import --help`",
		"import a --out b --policy v9":          "must be one of v1, v2, v3, cifar, shapes, flip",
		"completion":                            "",
	} {
		root := tree()
		root.SetArgs(strings.Fields(line))
		err := root.Execute()
		if want == "" {
			if err != nil {
				t.Errorf("moco %s: %v", line, err)
			}
			continue
		}
		if !errors.As(err, &usageError{}) || !strings.Contains(err.Error(), want) || exitCode(err) != exitUsage {
			t.Errorf("moco %s gives %v, want a usage error that says %q", line, err, want)
		}
	}
}
