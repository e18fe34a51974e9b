package data

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Archives may be in WebDataset's form: the files of one sample share a key, which is their path up
// to the first dot of the base name, and a picture's label lies beside it:
//
//	cat/0001.jpg  cat/0001.cls  cat/0001.json
//
// The label is the member "label" of the .json, text or a whole number; else the content of the
// .cls; else that of the .txt, if no folder gives a class and the texts are no captions. Of these
// kinds, the first that every picture has is taken.

// sidecar is a kind of file that may hold the label of the picture beside it.
type sidecar struct {
	ending string
	label  func(content []byte) (string, bool)
}

// maxSidecarBytes is the longest file that is read for a label.
const maxSidecarBytes = 1 << 20

var strongSidecars = []sidecar{{".json", jsonLabel}, {".cls", lineLabel}}

var textSidecar = sidecar{".txt", lineLabel}

// sampleKey is what the names of one sample's files begin with.
func sampleKey(name string) string {
	folder, base := path.Split(name)
	key, _, _ := strings.Cut(base, ".")
	return folder + key
}

// besides labels the pictures of an archive by the files beside them, where these hold labels, and
// returns the others without the files that belong to a picture.
func besides(ctx context.Context, box *container, images, others []entry, lay *layout) ([]entry, error) {
	if box.what == "folder" || box.what == "file" || box.what == "list" {
		return others, nil
	}
	keys := make(map[string]bool, len(images))
	for _, e := range images {
		keys[sampleKey(e.name)] = true
	}
	rest := make([]entry, 0, len(others))
	found := map[string]map[string]entry{} // by ending, by key
	for _, e := range others {
		key := sampleKey(e.name)
		ending := e.name[len(key):]
		if !keys[key] || ending != ".json" && ending != ".cls" && ending != ".txt" {
			rest = append(rest, e)
			continue
		}
		if found[ending] == nil {
			found[ending] = map[string]entry{}
		}
		found[ending][key] = e
	}
	for _, kind := range strongSidecars {
		labels, err := readSidecars(ctx, box, lay.names, found[kind.ending], kind)
		if err != nil {
			return nil, err
		}
		if labels != nil {
			lay.kind = "pictures with " + kind.ending
			lay.label(labels, compareLabels(labels))
			return rest, nil
		}
	}
	if lay.labels == nil {
		labels, err := readSidecars(ctx, box, lay.names, found[textSidecar.ending], textSidecar)
		if err != nil {
			return nil, err
		}
		if labels != nil && !captions(labels) {
			lay.kind = "pictures with .txt"
			lay.label(labels, compareLabels(labels))
		}
	}
	return rest, nil
}

// readSidecars returns a label for each name, or nil if one has none.
func readSidecars(ctx context.Context, box *container, names []string, by map[string]entry, kind sidecar) ([]string, error) {
	if len(by) == 0 {
		return nil, nil
	}
	labels := make([]string, len(names))
	var buf []byte
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, ok := by[sampleKey(name)]
		if !ok || e.size > maxSidecarBytes {
			return nil, nil
		}
		content, err := box.read(e, buf)
		if err != nil {
			return nil, nil // damaged: there is no label
		}
		buf = content
		if labels[i], ok = kind.label(content); !ok {
			return nil, nil
		}
	}
	return labels, nil
}

// lineLabel is the label of a file that holds one line of text.
func lineLabel(content []byte) (string, bool) {
	const longest = 200
	text := strings.TrimSpace(string(bytes.TrimPrefix(content, []byte("\ufeff"))))
	ok := text != "" && len(text) <= longest && utf8.ValidString(text) && !strings.ContainsAny(text, "\r\n\x00")
	return className(text), ok
}

// jsonLabel is the member "label" of a JSON object.
func jsonLabel(content []byte) (string, bool) {
	var sample struct {
		Label json.RawMessage `json:"label"`
	}
	if json.Unmarshal(content, &sample) != nil {
		return "", false
	}
	var text string
	if json.Unmarshal(sample.Label, &text) == nil && sample.Label[0] == '"' {
		return lineLabel([]byte(text))
	}
	n, err := strconv.ParseInt(string(sample.Label), 10, 64)
	return strconv.FormatInt(n, 10), err == nil
}

// captions tells whether texts describe single pictures rather than classes: most of them come
// once.
func captions(texts []string) bool {
	distinct := map[string]bool{}
	for _, t := range texts {
		distinct[t] = true
	}
	return len(distinct) > 1 && 2*len(distinct) > len(texts)
}

// compareLabels returns the order of classes: that of numbers if all labels are whole numbers, else
// byte-wise.
func compareLabels(labels []string) func(a, b string) int {
	for _, l := range labels {
		if n, err := strconv.Atoi(l); err != nil || strconv.Itoa(n) != l {
			return strings.Compare
		}
	}
	return func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}
}
