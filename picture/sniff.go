package picture

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// signature is how a format's files begin.
type signature struct {
	format string
	at     int
	magic  string // '?' stands for any byte
}

// signatures are looked at in order: a longer one stands before a shorter one that it contains.
var signatures = []signature{
	{"jpeg", 0, "\xff\xd8\xff"},
	{"png", 0, "\x89PNG\r\n\x1a\n"},
	{"gif", 0, "GIF87a"},
	{"gif", 0, "GIF89a"},
	{"webp", 0, "RIFF????WEBPVP8"},
	{"avi", 0, "RIFF????AVI "},
	{"raw", 0, "II*\x00????CR"},          // Canon CR2
	{"raw", 0, "IIU\x00"},                // Panasonic RW2
	{"raw", 0, "IIRO"},                   // Olympus ORF
	{"raw", 0, "IIRS"},                   // Olympus ORF
	{"raw", 0, "MMOR"},                   // Olympus ORF
	{"raw", 0, "II\x1a\x00\x00\x00HEAP"}, // Canon CRW
	{"raw", 0, "FUJIFILMCCD-RAW"},        // Fujifilm RAF
	{"raw", 0, "FOVb"},                   // Sigma X3F
	{"raw", 0, "\x00MRM"},                // Minolta MRW
	{"tiff", 0, "II*\x00"},
	{"tiff", 0, "MM\x00*"},
	{"tiff", 0, "II\x00*"}, // the two magic bytes turned round, which some writers do
	{"tiff", 0, "MM*\x00"},
	{"tiff", 0, "II+\x00"}, // BigTIFF
	{"tiff", 0, "MM\x00+"},
	{"jxl", 0, "\xff\x0a"},
	{"jxl", 0, "\x00\x00\x00\x0cJXL \r\n\x87\n"},
	{"jp2", 0, "\x00\x00\x00\x0cjP  \r\n\x87\n"},
	{"jp2", 0, "\xff\x4f\xff\x51"},
	{"jxr", 0, "II\xbc"},
	{"psd", 0, "8BPS"},
	{"xcf", 0, "gimp xcf"},
	{"ico", 0, "\x00\x00\x01\x00?\x00"},
	{"ico", 0, "\x00\x00\x02\x00?\x00"},
	{"exr", 0, "v/1\x01"},
	{"hdr", 0, "#?RADIANCE"},
	{"dds", 0, "DDS "},
	{"qoi", 0, "qoif"},
	{"icns", 0, "icns"},
	{"djvu", 0, "AT&TFORM"},
	{"fits", 0, "SIMPLE  ="},
	{"dicom", 128, "DICM"},
	{"pdf", 0, "%PDF-"},
	{"ps", 0, "%!PS"},
	{"ps", 0, "\xc5\xd0\xd3\xc6"},
	{"wmf", 0, "\xd7\xcd\xc6\x9a"},
	{"mkv", 0, "\x1aE\xdf\xa3"},
	{"flv", 0, "FLV\x01"},
	{"wmv", 0, "0&\xb2u\x8ef\xcf\x11"},
	{"mpeg", 0, "\x00\x00\x01\xba"},
	{"mpeg", 0, "\x00\x00\x01\xb3"},
	{"zip", 0, "PK\x03\x04"},
	{"gzip", 0, "\x1f\x8b\x08"},
}

// brands are the kinds of the boxed formats (ISO/IEC 14496-12), which all begin with a box "ftyp".
var brands = map[string]string{
	"heic": "heic", "heix": "heic", "heim": "heic", "heis": "heic", "hevc": "heic", "hevx": "heic",
	"hevm": "heic", "hevs": "heic", "avif": "avif", "avis": "avif", "crx ": "raw", "qt  ": "mov", "jpm ": "jp2",
}

// longNames are for sentences.
var longNames = map[string]string{
	"heic": "HEIC", "avif": "AVIF", "jxl": "JPEG XL", "jp2": "JPEG 2000", "jxr": "JPEG XR",
	"raw": "a camera's raw file",
	"psd": "a Photoshop document", "xcf": "a GIMP document", "ico": "an icon (ICO)", "icns": "an icon (ICNS)",
	"exr": "OpenEXR", "hdr": "Radiance HDR", "dds": "a DDS texture", "qoi": "QOI", "djvu": "DjVu", "fits": "FITS",
	"dicom": "DICOM", "pdf": "PDF", "svg": "an SVG drawing", "ps": "PostScript", "wmf": "a WMF drawing",
	"mp4": "an MP4 video", "mov": "a QuickTime video", "avi": "an AVI video", "mkv": "a Matroska or WebM video",
	"mpeg": "an MPEG video", "flv": "an FLV video", "wmv": "a WMV video", "zip": "a zip archive",
	"gzip": "a gzip file", "html": "an HTML page", "pnm": "a netpbm picture (PNM)", "pcx": "PCX", "heif": "HEIF",
}

// SniffBytes is how many first bytes of a file [Sniff] wants; fewer may do.
const SniffBytes = 512

// Sniff tells the format of a file from its first bytes: "jpeg", "png", "gif", "webp", "tiff",
// "bmp", or one that is known by name only ("heic", "pdf", "svg", "raw", "mp4" and others), "" if
// none. Ok tells whether this build reads the format.
func Sniff(header []byte) (format string, ok bool) {
	format = sniff(header)
	_, ok = readerOf(format)
	return format, ok
}

func sniff(b []byte) string {
	for _, s := range signatures {
		if len(b) >= s.at && matches(b[s.at:], s.magic) {
			return s.format
		}
	}
	switch {
	case isBMP(b):
		return "bmp"
	case len(b) >= 12 && string(b[4:8]) == "ftyp":
		return boxed(b)
	case len(b) >= 3 && b[0] == 'P' && b[1] >= '1' && b[1] <= '7' && bytes.IndexByte([]byte(" \t\r\n"), b[2]) >= 0:
		return "pnm"
	case len(b) >= 4 && b[0] == 0x0a && b[1] <= 5 && b[2] == 1 && (b[3] == 1 || b[3] == 2 || b[3] == 4 || b[3] == 8):
		return "pcx"
	case len(b) >= 4 && b[0] == 0xff && b[1] == 0xd8: // with a damaged marker after the first
		return "jpeg"
	}
	return markup(b)
}

// matches tells whether content begins with magic.
func matches(content []byte, magic string) bool {
	if len(content) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != content[i] {
			return false
		}
	}
	return true
}

// isBMP asks for a believable header behind "BM": two letters alone begin many a text.
func isBMP(b []byte) bool {
	if len(b) < 18 || b[0] != 'B' || b[1] != 'M' {
		return false
	}
	size := binary.LittleEndian.Uint32(b[14:])
	return size == 12 || size >= 16 && size <= 256
}

// boxed names what a file with an ftyp box is: by its major brand, else by the first compatible one
// that is known.
func boxed(b []byte) string {
	end := min(int(min(binary.BigEndian.Uint32(b), 1<<12)), len(b))
	if f, ok := brands[string(b[8:12])]; ok {
		return f
	}
	still := false
	for at := 16; at+4 <= end; at += 4 {
		if f, ok := brands[string(b[at:at+4])]; ok && f != "mov" {
			return f
		}
		still = still || string(b[at:at+4]) == "mif1"
	}
	if still || string(b[8:12]) == "mif1" || string(b[8:12]) == "msf1" {
		return "heif"
	}
	return "mp4"
}

// markup tells SVG from HTML, both of which may begin with a comment, an XML line or a mark of
// UTF-8.
func markup(b []byte) string {
	text := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(string(b[:min(len(b), SniffBytes)]), "\ufeff")))
	if !strings.HasPrefix(text, "<") {
		return ""
	}
	switch {
	case strings.Contains(text, "<svg"):
		return "svg"
	case strings.Contains(text, "<html") || strings.Contains(text, "<!doctype html"):
		return "html"
	}
	return ""
}
