package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"moco/internal/parquetcheck"
)

func TestBraces(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"a":                "a",
		"{a,b}":            "a b",
		"x{a,b}y{1,2}":     "xay1 xay2 xby1 xby2",
		"{0..3}":           "0 1 2 3",
		"{3..1}":           "3 2 1",
		"{008..011}.tar":   "008.tar 009.tar 010.tar 011.tar",
		"{8..011}":         "008 009 010 011",
		"{a{1,2},b}":       "a1 a2 b",
		"{a}":              "{a}",
		"{a":               "{a",
		"a}{b,c}":          "a}b a}c",
		"{x..y}":           "{x..y}",
		"{,s}":             " s",
		"{{1,2}}":          "{1} {2}",
		"{0..2000000}":     "a million",
		"{0..999999}{1,2}": "a million",
	} {
		words, err := braces(pattern)
		if got := strings.Join(words, " "); got != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s gives %q, %v; want %q", pattern, got, err, want)
		}
	}
}

func FuzzBraces(f *testing.F) {
	for _, s := range []string{"{a,b}{1..3}", "{a{b,c}", "{..}", "{1..9}{1..9}", "}{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		words, err := braces(pattern)
		if err == nil && (len(words) == 0 || len(words) > maxPaths) {
			t.Errorf("%d words", len(words))
		}
	})
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ paths, want string }{
		{"/x/a /x/b", "a b"},
		{"/x/a /y/b", "a b"},
		{"/x/a /y/a", "x/a y/a"},
		{"/1/x/a /2/x/a /z/b", "1/x/a 2/x/a b"},
		{"/1/x/a /2/x/a /z/a", "1/x/a 2/x/a z/a"},
		{"/a /y/a", "/a y/a"},
		{"builtin:train builtin:test", "builtin:train builtin:test"},
		{"/x/a /x/../x/a", "the same path"},
		{"/x/a/b /x/a", "lies in"},
	} {
		got, err := prefixes(strings.Fields(c.paths))
		if strings.Join(got, " ") != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %q, %v; want %q", c.paths, got, err, c.want)
		}
	}
}

func TestSeveralPaths(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string][]byte{
		"one/cat/1.png": shade(1), "one/dog/1.png": shade(2), "two.tar": packTar(file{"dog/1.png", shade(3)}, file{"ant/1.png", shade(4)}),
		"flat/1.png": shade(5), "flat/x.txt": {1}, "three.tar": packTar(file{"cat/7.png", shade(6)}, file{"ant/1.png", shade(7)}),
		"shards/000.tar": packTar(file{"1.png", shade(8)}), "shards/001.tar": packTar(file{"1.png", shade(9)}), "shards/notes.txt": {1},
		"[odd]/{1,2}.tar":  packTar(file{"1.png", shade(10)}),
		"halves/train.tar": packTar(file{"1.png", shade(11)}), "halves/test.tar": packTar(file{"1.png", shade(12)}),
	})
	at := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	for _, c := range []struct {
		name  string
		paths []string
		part  Part
		want  string
	}{
		{"one", at("one"), Any, "cat/1.png=cat dog/1.png=dog"},
		{"two, labelled", at("one", "two.tar"), Any, "one/cat/1.png=cat one/dog/1.png=dog two.tar/ant/1.png=ant two.tar/dog/1.png=dog"},
		{"the other way round", at("two.tar", "one"), Any, "one/cat/1.png=cat one/dog/1.png=dog two.tar/ant/1.png=ant two.tar/dog/1.png=dog"},
		{"one of them without labels", at("one", "flat"), Any, "flat/1.png=- one/cat/1.png=- one/dog/1.png=-"},
		{"a star", at("t*.tar"), Any, "three.tar/ant/1.png=ant three.tar/cat/7.png=cat two.tar/ant/1.png=ant two.tar/dog/1.png=dog"},
		{"a star for one", at("tw*.tar"), Any, "two.tar/ant/1.png=ant two.tar/dog/1.png=dog"},
		{"braces", at("shards/{000..001}.tar"), Any, "000.tar/1.png=- 001.tar/1.png=-"},
		{"a folder of archives", at("shards"), Any, "000.tar/1.png=- 001.tar/1.png=-"},
		{"a name that looks like a pattern", at("[odd]/{1,2}.tar"), Any, "1.png=-"},
		{"archives of both parts", at("halves"), Any, "test.tar/1.png=- train.tar/1.png=-"},
		{"archives of one part", at("halves"), Train, "train.tar/1.png=-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := OpenAll(context.Background(), c.paths, Options{Part: c.part, CacheBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := listing(s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if left := s.LeftOut().Files; (left == 1) != strings.Contains(c.name, "without labels") && c.name != "a folder of archives" {
				t.Errorf("%d files left out", left)
			}
			var m Image
			for range 2 {
				for i := range s.Len() {
					if err := s.Read(i, &m); err != nil || m.Width != 3 {
						t.Errorf("%s: %v", s.Name(i), err)
					}
				}
			}
			if info := s.Describe(context.Background(), Survey{Decode: true}); info.Bad > 0 {
				t.Errorf("%+v", info)
			}
		})
	}
	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"no match":           {at("q*.tar"), "no file or folder matches"},
		"one is missing":     {at("shards/{000..002}.tar"), "002.tar: no such file"},
		"the same twice":     {at("one", "one"), "the same path"},
		"one in another":     {at("shards", "shards/000.tar"), "lies in"},
		"no path":            {nil, "no data path"},
		"one without images": {append(at("one"), t.TempDir()), "holds no files"},
	} {
		if _, err := OpenAll(context.Background(), c.paths, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one that says %q", name, err, c.want)
		}
	}
}

// The right image comes from the right path, and one path's share is told from another's.
func TestSeveralPathsRead(t *testing.T) {
	t.Parallel()
	a, b := folder(t, images("1.png", "2.png")), folder(t, map[string][]byte{"1.png": shade(10), "2.txt": {1}})
	s, err := OpenAll(context.Background(), []string{a, b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := OpenAll(context.Background(), []string{a}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if s.Fingerprint() == other.Fingerprint() || s.LeftOut().Files != 1 {
		t.Errorf("%s, %+v", s.Fingerprint(), s.LeftOut())
	}
	var got []uint8
	var m Image
	for i := range s.Len() {
		if err := s.Read(i, &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Pix[0])
	}
	slices.Sort(got)
	if !slices.Equal(got, []uint8{0, 1, 10}) {
		t.Errorf("shades %v", got)
	}
	os.Remove(filepath.Join(b, "1.png"))
	at := slices.IndexFunc(s.names, func(n string) bool { return strings.HasPrefix(n, filepath.Base(b)) })
	if err := s.Read(at, &m); err == nil || !strings.HasPrefix(err.Error(), s.Name(at)+": ") {
		t.Errorf("a file that has gone gives %v", err)
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	shard := func(names ...string) []byte {
		var files []file
		for i, n := range names {
			name, text, ok := strings.Cut(n, "=")
			content := []byte(text)
			if !ok {
				content = shade(uint8(i))
			}
			files = append(files, file{name, content})
		}
		return packTar(files...)
	}
	for _, c := range []struct {
		name, kind string
		content    []byte
		want       string
		left       int
	}{
		{"numbers", "tar of pictures with .cls", shard("0.png", "0.cls=10", "1.png", "1.cls=9\n", "2.png", "2.cls=10"), "0.png=10 1.png=9 2.png=10", 0},
		{"names", "tar of pictures with .cls", shard("a/0.png", "a/0.cls=cat", "b/1.png", "b/1.cls=dog"), "a/0.png=cat b/1.png=dog", 0},
		{"JSON before .cls", "tar of pictures with .json", shard("0.png", "0.cls=1", `0.json={"label": "cat", "name": "x"}`, "1.png", "1.cls=0", `1.json={"label": "dog"}`), "0.png=cat 1.png=dog", 0},
		{"JSON with numbers", "tar of pictures with .json", shard("0.png", `0.json={"label": 3}`), "0.png=3", 0},
		{"JSON without labels", "tar of pictures with .cls", shard("0.png", "0.cls=1", `0.json={"width": 3}`), "0.png=1", 0},
		{"words", "tar of pictures with .txt", shard("0.png", "0.txt=cat", "1.png", "1.txt=cat", "2.png", "2.txt=dog", "3.png", "3.txt=dog"), "0.png=cat 1.png=cat 2.png=dog 3.png=dog", 0},
		{"captions", "tar of images", shard("0.png", "0.txt=a cat sits", "1.png", "1.txt=a dog runs"), "0.png=- 1.png=-", 0},
		{"words in class folders", "tar of class folders", shard("a/0.png", "a/0.txt=x", "b/1.png", "b/1.txt=x"), "a/0.png=a b/1.png=b", 0},
		{"one without a label", "tar of images", shard("0.png", "0.cls=1", "1.png"), "0.png=- 1.png=-", 0},
		{"two pictures of a sample", "tar of pictures with .cls", shard("0.left.png", "0.right.png", "0.cls=1"), "0.left.png=1 0.right.png=1", 0},
		{"what belongs to no picture", "tar of images", shard("0.png", "1.cls=1", "list.json={}", "0.npy=x"), "0.png=-", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, onDisk(t, "a.tar", c.content), Options{})
			if got := listing(s); got != c.want || s.Kind() != c.kind || s.LeftOut().Files != c.left {
				t.Errorf("got  %s: %s, %d left out\nwant %s: %s, %d", s.Kind(), got, s.LeftOut().Files, c.kind, c.want, c.left)
			}
		})
	}
}

func FuzzSampleLabels(f *testing.F) {
	for _, s := range []string{`{"label": "x"}`, `{"label": 1e3}`, `{"label": null}`, `{}`, "[1]", "cat\n", "\xff", `{"label": "\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, label := range []func([]byte) (string, bool){jsonLabel, lineLabel} {
			if text, ok := label(content); ok && (text == "" || strings.ContainsAny(text, "\n\x00")) {
				t.Errorf("%q is a label", text)
			}
		}
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	dir := folder(t, images("p/1.png", "p/2.png", "q/3.png"))
	elsewhere := filepath.Join(folder(t, images("4.png")), "4.png")
	type row struct {
		Path  string  `parquet:"path"`
		Label *string `parquet:"label,optional,dict"`
		Size  int64   `parquet:"size"`
	}
	type numbered struct {
		Label int32  `parquet:"label"`
		Path  string `parquet:"path,snappy"`
	}
	cat, dog := "cat", "dog"
	parquetOf := func(write func(b *bytes.Buffer) error) []byte {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for i, c := range []struct {
		name    string
		content []byte
		want    string // listing, or a part of the error
	}{
		{"l.csv", []byte("path,label\np/2.png,dog\np/1.png,cat\n"), "p/1.png=cat p/2.png=dog"},
		{"l.csv", []byte("\ufeffLabel, Path ,more\n10,./p/2.png,x\n9,p//1.png,\"y, z\"\n"), "p/1.png=9 p/2.png=10"},
		{"l.csv", []byte("path\np/1.png\n"), "p/1.png=-"},
		{"l.tsv", []byte("path\tlabel\np/1.png\ta, b\n"), "p/1.png=a, b"},
		{"list", []byte("path,label\n" + filepath.Join(dir, "q", "3.png") + ",x\n"), "q/3.png=x"},
		{"l.csv", []byte("path,label\n" + elsewhere + ",x\np/1.png,y\n"), filepath.ToSlash(elsewhere) + "=x p/1.png=y"},
		{"l.csv", []byte("path,label,decision\np/1.png,x,\np/2.png,y,\np/1.png,cat,keep\nq/3.png,,drop\np/2.png,,\np/2.png,dog,\n"),
			"p/1.png=cat p/2.png=dog"},
		{"l.csv", []byte("path,label\np/1.png,cafe\u0301\np/2.png,caf\u00e9\n"), "p/1.png=caf\u00e9 p/2.png=caf\u00e9"},
		{"l.parquet", parquetOf(func(b *bytes.Buffer) error {
			return parquet.Write(b, []row{{"p/1.png", &cat, 1}, {"q/3.png", &dog, 2}})
		}), "p/1.png=cat q/3.png=dog"},
		{"l.parquet", parquetOf(func(b *bytes.Buffer) error { return parquet.Write(b, []row{{"p/1.png", nil, 1}, {"q/3.png", nil, 2}}) }), "p/1.png=- q/3.png=-"},
		{"whatever", parquetOf(func(b *bytes.Buffer) error {
			return parquet.Write(b, []numbered{{10, "p/1.png"}, {9, "p/2.png"}})
		}), "p/1.png=10 p/2.png=9"},
		{"l.csv", []byte("file,label\np/1.png,cat\n"), "no column path"},
		{"l.csv", []byte("path,label\n"), "lists no images"},
		{"l.csv", []byte("path,label,decision\np/1.png,x,\np/1.png,,drop\n"), "no image has one"},
		{"l.csv", []byte("path,label\np/1.png\n"), "line 2 has 1 fields"},
		{"l.csv", []byte("path,label\n,cat\n"), "line 2 has no path"},
		{"l.csv", []byte("path,label\np/1.png,a\np/2.png,\n"), "line 3 gives no label and line 2 does"},
		{"l.csv", []byte("path\np/1.png\n./p/1.png\n"), "which line 2 does too"},
		{"l.csv", []byte("path\nx.png\ny.png\n"), "none of the 2 files"},
		{"l.csv", []byte("path\nl.csv\n"), "it is text"},
		{"l.parquet", []byte("PAR1 and nothing"), "Parquet"},
		{"text", []byte("hello, world\n"), "neither an archive"},
	} {
		t.Run(fmt.Sprint(i, c.name), func(t *testing.T) {
			place := filepath.Join(dir, c.name)
			if err := os.WriteFile(place, c.content, 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := Open(context.Background(), place, Options{})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("the error is %v, want one that says %q", err, c.want)
				}
				return
			}
			defer s.Close()
			if got := listing(s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var m Image
			for i := range s.Len() {
				if err := s.Read(i, &m); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A file that a list names and that is not there is an image that cannot be read.
func TestListWithAGap(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string][]byte{"1.png": shade(1), "l.csv": []byte("path\n1.png\n2.png\n")})
	s := open(t, filepath.Join(dir, "l.csv"), Options{})
	info := s.Describe(context.Background(), Survey{})
	if info.Images != 2 || info.Bad != 1 || !strings.HasPrefix(info.BadNames[0], "2.png: ") {
		t.Errorf("%+v", info)
	}
}

func FuzzCSVList(f *testing.F) {
	for _, s := range []string{"path,label\na,b\n", "path\n\"a\n", "path,path\na,b\n", "\ufeffpath\tlabel\nx\ty", "PAR1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		lines, err := csvList(bytes.NewReader(content), ',')
		if err == nil && (len(lines) == 0 || lines[0].path == "") {
			t.Errorf("%v", lines)
		}
	})
}

// TestParquetListClaims: a list that asks for gigabytes is refused before it gets them.
func TestParquetListClaims(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := parquet.Write(&b, []struct {
		Path string `parquet:"path"`
	}{{"a.png"}}); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	binary.LittleEndian.PutUint32(raw[len(raw)-8:], 4<<30-1) // the footer's length
	var limit *parquetcheck.LimitError
	if _, err := parquetList(bytes.NewReader(raw), int64(len(raw))); !errors.As(err, &limit) {
		t.Errorf("the error is %v, want a *parquetcheck.LimitError", err)
	}
}

// TestCutParquetList: a list that is cut anywhere is an error, not a panic. It is not fuzzed: behind
// the headers, which parquetcheck holds to limits, a few bytes can still be a run of billions of equal
// values, for which the library makes room.
func TestCutParquetList(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := parquet.Write(&b, []struct {
		Path string `parquet:"path"`
	}{{"a.png"}, {"b.png"}}); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		if lines, err := parquetList(bytes.NewReader(b.Bytes()[:n]), int64(n)); err == nil {
			t.Errorf("the first %d of %d bytes are a list of %d images", n, b.Len(), len(lines))
		}
	}
}

// Digests are of the bytes behind an image, whatever the set; reading some does not disturb others.
func TestDigests(t *testing.T) {
	t.Parallel()
	gif := animation(3, 2)
	dir := folder(t, map[string][]byte{"a/1.png": shade(1), "a/2.png": shade(2), "a.tar": packTar(file{"x.png", shade(3)})})
	list := []string{filepath.Join(dir, "a"), filepath.Join(dir, "a.tar"), "builtin:test?n=2&size=8", onDisk(t, "x-images-idx3-ubyte", idxOf(2, 2, 2))}
	s, err := OpenAll(context.Background(), list, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var before []Image
	sums := map[Digest]string{}
	for range 2 {
		for i := range s.Len() {
			var m Image
			if err := s.Read(i, &m); err != nil {
				t.Fatal(err)
			}
			if len(before) < s.Len() {
				before = append(before, m)
			} else if !bytes.Equal(before[i].Pix, m.Pix) {
				t.Errorf("%s has changed", s.Name(i))
			}
		}
		for i := range s.Len() {
			d, err := s.Digest(i)
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := sums[d]; ok && name != s.Name(i) {
				t.Errorf("%s and %s have one digest", name, s.Name(i))
			}
			sums[d] = s.Name(i)
			content, format, err := s.Stored(i, nil)
			if strings.HasSuffix(s.Name(i), ".png") != (format == "png") || err != nil || int64(len(content)) != d.Size {
				t.Errorf("%s is stored as %q, %d bytes (%v)", s.Name(i), format, len(content), err)
			}
		}
	}
	if len(sums) != s.Len() {
		t.Errorf("%d digests of %d images", len(sums), s.Len())
	}
	frames := open(t, folder(t, map[string][]byte{"v/x.gif": gif, "w/1.png": shade(1), "w/2.png": shade(2)}), Options{Frames: true})
	d, err := frames.Digest(1)
	if err != nil || d.Size != int64(len(gif)) {
		t.Errorf("a frame of an animation: %+v, %v", d, err)
	}
	if _, format, err := frames.Stored(0, nil); err != nil || format != "" {
		t.Errorf("a frame of an animation is stored as %q (%v)", format, err)
	}
	for _, i := range []int{-1, s.Len()} {
		if _, err := s.Digest(i); err == nil {
			t.Errorf("image %d of %d has a digest", i, s.Len())
		}
	}
}

// idxOf is an IDX file of n images.
func idxOf(n, h, w int) []byte {
	raw := []byte{0, 0, 8, 3, 0, 0, 0, byte(n), 0, 0, 0, byte(h), 0, 0, 0, byte(w)}
	for i := range n * h * w {
		raw = append(raw, byte(i))
	}
	return raw
}

// TestSeveralFiles: image files given one by one are named by their last names, as in their folder,
// and in a list of pairs by where they are.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t, images("a/1.png", "a/2.png", "b/1.png", "x/1.png/3.png"))
	at := func(names ...string) string {
		for i, n := range names {
			names[i] = filepath.Join(dir, n)
		}
		return "{" + strings.Join(names, ",") + "}"
	}
	for want, path := range map[string]string{
		"1.png=- 2.png=-":                   at("a/1.png", "a/2.png"),
		"2.png=- a/1.png=- b/1.png=-":       at("a/1.png", "a/2.png", "b/1.png"),
		"2.png=- a/1.png=- x/1.png/3.png=-": at("a/1.png", "a/2.png", "x/1.png"),
	} {
		if got := listing(open(t, path, Options{})); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	pairs := filepath.Join(dir, "pairs.csv")
	if err := os.WriteFile(pairs, []byte("path,group\na/1.png,g\na/2.png,g\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := open(t, at("a/1.png", "a/2.png"), Options{Pairs: pairs}).Len(); got != 2 {
		t.Errorf("%d images are in pairs", got)
	}
}
