package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"moco/picture"
)

// rawImages is a set of images of one size that lies decoded in memory.
type rawImages struct {
	format                  string
	width, height, channels int
	pix                     []uint8 // N x height x width x channels; 1 channel is gray, 3 are RGB
}

func (r *rawImages) read(i int, _ picture.Options, dst *Image) error {
	dst.Resize(r.width, r.height)
	n := r.width * r.height * r.channels
	src := r.pix[i*n:][:n]
	if r.channels == 3 {
		copy(dst.Pix, src)
		return nil
	}
	out := dst.Pix
	for _, v := range src {
		out[0], out[1], out[2] = v, v, v
		out = out[3:]
	}
	return nil
}

func (r *rawImages) header(int) (string, int, int, error) { return r.format, r.width, r.height, nil }
func (r *rawImages) size(int) int64                       { return int64(r.width) * int64(r.height) * int64(r.channels) }
func (r *rawImages) inMemory() bool                       { return true }
func (r *rawImages) close() error                         { return nil }

// stored is the image's pixels.
func (r *rawImages) stored(i int, buf []byte) ([]byte, bool, error) {
	n := int(r.size(i))
	return append(buf[:0], r.pix[i*n:][:n]...), false, nil
}

// fingerprint takes in 64 of the images: MNIST and its descendants differ in nothing else.
func (r *rawImages) fingerprint(h hash.Hash) {
	n := int(r.size(0))
	count := len(r.pix) / n
	for k := range min(64, count) {
		h.Write(r.pix[k*count/min(64, count)*n:][:n])
	}
}

// rawPart is what one half of a CIFAR or IDX set holds.
type rawPart struct {
	part   Part
	pix    []uint8
	labels []int32 // nil: none
}

// join makes a set of the parts, in the order given, named "train/00000" and so on.
func join(raw *rawImages, parts []rawPart, kind string, classes []string) *Set {
	s := &Set{kind: kind, backend: raw, classes: classes}
	for _, p := range parts {
		n := len(p.pix) / int(raw.size(0))
		for i := range n {
			s.names = append(s.names, fmt.Sprintf("%s/%05d", p.part, i))
		}
		s.labels = append(s.labels, p.labels...)
		if raw.pix == nil {
			raw.pix = p.pix
		} else {
			raw.pix = append(raw.pix, p.pix...)
		}
	}
	if classes == nil {
		s.labels = nil
	}
	return s
}

const cifarSide = 32

var (
	cifar10Batch = regexp.MustCompile(`^(data_batch_\d+|test_batch)\.bin$`)
	cifar10Names = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
)

// openCIFAR makes a set of CIFAR-10 or CIFAR-100 binary files, nil if there are none. A record is
// the label (CIFAR-100: the coarse label, then the fine one, which is used) and 32x32 red, green
// and blue bytes, as the data sets' page describes them.
func openCIFAR(ctx context.Context, box *container, opts Options) (*Set, error) {
	var batches []entry
	kind, labelBytes, count, nameFile := "CIFAR-10 binary", 1, 10, "batches.meta.txt"
	for _, e := range box.entries {
		if cifar10Batch.MatchString(path.Base(e.name)) {
			batches = append(batches, e)
		}
	}
	if len(batches) == 0 { // names as common as CIFAR-100's mean it only where there are no images
		kind, labelBytes, count, nameFile = "CIFAR-100 binary", 2, 100, "fine_label_names.txt"
		for _, e := range box.entries {
			if base := path.Base(e.name); base == "train.bin" || base == "test.bin" {
				batches = append(batches, e)
			} else if isImageName(e.name) {
				return nil, nil
			}
		}
	}
	if len(batches) == 0 {
		return nil, nil
	}
	dir := path.Dir(batches[0].name)
	for _, e := range batches {
		if path.Dir(e.name) != dir {
			return nil, fmt.Errorf("%s files lie in %s and in %s; give one of these folders",
				kind, dir, path.Dir(e.name))
		}
	}
	// data_batch_10 would sort before data_batch_2; by length first, then by name.
	slices.SortFunc(batches, func(a, b entry) int {
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return byName(a, b)
	})
	parts := []rawPart{{part: Train}, {part: Test}}
	for _, e := range batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := &parts[0]
		if strings.HasPrefix(path.Base(e.name), "test") {
			p = &parts[1]
		}
		if opts.Part != Any && opts.Part != p.part {
			continue
		}
		content, err := box.read(e, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if p.pix, p.labels, err = parseCIFAR(content, labelBytes, count, p.pix, p.labels); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	parts = slices.DeleteFunc(parts, func(p rawPart) bool { return len(p.labels) == 0 })
	if len(parts) == 0 {
		return nil, fmt.Errorf("the %s files here have no %s part; the files are %s and others",
			kind, opts.Part, batches[0].name)
	}
	classes, err := cifarClasses(box, path.Join(dir, nameFile), count)
	if err != nil {
		return nil, err
	}
	raw := &rawImages{format: kind, width: cifarSide, height: cifarSide, channels: 3}
	return join(raw, parts, kind, classes), nil
}

// parseCIFAR appends the records of one file: the planes of a record become RGB pixels.
func parseCIFAR(content []byte, labelBytes, classes int, pix []uint8, labels []int32) ([]uint8, []int32, error) {
	const plane = cifarSide * cifarSide
	record := labelBytes + 3*plane
	if len(content) == 0 || len(content)%record != 0 {
		return nil, nil, fmt.Errorf("%d bytes are no whole number of records of %d bytes; the file is cut short "+
			"or no CIFAR file, copy it again", len(content), record)
	}
	pix = slices.Grow(pix, len(content)/record*3*plane)
	for at := 0; at < len(content); at += record {
		label := int32(content[at+labelBytes-1])
		if int(label) >= classes {
			return nil, nil, fmt.Errorf("record %d has label %d, the labels end at %d; the file is no CIFAR-%d "+
				"file", at/record, label, classes-1, classes)
		}
		labels = append(labels, label)
		planes := content[at+labelBytes:][:3*plane]
		pix = pix[:len(pix)+3*plane]
		out := pix[len(pix)-3*plane:]
		for i := range plane {
			out[3*i], out[3*i+1], out[3*i+2] = planes[i], planes[plane+i], planes[2*plane+i]
		}
	}
	return pix, labels, nil
}

// cifarClasses reads the class names that come with the files. Without them, CIFAR-10's are known
// and CIFAR-100's are numbers.
func cifarClasses(box *container, file string, count int) ([]string, error) {
	for _, e := range box.entries {
		if e.name != file {
			continue
		}
		content, err := box.read(e, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if names := strings.Fields(string(content)); len(names) == count {
			for i, n := range names {
				names[i] = className(n)
			}
			return names, nil
		}
	}
	if count == len(cifar10Names) {
		return slices.Clone(cifar10Names), nil
	}
	return numbers(count), nil
}

// numbers returns the class names "0", "1" and so on.
func numbers(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// idxImagesName tells whether a file is named like the images of the MNIST family.
func idxImagesName(name string) bool {
	base := strings.TrimSuffix(path.Base(name), ".gz")
	return strings.HasSuffix(base, "idx3-ubyte") || strings.HasSuffix(base, "idx4-ubyte")
}

// idxLabelNames returns the names that the labels of an images file may have, nil if it is named
// otherwise.
func idxLabelNames(images string) []string {
	base := strings.TrimSuffix(path.Base(images), ".gz")
	dir := images[:len(images)-len(path.Base(images))]
	labels := strings.NewReplacer("images", "labels", "idx3", "idx1", "idx4", "idx1").Replace(base)
	if !idxImagesName(images) || labels == base {
		return nil
	}
	return []string{dir + labels, dir + labels + ".gz"}
}

// idxPart tells from its name which half an images file is.
func idxPart(name string) Part {
	base := strings.ToLower(path.Base(name))
	switch {
	case strings.Contains(base, "train"):
		return Train
	case strings.Contains(base, "t10k"), strings.Contains(base, "test"):
		return Test
	}
	return Any
}

// openIDX makes a set of IDX files, nil if there are none.
func openIDX(ctx context.Context, box *container, opts Options) (*Set, error) {
	chosen := map[Part]entry{}
	for _, e := range box.entries {
		if !idxImagesName(e.name) {
			continue
		}
		part := idxPart(e.name)
		if other, ok := chosen[part]; ok {
			if other.name+".gz" == e.name { // packed and unpacked side by side
				continue
			}
			return nil, fmt.Errorf("%s and %s are images of the same part; give the one to be used, or a folder "+
				"that holds only its set", other.name, e.name)
		}
		chosen[part] = e
	}
	if len(chosen) == 0 && box.what == "file" {
		if content, err := box.read(box.entries[0], nil); err == nil && idxMagic(content) { // under any name
			chosen[Any] = box.entries[0]
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	wanted := []Part{Train, Test}
	if opts.Part != Any && box.what != "file" {
		wanted = []Part{opts.Part}
	}
	if e, ok := chosen[Any]; ok {
		if len(chosen) > 1 {
			return nil, fmt.Errorf("%s is neither a training nor a test part by its name; give the file to be "+
				"used", e.name)
		}
		wanted = []Part{Any}
	}
	var parts []rawPart
	var shape [3]int
	for _, part := range wanted {
		e, ok := chosen[part]
		if !ok {
			continue
		}
		p, its, err := readIDX(ctx, box, e)
		if err != nil {
			return nil, err
		}
		if len(parts) > 0 && its != shape {
			return nil, fmt.Errorf("%s holds images of %v (height, width, channels), the training part of %v; "+
				"give one of the files", e.name, its, shape)
		}
		shape, p.part = its, part
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("the IDX files here have no %s part", opts.Part)
	}
	top := int32(-1) // stays so when a part has no labels
	if !slices.ContainsFunc(parts, func(p rawPart) bool { return p.labels == nil }) {
		for _, p := range parts {
			top = max(top, slices.Max(p.labels))
		}
	}
	var classes []string
	if top >= 0 {
		classes = numbers(int(top) + 1)
	}
	raw := &rawImages{format: "IDX", height: shape[0], width: shape[1], channels: shape[2]}
	return join(raw, parts, "IDX", classes), nil
}

// readIDX reads one images file, its shape as height, width and channels, and its labels if they
// lie beside it.
func readIDX(ctx context.Context, box *container, e entry) (p rawPart, shape [3]int, err error) {
	dims, pix, err := unpackIDX(ctx, box, e)
	if err != nil {
		return p, shape, err
	}
	switch {
	case len(dims) == 3:
		shape = [3]int{dims[1], dims[2], 1}
	case len(dims) == 4 && (dims[3] == 1 || dims[3] == 3):
		shape = [3]int(dims[1:])
	default:
		return p, shape, fmt.Errorf("%s: an array of %v is no list of images; want N x height x width, or that "+
			"x 3", e.name, dims)
	}
	if len(pix) == 0 {
		return p, shape, fmt.Errorf("%s: holds no images (its size is %v)", e.name, dims)
	}
	p.pix = pix
	for _, name := range idxLabelNames(e.name) {
		at := slices.IndexFunc(box.entries, func(e entry) bool { return e.name == name })
		if at < 0 {
			continue
		}
		size, labels, err := unpackIDX(ctx, box, box.entries[at])
		if err != nil {
			return p, shape, err
		}
		if len(size) != 1 || size[0] != dims[0] {
			return p, shape, fmt.Errorf("%s has labels of shape %v for the %d images in %s; the files do not "+
				"belong together", name, size, dims[0], e.name)
		}
		p.labels = make([]int32, len(labels))
		for i, l := range labels {
			p.labels[i] = int32(l)
		}
		break
	}
	return p, shape, nil
}

// unpackIDX reads an IDX file, gzipped or not.
func unpackIDX(ctx context.Context, box *container, e entry) (dims []int, values []uint8, err error) {
	content, err := box.read(e, nil)
	if err == nil && bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		content, err = gunzip(ctx, bytes.NewReader(content), int64(len(content)), maxUnpackedBytes)
	}
	if err == nil {
		dims, values, err = parseIDX(content)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", e.name, err)
	}
	return dims, values, nil
}

// idxMagic tells whether content starts like an IDX file of bytes, in three or four dimensions, or
// like a gzipped file that may be one.
func idxMagic(content []byte) bool {
	return bytes.HasPrefix(content, []byte{0, 0, 8, 3}) || bytes.HasPrefix(content, []byte{0, 0, 8, 4}) ||
		bytes.HasPrefix(content, []byte{0x1f, 0x8b})
}

// parseIDX reads the header of an IDX file: two zero bytes, the type (8: unsigned bytes), the
// number of dimensions, and each of them as four bytes, high byte first. The values follow, last
// dimension fastest.
func parseIDX(content []byte) (dims []int, values []uint8, err error) {
	if len(content) < 4 || content[0] != 0 || content[1] != 0 {
		return nil, nil, errors.New("this is no IDX file (it does not start with two zero bytes)")
	}
	if content[2] != 8 {
		return nil, nil, fmt.Errorf("the IDX file holds values of type 0x%02x; only unsigned bytes (0x08) are "+
			"images or labels", content[2])
	}
	n := int(content[3])
	header := 4 + 4*n
	if n < 1 || n > 4 || len(content) < header {
		return nil, nil, fmt.Errorf("the IDX header gives %d dimensions in a file of %d bytes", n, len(content))
	}
	total := int64(1)
	for i := range n {
		d := int64(binary.BigEndian.Uint32(content[4+4*i:]))
		dims = append(dims, int(d))
		if d > 0 && total > maxUnpackedBytes/d {
			return nil, nil, fmt.Errorf("the IDX header gives a size of %v, more than is held in memory", dims)
		}
		total *= d
	}
	values = content[header:]
	if int64(len(values)) < total {
		return nil, nil, fmt.Errorf("the IDX file is cut short: its header gives %v, %d bytes, and %d follow; "+
			"copy it again", dims, total, len(values))
	}
	if int64(len(values)) > total {
		return nil, nil, fmt.Errorf("the IDX file has %d bytes after its last value; it is damaged, copy it "+
			"again", int64(len(values))-total)
	}
	return dims, values, nil
}
