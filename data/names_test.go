package data

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain/a.png":        "plain/a.png",
		"gr\u00fc\u00dfe":    "gr\u00fc\u00dfe",
		"p\xff.jpg":          `p\xff.jpg`,
		"p\xfe.jpg":          `p\xfe.jpg`,
		`p\xff.jpg`:          `p\x5cxff.jpg`,
		`\\x`:                `\\x5cx`,
		`a\b`:                `a\b`,
		"\xc3":               `\xc3`,
		"\ufffd":             "\ufffd",
		"e\xcc\x81 and \xe9": "e\u0301 and \\xe9",
	} {
		if got := Text(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}

// original undoes Text.
func original(text string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, `\x`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		const digits = "0123456789abcdef"
		b.WriteByte(byte(strings.IndexByte(digits, after[0])<<4 | strings.IndexByte(digits, after[1])))
		text = after[2:]
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"a", "\xff", `\xff`, `\\x`, "\\", "\xe2\x82", "x\\\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		text := Text(name)
		if !utf8.ValidString(text) {
			t.Errorf("%q is shown as %q", name, text)
		}
		if back := original(text); back != name {
			t.Errorf("%q is shown as %q, which stands for %q", name, text, back)
		}
	})
}

// Names that are no UTF-8 are told apart, and the files are found.
func TestNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	files := images("d\xe9/p\xff.jpg", "d\xe9/p\xfe.jpg", `d\xe9/p\xff.jpg`, "e/1.png")
	s := open(t, folder(t, files), Options{})
	packed := open(t, onDisk(t, "a.tar", packTar(file{"d\xe9/p\xff.jpg", shade(0)}, file{"d\xe9/p\xfe.jpg", shade(1)},
		file{`d\xe9/p\xff.jpg`, shade(2)}, file{"e/1.png", shade(3)})), Options{})
	want := `d\x5cxe9/p\x5cxff.jpg=d\x5cxe9 d\xe9/p\xfe.jpg=d\xe9 d\xe9/p\xff.jpg=d\xe9 e/1.png=e`
	var m Image
	for _, s := range []*Set{s, packed} {
		if got := listing(s); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for i, want := range []uint8{2, 1, 0, 3} {
			if err := s.Read(i, &m); err != nil || m.Pix[0] != want {
				t.Errorf("%s: shade %v (%v), want %d", s.Name(i), m.Pix[:1], err, want)
			}
		}
	}
	if s.Fingerprint() != packed.Fingerprint() {
		t.Error("folder and tar have different fingerprints")
	}
}

// The two spellings of an accented letter are one class; the pictures keep their names.
func TestClassesInBothNormalForms(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t, images("caf\u00e9/1.png", "cafe\u0301/2.png", "tea/3.png")), Options{})
	if got, want := listing(s), "cafe\u0301/2.png=caf\u00e9 caf\u00e9/1.png=caf\u00e9 tea/3.png=tea"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The same holds wherever a class comes from.
func TestClassesInBothNormalFormsEverywhere(t *testing.T) {
	t.Parallel()
	const composed, decomposed = "caf\u00e9", "cafe\u0301"
	folders := []file{{composed + "/1.png", shade(1)}, {decomposed + "/2.png", shade(2)}, {"tea/3.png", shade(3)}}
	beside := func(ending string, label func(string) string) []byte {
		var all []file
		for i, l := range []string{composed, decomposed, "tea"} {
			key := string(rune('1' + i))
			all = append(all, file{key + ".png", shade(uint8(i))}, file{key + ending, []byte(label(l))})
		}
		return packTar(all...)
	}
	plain := func(l string) string { return l }
	list := folder(t, map[string][]byte{"1.png": shade(1), "2.png": shade(2), "3.png": shade(3),
		"l.csv": []byte("path,label\n1.png," + composed + "\n2.png," + decomposed + "\n3.png,tea\n")})
	one, two := folder(t, images(composed+"/1.png", "tea/1.png")), folder(t, images(decomposed+"/1.png", "tea/2.png"))
	for from, path := range map[string]string{
		"a tar":              onDisk(t, "a.tar", packTar(folders...)),
		"a zip":              onDisk(t, "a.zip", packZip(folders...)),
		"text beside":        onDisk(t, "a.tar", beside(".cls", plain)),
		"JSON beside":        onDisk(t, "a.tar", beside(".json", func(l string) string { return `{"label":"` + l + `"}` })),
		"a list":             filepath.Join(list, "l.csv"),
		"folders of folders": "{" + one + "," + two + "}",
	} {
		if got := open(t, path, Options{}).Classes(); !slices.Equal(got, []string{composed, "tea"}) {
			t.Errorf("%s: the classes are %q", from, got)
		}
	}
}

// Two names that look alike are told apart, in whatever they are packed, and the files are found.
func TestNamesThatLookAlike(t *testing.T) {
	t.Parallel()
	files := images("caf\u00e9.png", "cafe\u0301.png", "u\u0308.png")
	path := folder(t, files)
	if len(open(t, path, Options{}).names) != 3 {
		t.Skip("the file system takes the two spellings for one name")
	}
	var packed []file
	for name, content := range files {
		packed = append(packed, file{name, content})
	}
	want := `cafe\xcc\x81.png=- ` + "caf\u00e9.png=- u\u0308.png=-"
	for what, s := range map[string]*Set{"folder": open(t, path, Options{}), "zip": open(t, onDisk(t, "a.zip", packZip(packed...)), Options{})} {
		if got := listing(s); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
		var m Image
		for i := range s.Len() {
			if err := s.Read(i, &m); err != nil {
				t.Errorf("%s: %s: %v", what, s.Name(i), err)
			}
		}
	}
}

func TestSystemFoldersAreNoClasses(t *testing.T) {
	t.Parallel()
	names := []string{"a/1.png", "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "b/1.png", "b/Thumbs.db", "@eaDir/x.jpg", ".thumbnails/1.png",
		"__MACOSX/a/._1.png", "lost+found/1.png", "$RECYCLE.BIN/2.png", ".AppleDouble/a/1.png", "a/.DS_Store", "a/notes.txt"}
	s := open(t, folder(t, images(names...)), Options{})
	var files []file
	for _, n := range names {
		files = append(files, file{n, shade(1)})
	}
	for what, s := range map[string]*Set{"folder": s, "zip": open(t, onDisk(t, "a.zip", packZip(files...)), Options{})} {
		if got := listing(s); got != "a/1.png=a b/1.png=b" {
			t.Errorf("%s: got %s", what, got)
		}
		want := "left out 10 files: 1 .txt, 2 in @eaDir, 1 in $RECYCLE.BIN, 1 in .AppleDouble, 2 of the operating system"
		if got := s.LeftOut().String(); got != want {
			t.Errorf("%s: %s\nwant %s", what, got, want)
		}
	}
}

// zipNamed packs files under raw names, as host (0: DOS, 3: Unix) would.
func zipNamed(host uint16, utf bool, names ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, n := range names {
		h := &zip.FileHeader{Name: n, NonUTF8: !utf, CreatorVersion: host << 8}
		e, err := w.CreateHeader(h)
		if err != nil {
			panic(err)
		}
		e.Write(shade(uint8(i)))
	}
	w.Close()
	return b.Bytes()
}

func TestZipNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"cp437", zipNamed(0, false, "M\x81ller/1.png", "H\x94he/1.png"), "H\u00f6he/1.png=H\u00f6he M\u00fcller/1.png=M\u00fcller"},
		{"cp437, French", zipNamed(0, false, "Ch\x83teau/\x82t\x82.png", "\x83me/1.png"), "Ch\u00e2teau/\u00e9t\u00e9.png=Ch\u00e2teau \u00e2me/1.png=\u00e2me"},
		{"cp437, a line", zipNamed(0, false, "a\xc4/1.png", "b/1.png"), "a\u2500/1.png=a\u2500 b/1.png=b"},
		{"Shift-JIS", zipNamed(0, false, "\x8e\xca\x90^/1.png", "\x83\\A/2.png"), "\u30bdA/2.png=\u30bdA \u5199\u771f/1.png=\u5199\u771f"},
		{"Shift-JIS with Windows' separators", zipNamed(0, false, "\x83\\\\1.png", "\x95\\\\2.png"), "\u30bd/1.png=\u30bd \u8868/2.png=\u8868"},
		{"bytes of Unix", zipNamed(3, false, "p\xff/1.png", "p\xfe/1.png"), `p\xfe/1.png=p\xfe p\xff/1.png=p\xff`},
		{"UTF-8 beside bytes", zipNamed(3, false, "p\xff/1.png", "\u5199/1.png"), `p\xff/1.png=p\xff ` + "\u5199/1.png=\u5199"},
		{"cp437 from Unix", zipNamed(3, false, "caf\x82/1.png", "b/1.png"), "b/1.png=b caf\u00e9/1.png=caf\u00e9"},
		{"UTF-8 without the flag", zipNamed(3, false, "\u5199/1.png", "M\u00fcller/1.png"), "M\u00fcller/1.png=M\u00fcller \u5199/1.png=\u5199"},
		{"UTF-8 with the flag", zipNamed(3, true, "\u5199/1.png", "b/1.png"), "b/1.png=b \u5199/1.png=\u5199"},
		{"a backslash of Unix", zipNamed(3, false, `a\1.png`, `a/1.png`), `a/1.png=- a\1.png=-`},
		{"a backslash of Windows", zipNamed(0, false, `b\1.png`, `a\1.png`), `a/1.png=a b/1.png=b`},
		{"the same name twice", zipNamed(3, false, "a.png", "b.png", "a.png"), "a.png=- b.png=-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := listing(open(t, onDisk(t, "a.zip", c.content), Options{})); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestZipLastEntryCounts(t *testing.T) {
	t.Parallel()
	s := open(t, onDisk(t, "a.zip", zipNamed(3, false, "a.png", "b.png", "a.png")), Options{})
	var m Image
	if err := s.Read(0, &m); err != nil || m.Pix[0] != 2 {
		t.Errorf("shade %v (%v), want 2", m.Pix[:1], err)
	}
}

func TestUnicodePath(t *testing.T) {
	t.Parallel()
	raw := "d\x81r/1.png"
	field := func(sum uint32, name string) []byte {
		body := append([]byte{1, byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, name...)
		return append([]byte{0x75, 0x70, byte(len(body)), 0}, body...)
	}
	good := crc32.ChecksumIEEE([]byte(raw))
	for name, c := range map[string]struct {
		extra []byte
		want  bool
	}{
		"right":       {append([]byte{1, 2, 1, 0, 9}, field(good, "x")...), true},
		"of another":  {field(good+1, "x"), false},
		"cut short":   {field(good, "x")[:6], false},
		"no text":     {field(good, "\xff"), false},
		"of no bytes": {nil, false},
	} {
		f := &zip.File{FileHeader: zip.FileHeader{Name: raw, Extra: c.extra}}
		if got, ok := unicodePath(f); ok != c.want || ok && got != "x" {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}
