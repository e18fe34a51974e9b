package studio

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed page
var embedded embed.FS

// types are those of the page's files. The system's own table may say otherwise.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
}

// pageFile is a file of the page.
type pageFile struct {
	content []byte
	etag    string
}

// page are the page's files by their addresses. A browser asks again for each, and gets only what
// has changed: it must not run one version's scripts with another's.
type page map[string]pageFile

// newPage reads the embedded files.
func newPage(files fs.FS, root string) (page, error) {
	p := page{}
	err := fs.WalkDir(files, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		p[name[len(root):]] = pageFile{content, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	p["/"] = p["/index.html"]
	return p, err
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p[r.URL.Path]
	kind, known := types[path.Ext(r.URL.Path)]
	if r.URL.Path == "/" {
		kind, known = types[".html"], true
	}
	if !ok || !known {
		fail(w, http.StatusNotFound, "there is no such page")
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "private, no-cache")
	w.Header().Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
