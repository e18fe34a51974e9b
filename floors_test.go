package moco

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors says where each package lives: it may import only from below. docs/design.md explains why.
var floors = map[string]int{
	"tensor": 0, "internal/rng": 0, "engine/cpu/internal/kernel": 0,
	"graph": 1, "data": 1, "weights": 1,
	"engine": 2, "nn": 2, "optim": 2, "augment": 2, "vectors": 2, "onnx": 2,
	"engine/cpu": 3, "vectordb": 3, "engine/enginetest": 3, "internal/loader": 3,
	".":     4,
	"embed": 5, "evaluate": 5, "exchange": 5, "internal/report": 5,
	"pretrain":     6,
	"study":        7,
	"explore":      7,
	"transfer":     7,
	"internal/cli": 8,
	"cmd/moco":     9, "scripts/pan": 9, "scripts/plant": 9,
}

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		dir := path.Dir(file)
		seen[dir] = true
		floor, ok := floors[dir]
		if !ok {
			t.Errorf("package %s has no floor; give it one here and in docs/design.md", dir)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if name == "moco" {
				name = "moco/."
			}
			other, ours := strings.CutPrefix(name, "moco/")
			if ours && floors[other] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", file, floor, other, floors[other])
			}
			// open.go may, so that moco.Open needs nothing but a path; the files of Algorithm 1 beside it still name none.
			if other == "engine/cpu" && dir != "internal/cli" && file != "open.go" {
				t.Errorf("%s names an engine; only internal/cli and open.go do", file)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range floors {
		if !seen[dir] {
			t.Errorf("floor %d is given to %s, which is not there", floors[dir], dir)
		}
	}
}
