package data

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestLeftOut(t *testing.T) {
	t.Parallel()
	heic := []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
	phone := images("1.jpg", "2.jpeg", "3.JPG", "4.jpg", "5.jpg")
	for i := range 95 {
		phone[fmt.Sprintf("IMG_%04d.HEIC", i)] = heic
	}
	mixed := images("1.png", "a.jfif", "b.jpe", "c.mpo", "d.HEIC", "e", "f.dat", "g.photo")
	for _, n := range []string{"n.txt", "o.txt", "p.xml", "q.mp4", "r.pdf", "s.py", "t.py", "without", "u.xyz"} {
		mixed[n] = []byte("some text")
	}
	for _, c := range []struct {
		name  string
		files map[string][]byte
		n     int
		want  string
	}{
		{"a phone's folder", phone, 5, "left out 95 files: 95 .heic (HEIC is not read: convert to JPEG or PNG)"},
		{"pictures by content", mixed, 8, "left out 9 files: 2 .py, 2 .txt, 1 without an ending, 4 others"},
		{"nothing", images("1.png"), 1, ""},
		{"files of the operating system", map[string][]byte{"1.png": shade(1), ".DS_Store": {1}, "Thumbs.db": {1}}, 1, ""},
		{"a hidden folder", map[string][]byte{"1.png": shade(1), ".git/x": {1}, ".git/y/z": {1}}, 1, "left out 2 files: 2 in .git"},
		{"two kinds", map[string][]byte{"1.png": shade(1), "a.svg": {1}, "b.heif": heic, "c.txt": {1}, "d.a": {1}, "e.b": {1}, "f.c": {1}, "g.nef": {1}}, 1,
			"left out 7 files: 1 .a, 1 .b, 1 .c, 1 .heif, 1 .nef, 1 .svg, 1 other (HEIC, camera raw, SVG are not read: convert to JPEG or PNG)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, c.files)
			for what, path := range map[string]string{"folder": dir, "zip": onDisk(t, "a.zip", packZip(filesOf(c.files)...)), "tar": onDisk(t, "a.tar", packTar(filesOf(c.files)...))} {
				s := open(t, path, Options{})
				if got := s.LeftOut().String(); got != c.want || s.Len() != c.n {
					t.Errorf("%s: %d images, %s\nwant %d, %s", what, s.Len(), got, c.n, c.want)
				}
				raw, err := json.Marshal(s.LeftOut())
				var back LeftOut
				if err != nil || json.Unmarshal(raw, &back) != nil || back.String() != c.want {
					t.Errorf("as JSON: %s, %v", raw, err)
				}
			}
		})
	}
}
