package moco

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notOurFlags lists, by file, the texts outside internal/cli that look like a flag of moco but are
// not: a part of each text. The comment beside each says why it may stay.
var notOurFlags = map[string][]string{
	"pretrain/folder.go": {"# Repeat with: moco train --recipe config"}, // in config.yaml, for people
}

// TestNoFlagsInLibraries: only internal/cli knows the command's flags. Libraries return errors that
// a program can ask, and internal/cli/advice.go says what to do about them.
func TestNoFlagsInLibraries(t *testing.T) {
	t.Parallel()
	flag := regexp.MustCompile(`(^|[^-])--[a-zA-Z]`)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if d.IsDir() {
			// Scripts are commands with flags of their own.
			if file == "scripts" || file == "internal/cli" || file == "cmd" || file != "." && strings.HasPrefix(d.Name(), ".") ||
				d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			l, ok := n.(*ast.BasicLit)
			if !ok || l.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(l.Value)
			if err != nil {
				t.Error(err)
			}
			known := slices.ContainsFunc(notOurFlags[file], func(part string) bool { return strings.Contains(text, part) })
			if flag.MatchString(text) && !known {
				t.Errorf("%v speaks in flags, which only internal/cli knows: %s", files.Position(l.Pos()), l.Value)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
