package data

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
)

// ErrEncrypted is the cause where a zip's files need a password.
var ErrEncrypted = errors.New("the zip is encrypted; unpack it with its password and give the folder")

// ErrSplit is the cause where a file is one part of a zip that was split into several.
var ErrSplit = errors.New("this is one part of a split zip; " +
	"join the parts into one file, as the program that split it does, and give that")

// splitName tells whether an ending is that of a part of a split zip: .z01 and so on.
func splitName(ending string) bool {
	number, ok := strings.CutPrefix(ending, ".z")
	return ok && len(number) == 2 && strings.Trim(number, "0123456789") == ""
}

// maxLinkBytes is the longest target of a symbolic link.
const maxLinkBytes = 4096

// indexZip reads the directory of a zip.
func indexZip(ctx context.Context, file io.ReaderAt, size int64) (*container, error) {
	if splitZip(file, size) {
		return nil, ErrSplit
	}
	archive, err := zip.NewReader(file, size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, errors.New("the zip has no directory at its end, so it is cut short or no zip at all; copy " +
			"it again")
	}
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // odd paths do no harm here: nothing is unpacked
		return nil, fmt.Errorf("the zip is damaged (%w); copy it again", err)
	}
	box := &container{what: "zip"}
	list := archiveList{box: box}
	locked := 0
	names := zipNames(archive.File)
	for i, f := range archive.File {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		name := cleanName(names[i])
		switch mode := f.Mode(); {
		case mode&fs.ModeSymlink != 0:
			target, err := zipLink(f)
			if err != nil {
				return nil, fmt.Errorf("the zip's link %s cannot be read (%w)", Text(name), err)
			}
			list.symlink(name, target)
		case mode.IsRegular():
			if f.Flags&zipEncrypted != 0 {
				locked++
			}
			list.file(entry{
				name: name, size: int64(min(f.UncompressedSize64, 1<<62)), at: int64(i), time: changed(f.Modified),
			})
		}
	}
	if locked > 0 && locked == list.files {
		return nil, ErrEncrypted
	}
	if err := list.finish(ctx); err != nil {
		return nil, err
	}
	box.open = func(e entry) (io.ReadCloser, error) { return openZipped(archive.File[e.at]) }
	box.read = func(e entry, buf []byte) ([]byte, error) {
		r, err := openZipped(archive.File[e.at])
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAll(r, buf)
	}
	return box, nil
}

// Bits of a zip entry's flags (APPNOTE.TXT, section 4.4.4).
const (
	zipEncrypted = 1
	zipUTF8      = 1 << 11
)

// zipMethods names ways of packing that are not read (APPNOTE.TXT, section 4.4.5).
var zipMethods = map[uint16]string{
	9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 96: "JPEG variant",
	97: "WavPack", 98: "PPMd", 99: "AES encryption",
}

// openZipped opens one file of a zip, or says why that cannot be.
func openZipped(f *zip.File) (io.ReadCloser, error) {
	if f.Flags&zipEncrypted != 0 {
		return nil, ErrEncrypted
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		method, ok := zipMethods[f.Method]
		if !ok {
			method = fmt.Sprintf("method %d", f.Method)
		}
		return nil, fmt.Errorf("packed in the zip by %s, which is not read; unpack the zip and give the folder", method)
	}
	return r, err
}

// zipLink reads the target of a symbolic link, which is the link's content.
func zipLink(f *zip.File) (string, error) {
	if f.UncompressedSize64 > maxLinkBytes || f.Flags&zipEncrypted != 0 {
		return "", nil
	}
	r, err := openZipped(f)
	if err != nil {
		return "", err
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxLinkBytes))
	return string(target), err
}

// splitZip looks for the marks of a split zip: the signature before its first part, or a directory
// that says that it lies on another part than the first.
func splitZip(file io.ReaderAt, size int64) bool {
	var head [4]byte
	if n, _ := file.ReadAt(head[:], 0); n == 4 && string(head[:]) == "PK\x07\x08" {
		return true
	}
	const record, longestComment = 22, 1<<16 - 1
	tail := make([]byte, min(size, record+longestComment))
	n, _ := file.ReadAt(tail, size-int64(len(tail)))
	tail = tail[:n]
	at := strings.LastIndex(string(tail), "PK\x05\x06")
	if at < 0 || len(tail)-at < record {
		return false
	}
	disk, first := binary.LittleEndian.Uint16(tail[at+4:]), binary.LittleEndian.Uint16(tail[at+6:])
	if disk == 0xffff || first == 0xffff { // in the zip64 record instead, whose locator counts the parts
		if at < 20 || string(tail[at-20:at-16]) != "PK\x06\x07" {
			return false
		}
		return binary.LittleEndian.Uint32(tail[at-4:]) > 1
	}
	return disk > 0 || first > 0
}

// zipNames decodes the names in a zip's directory. One that the zip declares as UTF-8, by a flag or
// beside it in an extra field, is that; so is one whose bytes are. The others are taken together:
// Shift-JIS if they read well as that and not as western words, else code page 437, which the
// format's text prescribes. Unix writes bytes as its file systems have them: there, what reads as
// neither stays as it is. Only then is a backslash a separator. As the second byte of a Japanese
// letter it is none, nor in a name that Unix wrote.
func zipNames(files []*zip.File) []string {
	names := make([]string, len(files))
	var unknown []int
	for i, f := range files {
		names[i] = f.Name
		if better, ok := unicodePath(f); ok {
			names[i] = better
		} else if f.Flags&zipUTF8 == 0 && !utf8.ValidString(f.Name) {
			unknown = append(unknown, i)
		}
	}
	dos, jis := true, true
	for _, i := range unknown {
		dos = dos && readsAsCP437(names[i])
		jis = jis && readsAsShiftJIS(names[i])
	}
	for _, i := range unknown {
		switch {
		case jis && !dos:
			names[i], _ = japanese.ShiftJIS.NewDecoder().String(names[i])
		case dos || !fromUnix(files[i]):
			names[i], _ = charmap.CodePage437.NewDecoder().String(names[i])
		}
	}
	for i, f := range files {
		if !fromUnix(f) {
			names[i] = strings.ReplaceAll(names[i], `\`, "/")
		}
	}
	return names
}

// fromUnix tells whether a zip's file was packed on Unix or macOS.
func fromUnix(f *zip.File) bool {
	const unix, macOS = 3, 19
	host := f.CreatorVersion >> 8
	return host == unix || host == macOS
}

// unicodePath returns the name in Info-ZIP's Unicode Path extra field: a version, the CRC-32 of the
// name that it stands for, and the name in UTF-8.
func unicodePath(f *zip.File) (string, bool) {
	const tag = 0x7075
	for extra := f.Extra; len(extra) >= 4; {
		kind, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return "", false
		}
		if field := extra[:n]; kind == tag && n > 5 && field[0] == 1 {
			name := string(field[5:])
			return name, binary.LittleEndian.Uint32(field[1:]) == crc32.ChecksumIEEE([]byte(f.Name)) && utf8.ValidString(name)
		}
		extra = extra[n:]
	}
	return "", false
}

// readsAsCP437 tells whether bytes above 127 in a name look like letters of western words: accented
// letters of code page 437, each beside a plain letter or another such one.
func readsAsCP437(name string) bool {
	accented := func(c byte) bool { return c >= 0x80 && c <= 0xa5 || c == 0xe1 } // e1 is the German sharp s
	letter := func(i int) bool {
		if i < 0 || i >= len(name) {
			return false
		}
		c := name[i]
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || accented(c)
	}
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf && !(accented(c) && (letter(i-1) || letter(i+1))) {
			return false
		}
	}
	return true
}

// readsAsShiftJIS tells whether a name decodes to Japanese text without a gap. A narrow kana, which
// is a single byte, must stand beside another Japanese letter.
func readsAsShiftJIS(name string) bool {
	text, err := japanese.ShiftJIS.NewDecoder().String(name)
	if err != nil {
		return false
	}
	letters := []rune(text)
	beside := func(i int) bool { return i >= 0 && i < len(letters) && letters[i] >= utf8.RuneSelf }
	for i, r := range letters {
		narrow := r >= 0xff61 && r <= 0xff9f
		if r == utf8.RuneError || r >= 0x80 && r < 0xa0 || narrow && !beside(i-1) && !beside(i+1) {
			return false
		}
	}
	return true
}
