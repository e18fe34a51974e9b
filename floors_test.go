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

// floors gives each package its floor. A package may import only from the floors below its own.
// docs/design.md explains why.
var floors = map[string]int{
	"tensor": 0, "internal/rng": 0, "internal/lock": 0, "internal/sys": 0, "internal/picturecache": 0,
	"internal/taps": 0, "internal/cubic": 0, "internal/colour": 0, "internal/parquetcheck": 0, "engine/cpu/internal/kernel": 0,
	"internal/jpeg": 0, "weights/internal/pickle": 0, "internal/atomicfile": 0, "internal/text": 0,
	"internal/tfevents": 0, "internal/half": 0, "internal/browser": 0, "ranks": 0,
	"internal/event": 1, "internal/atomicfile/volatile": 1, "graph": 1, "picture": 1, "weights": 1,
	"labels": 1, "internal/links": 1, "internal/mpi": 1,
	"internal/job": 2, "engine": 2, "engine/reference": 2, "nn": 2, "optim": 2, "data": 2, "vectors": 2,
	"onnx":       2,
	"engine/cpu": 3, "vectordb": 3, "engine/enginetest": 3, "augment": 3, "pack": 3,
	".":      4,
	"recipe": 5, "internal/loader": 5, "internal/report": 5, "internal/bench": 5,
	"encoder": 6, "choose": 6,
	"embed": 7, "evaluate": 7, "exchange": 7,
	"pretrain": 8, "classify": 8,
	"study": 9, "explore": 9, "transfer": 9,
	"studio":       10,
	"internal/cli": 11,
	"cmd/moco":     12, "scripts/mca": 12, "scripts/pan": 12, "scripts/plant": 12, "scripts/studio": 12,
}

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if d.IsDir() && file != "." &&
			(strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
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
			// encoder and classify may, so that encoder.Open and classify.Open need nothing but a path.
			if other == "engine/cpu" && dir != "internal/cli" && dir != "encoder" && dir != "classify" {
				t.Errorf("%s names an engine; only internal/cli, encoder and classify do", file)
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
