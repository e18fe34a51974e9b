package vectors

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestFilesWithoutDigests reads files from before rows had a size and a sum, and files of other
// tools whose columns of these names hold something else.
func TestFilesWithoutDigests(t *testing.T) {
	t.Parallel()
	parquetOf := func(write func(b *bytes.Buffer) error) string {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	vector := []float32{1, -2}
	for name, files := range map[string]map[string]string{
		"lines":            {"x.jsonl": `{"path":"a","label":"c","vector":[1,-2]}`},
		"lines of another": {"x.jsonl": `{"path":"a","label":"c","vector":[1,-2],"size":"large","sha256":["ABC"]}`},
		"array": {"x.npy.jsonl": `{"path":"a","label":"c"}`,
			"x.npy": string(npyHeader(Head{Rows: 1, Dim: 2})) + "\x00\x00\x80\x3f\x00\x00\x00\xc0"},
		"parquet": {"x.parquet": parquetOf(func(b *bytes.Buffer) error {
			label := "c"
			return parquet.Write(b, []plainRow{{"a", &label, vector}})
		})},
		"parquet of another": {"x.parquet": parquetOf(func(b *bytes.Buffer) error {
			return parquet.Write(b, []struct {
				Size   string    `parquet:"size"`
				Path   string    `parquet:"path"`
				SHA256 int32     `parquet:"sha256"`
				Label  string    `parquet:"label"`
				Vector []float32 `parquet:"vector,list"`
			}{{"large", "a", 7, "c", vector}})
		})},
	} {
		dir, main := t.TempDir(), ""
		for file, content := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, ".npy.jsonl") {
				main = filepath.Join(dir, file)
			}
		}
		_, rows, err := read(main)
		if err != nil || len(rows) != 1 || rows[0].Path != "a" || rows[0].Label != "c" || rows[0].SHA256 != "" ||
			!slices.Equal(rows[0].Vector, vector) {
			t.Errorf("%s: %+v, %v", name, rows, err)
		}
	}
}
