package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestPathsFlag(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--data a":                             "a",
		"--data a,b":                           "a,b",
		"--data a --data b/*.tar":              "{a,b/*.tar}",
		"--data x{0..3} --data {a,b}":          "{x{0..3},{a,b}}",
		"--data a --data b,c":                  "cannot be one of several",
		"--data a --data b{c":                  "cannot be one of several",
		"--data builtin:train --data ../other": "{builtin:train,../other}",
	} {
		var got string
		c := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
		pathsFlag(c, &got, "data", "")
		c.SetArgs(strings.Fields(line))
		if err := c.Execute(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || strings.HasPrefix(want, "{") && got != want {
			t.Errorf("%s gives %s, want %s", line, got, want)
		}
	}
}
