package data

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LeftOut tells what lies at a set's path and is not in the set.
type LeftOut struct {
	Files   int     `json:"files"`             // all files below; links are not among them
	Endings []Count `json:"endings"`           // files that are no pictures, by ending; "" for none; most frequent first
	Folders []Count `json:"folders,omitempty"` // files in folders that are left out, such as @eaDir, by the folder's name
	System  int     `json:"system,omitempty"`  // files that start with a dot or that operating systems make
	Links   int     `json:"links,omitempty"`   // links that lead nowhere, out of an archive or back to where they are
	Videos  int     `json:"videos,omitempty"`  // video files among the endings
	Example string  `json:"example,omitempty"` // the first file by name that is counted in Endings
}

// Count is a name and how often there is one.
type Count struct {
	Name  string `json:"name"`
	Files int    `json:"files"`
}

// unread names the kinds of pictures that are not read, by ending.
var unread = map[string]string{
	".heic": "HEIC",
	".heif": "HEIC", ".hif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000",
	".psd": "Photoshop",
	".svg": "SVG", ".cr2": "camera raw", ".cr3": "camera raw", ".nef": "camera raw", ".arw": "camera raw",
	".dng": "camera raw", ".orf": "camera raw", ".rw2": "camera raw", ".raf": "camera raw",
}

// String is one line: how many files are left out, the commonest endings, and pictures of a kind
// that is not read by name. It is "" where nothing is worth a line: no files, or only those of
// operating systems.
func (l LeftOut) String() string {
	if l.Files == l.System && l.Links == 0 {
		return ""
	}
	var parts []string
	var kinds []string
	const most = 3
	shown, rest := 0, 0
	for _, e := range l.Endings {
		kind := unread[e.Name]
		if kind == "" && shown == most {
			rest += e.Files
			continue
		}
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		if kind == "" {
			shown++
		}
		parts = append(parts, fmt.Sprintf("%d %s", e.Files, cmp.Or(e.Name, "without an ending")))
	}
	if rest > 0 {
		parts = append(parts, counted(rest, "other"))
	}
	for i, f := range l.Folders {
		if i == most {
			break
		}
		parts = append(parts, fmt.Sprintf("%d in %s", f.Files, f.Name))
	}
	if l.System > 0 {
		parts = append(parts, fmt.Sprintf("%d of the operating system", l.System))
	}
	line := "left out " + counted(l.Files, "file")
	if l.Files == 0 {
		line = "left out " + counted(l.Links, "link") + " that lead nowhere or out of the set"
		return line
	}
	line += ": " + strings.Join(parts, ", ")
	switch {
	case len(kinds) == 1:
		line += fmt.Sprintf(" (%s is not read: convert to JPEG or PNG)", kinds[0])
	case len(kinds) > 1:
		line += fmt.Sprintf(" (%s are not read: convert to JPEG or PNG)", strings.Join(kinds, ", "))
	}
	if l.Links > 0 {
		line += "; and " + counted(l.Links, "link") + " that lead nowhere or out of the set"
	}
	return line
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// tally collects what is left out.
type tally struct {
	endings, folders map[string]int
	system, links    int
	videos           int
	example          string
}

// clone returns a copy to go on with.
func (t *tally) clone() *tally {
	c := *t
	c.endings, c.folders = maps.Clone(t.endings), maps.Clone(t.folders)
	return &c
}

// folder notes files in a folder that is left out.
func (t *tally) folder(name string, files int) {
	if files == 0 {
		return
	}
	if t.folders == nil {
		t.folders = map[string]int{}
	}
	t.folders[name] += files
}

// file notes a file that is no picture.
func (t *tally) file(name string) {
	if t.endings == nil {
		t.endings = map[string]int{}
	}
	t.endings[ending(name)]++
	if isVideoName(name) {
		t.videos++
	}
	if name = Text(name); t.example == "" || name < t.example {
		t.example = name
	}
}

// skip tells whether a path within a set is left out because of what its folders or the file are
// called, and notes it.
func (t *tally) skip(name string) bool {
	if folder := inSystemFolder(name); folder != "" {
		t.folder(Text(folder), 1)
		return true
	}
	if systemFile(name[strings.LastIndexByte(name, '/')+1:]) {
		t.system++
		return true
	}
	return false
}

// sum returns what was collected.
func (t *tally) sum() LeftOut {
	l := LeftOut{
		Endings: counts(t.endings), Folders: counts(t.folders), System: t.system, Links: t.links, Videos: t.videos, Example: t.example,
	}
	l.Files = l.System
	for _, list := range [][]Count{l.Endings, l.Folders} {
		for _, c := range list {
			l.Files += c.Files
		}
	}
	return l
}

// counts sorts by number, then by name.
func counts(by map[string]int) []Count {
	list := make([]Count, 0, len(by))
	for name, n := range by {
		list = append(list, Count{name, n})
	}
	slices.SortFunc(list, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(a.Name, b.Name)) })
	return list
}

// merge returns what several sets leave out together.
func merge(several []LeftOut) LeftOut {
	t := &tally{}
	for _, l := range several {
		for _, f := range l.Folders {
			t.folder(f.Name, f.Files)
		}
		for _, e := range l.Endings {
			if t.endings == nil {
				t.endings = map[string]int{}
			}
			t.endings[e.Name] += e.Files
		}
		t.system, t.links, t.videos, t.example = t.system+l.System, t.links+l.Links, t.videos+l.Videos, cmp.Or(t.example, l.Example)
	}
	return t.sum()
}
