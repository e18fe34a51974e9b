package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestKinds: what is no file of weights is called what it is, with a hint.
func TestKinds(t *testing.T) {
	t.Parallel()
	zipOf := func(names ...string) string {
		var members []string
		for _, n := range names {
			members = append(members, n, "x")
		}
		return string(zipped(t, zip.Store, members...))
	}
	for name, c := range map[string]struct {
		raw  string
		kind Kind
		hint string
	}{
		"empty":            {"", KindEmpty, "cut short"},
		"git-lfs":          {"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 97820000\n", KindLFS, "`git lfs pull`"},
		"HTML":             {"\n\n<!DOCTYPE html>\n<html><head>", KindHTML, "download it again"},
		"HTML with a mark": {"\xef\xbb\xbf<HTML>", KindHTML, "download it again"},
		"XML of a store":   {`<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`, KindHTML, "download it again"},
		"JSON":             {`{"architectures": ["ResNet"]}`, KindJSON, "another file"},
		"an index":         {`{"metadata": {"total_size": 1}, "weight_map": {"a": "b"}}`, KindShards, "beside it"},
		"text":             {"Access to this file is restricted.\nLog in.", KindText, `begins with "Access to this file is restricted."`},
		"text of a place":  {strings.Repeat("\u20ac", 2000), KindText, "begins with"}, // the last character is cut
		"PNG":              {"\x89PNG\r\n\x1a\n\x00\x00", KindImage, "pictures"},
		"JPEG":             {"\xff\xd8\xff\xe0\x00\x10JFIF", KindImage, "pictures"},
		"HEIC":             {"\x00\x00\x00\x18ftypheic", KindImage, "pictures"},
		"WebP":             {"RIFF\x00\x00\x00\x00WEBP", KindImage, "pictures"},
		"PDF":              {"%PDF-1.7\n\x80", KindPDF, "download"},
		"gzip":             {"\x1f\x8b\x08\x00", KindCompressed, "gunzip"},
		"xz":               {"\xfd7zXZ\x00\x00", KindCompressed, "unxz"},
		"zstd":             {"\x28\xb5\x2f\xfd\x04", KindCompressed, "unzstd"},
		"7z":               {"7z\xbc\xaf\x27\x1c\x00", KindCompressed, "7z"},
		"HDF5":             {"\x89HDF\r\n\x1a\n\x00", KindHDF5, "safetensors"},
		"GGUF":             {"GGUF\x03\x00\x00\x00", KindGGUF, "language model"},
		"TFLite":           {"\x1c\x00\x00\x00TFL3", KindTFLite, "safetensors"},
		"NumPy":            {"\x93NUMPY\x01\x00", KindNumPy, "names"},
		"Parquet":          {"PAR1\x15\x04", KindParquet, "vectors"},
		"ONNX":             {"\x08\x07\x12\x07pytorch\x1a\x032.0:", KindONNX, "exported from"},
		"a pickle":         {p(one("w", "K\x01")), KindPickle, `pickle.load(open("FILE", "rb"))`},
		"a zip":            {zipOf("notes.txt"), KindZip, "unpack it"},
		"a zip of weights": {zipOf("readme.md", "model/a.safetensors"), KindZip, "take model/a.safetensors from it"},
		"a zip of images":  {zipOf("a.jpg", "b.jpg"), KindZip, "pictures"},
		"an npz":           {zipOf("a.npy", "b.npy"), KindNumPy, "names"},
		"Keras":            {zipOf("config.json", "model.weights.h5"), KindKeras, "safetensors"},
		"TorchScript":      {zipOf("m/data.pkl", "m/constants.pkl"), KindTorchScript, `torch.jit.load("FILE").state_dict()`},
		"a tar":            {string(tarred(t, "notes.txt", "x")), KindTar, "unpack it"},
		"a tar of weights": {string(tarred(t, "a.pth", "x")), KindTar, "take a.pth from it"},
	} {
		_, err := Read(strings.NewReader(c.raw), int64(len(c.raw)))
		var kind *KindError
		if !errors.As(err, &kind) || kind.Kind != c.kind || !strings.Contains(kind.Hint, c.hint) {
			t.Errorf("%s: %v, want %s and %q", name, err, c.kind, c.hint)
			continue
		}
		if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, "--") || strings.HasSuffix(text, ".") {
			t.Errorf("%s: the error is not one neutral line: %q", name, text)
		}
	}
}

// TestNotKinds: bytes that only look like another kind are read.
func TestNotKinds(t *testing.T) {
	t.Parallel()
	for n := range 8 { // headers whose lengths look like a pickle's first bytes, 0x80 and a protocol
		header := `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
		raw := file(header+strings.Repeat(" ", 0x010080+0x100*n-len(header)), 1)
		if f, err := Read(bytes.NewReader(raw), int64(len(raw))); err != nil || f.Get("a") == nil {
			t.Errorf("a header of 0x%x bytes: %v", 0x010080+0x100*n, err)
		}
	}
}

// TestWholeModule: the hint of a module names the file, and the way to the module in it.
func TestWholeModule(t *testing.T) {
	t.Parallel()
	tensor := rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1))
	module := "cm\nNet\n)\x81}(" + text("_parameters") + one("w", tensor) + text("_buffers") + "}" + text("_modules") + "}ub"
	old := "(" + text("module") + "cm\nNet\n" + text("net.py") + text("class Net: ...") + "tQ)\x81}(" + text("_parameters") + "}" + text("_modules") + "}ub"
	for name, c := range map[string]struct{ object, want string }{
		"alone":           {module, `torch.load("FILE", map_location="cpu", weights_only=False).state_dict()`},
		"in a dictionary": {one("ema", "]"+"K\x01a"+module+"a"), `weights_only=False)["ema"][1].state_dict()`},
		"with its source": {old, "its class m.Net is code"},
	} {
		raw := zipped(t, zip.Store, "a/data.pkl", p(c.object), "a/data/0", sixteen)
		if name == "with its source" {
			raw = legacy(p(c.object), nil)
		}
		_, err := Read(bytes.NewReader(raw), int64(len(raw)))
		var kind *KindError
		if !errors.As(err, &kind) || kind.Kind != KindModule || !strings.Contains(kind.Hint, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	beside := p("}(" + text("model") + module + text("state_dict") + one("v", tensor) + "u")
	raw := zipped(t, zip.Store, "a/data.pkl", beside, "a/data/0", sixteen)
	f, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != 1 || f.Tensors[0].Name != "state_dict.v" || f.Module == nil {
		t.Errorf("beside a module there are %v, and the module is %v", f.Tensors, f.Module)
	}
	path := filepath.Join("testdata", "whole.pth")
	if _, err := Load(t.Context(), path); err == nil || !strings.Contains(err.Error(), "torch.load("+strconv.Quote(path)) {
		t.Errorf("the hint of a file does not name it: %v", err)
	}
}

// TestLoadErrors: what is not there, or is a folder, says so.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder is loaded")
	}
}
