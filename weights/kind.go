package weights

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is what a file is that holds no weights which can be read, as one would say it: "a zip
// archive".
type Kind string

// The kinds that are told apart.
const (
	KindEmpty       Kind = "an empty file"
	KindLFS         Kind = "a git-lfs pointer"
	KindHTML        Kind = "an HTML page"
	KindJSON        Kind = "a JSON file"
	KindShards      Kind = "an index of shards"
	KindText        Kind = "a text file"
	KindImage       Kind = "an image"
	KindPDF         Kind = "a PDF document"
	KindZip         Kind = "a zip archive"
	KindTar         Kind = "a tar archive"
	KindCompressed  Kind = "a compressed file"
	KindPickle      Kind = "a pickle that torch.save has not written"
	KindModule      Kind = "a whole module"
	KindTorchScript Kind = "a TorchScript program"
	KindONNX        Kind = "an ONNX model"
	KindHDF5        Kind = "an HDF5 file"
	KindKeras       Kind = "a Keras model"
	KindGGUF        Kind = "a GGUF file"
	KindTFLite      Kind = "a TensorFlow Lite model"
	KindNumPy       Kind = "a NumPy array"
	KindParquet     Kind = "a Parquet table"
)

// KindError says that a file is no file of weights, but something else that is known.
type KindError struct {
	Kind Kind
	Hint string // what helps, without a full stop at its end
}

// Error is one line.
func (e *KindError) Error() string {
	return fmt.Sprintf("this is %s, not a file of weights that can be read; %s", e.Kind, e.Hint)
}

// saveHint is the hint for what only PyTorch can take apart: lines that make a state dict of it.
// load is the expression for the module.
func saveHint(load string) string {
	return fmt.Sprintf(`in Python: import torch; torch.save(%s.state_dict(), "weights.pth")`, load)
}

// The hints that several kinds share.
const (
	hintDownload = "the download has saved a page or message instead of the file; download it again"
	hintUnpack   = "unpack it, and take the file of weights in it"
	hintOther    = "save the weights in PyTorch's or safetensors' format with the tool that wrote it"
	hintPicture  = "pictures are data for an encoder; what is wanted here is the encoder"
)

// signatures are the kinds that are known by bytes at a place.
var signatures = []struct {
	at    int
	bytes string
	kind  Kind
	hint  string
}{
	{0, "\x89HDF\r\n\x1a\n", KindHDF5, hintOther + " (Keras, or PyTorch Lightning long ago)"},
	{0, "GGUF", KindGGUF, "it holds a quantised language model, not a ResNet"},
	{4, "TFL3", KindTFLite, hintOther},
	{0, "\x93NUMPY", KindNumPy, "vectors or one array, without the names of weights"},
	{0, "PAR1", KindParquet, "it holds vectors or a data set, not an encoder"},
	{0, "\x1f\x8b", KindCompressed, "unpack it with gunzip, and take what is in it"},
	{0, "BZh", KindCompressed, "unpack it with bunzip2, and take what is in it"},
	{0, "\xfd7zXZ\x00", KindCompressed, "unpack it with unxz, and take what is in it"},
	{0, "\x28\xb5\x2f\xfd", KindCompressed, "unpack it with unzstd, and take what is in it"},
	{0, "7z\xbc\xaf\x27\x1c", KindCompressed, "unpack it with 7z, and take what is in it"},
	{0, "Rar!\x1a\x07", KindCompressed, "unpack it with unrar, and take what is in it"},
	{0, "\x89PNG\r\n\x1a\n", KindImage, hintPicture},
	{0, "\xff\xd8\xff", KindImage, hintPicture},
	{0, "GIF8", KindImage, hintPicture},
	{8, "WEBP", KindImage, hintPicture},
	{4, "ftyp", KindImage, hintPicture},
	{0, "%PDF-", KindPDF, hintDownload},
	{0, "version https://git-lfs.github.com/spec/", KindLFS,
		"the file itself lies elsewhere: `git lfs pull` in its repository brings it"},
	{0, "version https://hawser.github.com/spec/", KindLFS,
		"the file itself lies elsewhere: `git lfs pull` in its repository brings it"},
}

// kindOf says what a file is that starts with the given bytes, as a *KindError, or returns nil if
// it is not known.
func kindOf(start []byte) error {
	if len(start) == 0 {
		return &KindError{KindEmpty, "it was cut short; copy it again"}
	}
	for _, s := range signatures {
		if len(start) >= s.at && bytes.HasPrefix(start[s.at:], []byte(s.bytes)) {
			return &KindError{s.kind, s.hint}
		}
	}
	if isONNX(start) {
		return &KindError{KindONNX, "save the weights of the model that it was exported from"}
	}
	if !isText(start) {
		return nil
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(start), "\ufeff"), " \t\r\n")
	lower := strings.ToLower(text)
	for _, tag := range []string{"<!doctype html", "<html", "<head", "<?xml", "<!--"} {
		if strings.HasPrefix(lower, tag) {
			return &KindError{KindHTML, hintDownload}
		}
	}
	switch {
	case isShardIndex(start):
		return &KindError{KindShards, "the weights are in the files that it names, which must lie beside it"}
	case strings.HasPrefix(text, "{"):
		return &KindError{KindJSON, "a configuration or a message; the weights are in another file, often beside it"}
	}
	hint := fmt.Sprintf("it begins with %q; is it a message, or the configuration of a model?", firstLine(text))
	return &KindError{KindText, hint}
}

// isText tells text from other bytes: UTF-8 without control characters. The last character may be
// cut.
func isText(start []byte) bool {
	for len(start) > 0 {
		c, n := utf8.DecodeRune(start)
		if c == utf8.RuneError && n == 1 {
			return !utf8.FullRune(start)
		}
		if c < ' ' && !strings.ContainsRune("\t\n\r\f", c) || c == 0x7f {
			return false
		}
		start = start[n:]
	}
	return true
}

// firstLine is the start of a text, for messages.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > 40 {
		line = strings.ToValidUTF8(line[:40], "")
	}
	return strings.TrimSpace(line)
}

// isONNX tells an ONNX model, a protobuf message: field 1 is a small version number, and then comes
// field 2 (who made it), 7 (the graph) or 8 (the operators' versions).
func isONNX(start []byte) bool {
	return len(start) > 3 && start[0] == 0x08 && start[1] > 0 && start[1] < 32 &&
		(start[2] == 0x12 || start[2] == 0x3a || start[2] == 0x42)
}

// isShardIndex tells the index of a model in several files: JSON with a member "weight_map". In
// what is read of it, that must stand first, or after the "metadata" that says how large they are.
func isShardIndex(start []byte) bool {
	d := json.NewDecoder(bytes.NewReader(start))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil || key == "weight_map" {
			return err == nil
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return false
		}
	}
	return false
}

// brief is a foreign text or value on one short line.
func brief(v any) string {
	s := strings.ToValidUTF8(fmt.Sprint(v), "?")
	if s = strings.Join(strings.Fields(s), " "); len(s) > 160 {
		s = s[:160] + "..."
	}
	return strings.ToValidUTF8(s, "")
}
