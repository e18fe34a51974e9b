package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is an error of the command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef is a usage error with a text as of fmt.Errorf.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// typed gives the complaints that cobra itself makes, of a command and all below it, the type
// usageError. Cobra has no types for them: they are caught where they are made.
func typed(c *cobra.Command) {
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if check != nil {
			if err := check(c, args); err != nil {
				return complaint(c, err)
			}
		}
		// Cobra asks these two by itself later, when the type cannot be given any more.
		if err := c.ValidateRequiredFlags(); err != nil {
			return complaint(c, err)
		}
		if err := c.ValidateFlagGroups(); err != nil {
			return complaint(c, err)
		}
		return nil
	}
	c.SetFlagErrorFunc(complaint)
	for _, child := range c.Commands() {
		typed(child)
	}
}

// complaint is a usage error that names the help.
func complaint(c *cobra.Command, err error) error {
	return usagef("%w; see `%s --help`", err, c.CommandPath())
}

// noSuchCommand refuses the arguments of a command that only has commands below it.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

// required marks flags that must be given. Their help says so too.
func required(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.MarkFlagRequired(name)
	}
}

// choice is the value of a flag that is one of some words.
type choice[T ~string] struct {
	value *T
	words []T
}

// choiceFlag adds a flag that is one of some words; fallback is its value when it is not given.
func choiceFlag[T ~string](c *cobra.Command, value *T, name string, words []T, fallback T, help string) {
	*value = fallback
	c.Flags().Var(&choice[T]{value, words}, name, help)
	complete(c, name, words)
}

func (c *choice[T]) String() string { return string(*c.value) }
func (c *choice[T]) Type() string   { return either(c.words, "|", "|") }

func (c *choice[T]) Set(word string) error {
	if !slices.Contains(c.words, T(word)) {
		return mustBe(c.words)
	}
	*c.value = T(word)
	return nil
}

// choices is the value of a flag that is a list of some words, each at most once.
type choices[T ~string] struct {
	value *[]T
	words []T
	given bool // else value is what the flag is when it is not given
}

// choicesFlag adds a flag that is a list of some words.
func choicesFlag[T ~string](c *cobra.Command, value *[]T, name string, words, fallback []T, help string) {
	*value = fallback
	c.Flags().Var(&choices[T]{value: value, words: words}, name, help)
	complete(c, name, words)
}

func (c *choices[T]) String() string { return either(*c.value, ",", ",") }
func (c *choices[T]) Type() string   { return either(c.words, ",", ",") }

func (c *choices[T]) Set(list string) error {
	var value []T
	if c.given {
		value = *c.value
	}
	for word := range strings.SplitSeq(list, ",") {
		if !slices.Contains(c.words, T(word)) {
			return mustBe(c.words)
		}
		if slices.Contains(value, T(word)) {
			return fmt.Errorf("%s is there twice", word)
		}
		value = append(value, T(word))
	}
	*c.value, c.given = value, true
	return nil
}

// GetSlice is the list, as pflag.SliceValue has it.
func (c *choices[T]) GetSlice() []string {
	words := make([]string, len(*c.value))
	for i, w := range *c.value {
		words[i] = string(w)
	}
	return words
}

// Append adds to the list, as pflag.SliceValue has it.
func (c *choices[T]) Append(word string) error { return c.Set(word) }

// Replace sets the list, as pflag.SliceValue has it.
func (c *choices[T]) Replace(list []string) error {
	c.given = false
	return c.Set(strings.Join(list, ","))
}

var _ pflag.SliceValue = (*choices[string])(nil)

// mustBe is the error of another word.
func mustBe[T ~string](words []T) error {
	if len(words) == 2 {
		return fmt.Errorf("must be %s", either(words, "", " or "))
	}
	return fmt.Errorf("must be one of %s", either(words, ", ", ", "))
}

// either joins words, with another separator before the last.
func either[T ~string](words []T, separator, last string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(last)
		case i > 0:
			b.WriteString(separator)
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// complete lets shells complete a flag's words.
func complete[T ~string](c *cobra.Command, name string, words []T) {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
}

// atLeast1 checks flags that count something.
func atLeast1(flag string, n int) error {
	if n < 1 {
		return usagef("%s must be at least 1, and is %d", flag, n)
	}
	return nil
}
