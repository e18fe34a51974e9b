package data

import (
	"path"
	"strings"

	"golang.org/x/text/unicode/norm"

	"moco/internal/text"
)

// Text is the form in which a file's name is shown and written: valid UTF-8, and never the same for
// two names. A byte that is no UTF-8 becomes \xNN (two lower-case hexadecimal digits). So that a
// name which holds such a text of its own cannot be taken for it, a backslash before an x is
// written \x5c. Every other name stays as it is. File systems and archives hold names as bytes;
// JSON, Parquet and HTML hold text.
//
// The names of a set are written so that no two of them look alike either: where two are the same
// text in composed (NFC) and decomposed (NFD) form, the one that is not composed has \xNN for its
// bytes outside of ASCII.
func Text(name string) string { return text.Name(name) }

// className is the class that a folder's name, or a label, stands for. Two spellings of one text,
// composed (NFC) and decomposed (NFD, as macOS writes file names), are one class.
func className(name string) string { return Text(norm.NFC.String(name)) }

// cleanName turns the name of an archive's entry into a path within the archive. A leading slash
// and ".." cannot lead out of it. It is "" for the archive's root.
func cleanName(name string) string { return path.Clean("/" + name)[1:] }

// commonFolder returns the folder that all paths lie in, with a slash at its end, or "".
func commonFolder(paths []string) string {
	common := paths[0][:strings.LastIndexByte(paths[0], '/')+1]
	for _, p := range paths[1:] {
		for !strings.HasPrefix(p, common) {
			common = common[:strings.LastIndexByte(common[:len(common)-1], '/')+1]
		}
		if common == "" {
			break
		}
	}
	return common
}

// systemFolders are folders that operating systems, file managers and storage boxes make for
// themselves, in lower case. The pictures in them are small copies or waste.
var systemFolders = map[string]bool{
	"@eadir": true, "__macosx": true, "lost+found": true, "$recycle.bin": true, "system volume information": true,
	"#recycle": true, "@recycle": true, "#snapshot": true, "@recently-snapshot": true, "recycler": true,
}

// systemFiles are files of the same kind, in lower case.
var systemFiles = map[string]bool{
	"thumbs.db": true, "ehthumbs.db": true, "desktop.ini": true, "icon\r": true, "synofile_thumb_m.jpg": true,
}

// systemFolder tells whether a folder of that name is left out: its name starts with a dot, or an
// operating system made it.
func systemFolder(name string) bool {
	return strings.HasPrefix(name, ".") || systemFolders[strings.ToLower(name)]
}

// systemFile tells the same of a file.
func systemFile(name string) bool {
	return strings.HasPrefix(name, ".") || systemFiles[strings.ToLower(name)]
}

// inSystemFolder returns the first folder in a path that is left out, or "".
func inSystemFolder(name string) string {
	for {
		folder, rest, ok := strings.Cut(name, "/")
		if !ok {
			return ""
		}
		if systemFolder(folder) {
			return folder
		}
		name = rest
	}
}

// ending returns what follows the last dot of a file's name, in lower case and with the dot. It is
// "" where nothing follows that looks like an ending.
func ending(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if len(ext) < 2 || len(ext) > 10 {
		return ""
	}
	for _, c := range ext[1:] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return ext
}
