package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"moco/weights/internal/pickle"
)

// maxExpansion is how much longer than the whole file its deflated parts may be together. PyTorch
// does not deflate, and weights do not shrink by much.
const maxExpansion = 20

// torchZip is an archive of the format of PyTorch 1.6 and later: NAME/data.pkl, and NAME/data/KEY
// for each storage.
type torchZip struct {
	members map[string]*zip.File
	root    string // NAME
	room    int64  // bytes that may still be unpacked
}

// readZip reads the format.
func readZip(s *source) (*torchFile, error) {
	archive, err := zip.NewReader(s.r, s.size)
	if err != nil {
		return nil, fmt.Errorf("torch: the zip archive is damaged or cut short (%w); copy it again", err)
	}
	z, err := newTorchZip(archive, s)
	if err != nil {
		return nil, err
	}
	if err := z.littleEndian(); err != nil {
		return nil, err
	}
	raw, err := z.unpack("data.pkl", -1)
	if err != nil {
		return nil, err
	}
	p, err := pickle.Decode(raw)
	if err != nil {
		return nil, pickleError(err)
	}
	refers, err := shelf{}.loadAll(p)
	if err != nil {
		return nil, err
	}
	read := func(s *storage) ([]byte, error) { return z.unpack("data/"+s.key, s.bytes) }
	return &torchFile{object: p.Value, refers: refers, globals: p.Globals, read: read}, nil
}

// pickleError is what a user reads of a pickle's error.
func pickleError(err error) error {
	if errors.Is(err, pickle.ErrShort) {
		return errShort
	}
	return fmt.Errorf("torch: %w", err)
}

// errShort is what a file that ends too early is.
var errShort = errors.New("torch: the file is cut short; copy it again")

// newTorchZip finds the members, and tells archives of another kind.
func newTorchZip(archive *zip.Reader, s *source) (*torchZip, error) {
	z := &torchZip{members: map[string]*zip.File{}, room: maxExpansion*s.size + 1<<20}
	var found []string
	for _, m := range archive.File {
		if z.members[m.Name] != nil {
			return nil, fmt.Errorf("torch: the zip archive holds %q twice", brief(m.Name))
		}
		z.members[m.Name] = m
		if path.Base(m.Name) == "data.pkl" {
			found = append(found, m.Name)
		}
	}
	switch len(found) {
	case 0:
		return nil, zipKind(archive)
	case 1:
		z.root = path.Dir(found[0])
	default:
		return nil, errors.New("torch: the zip archive holds more than one data.pkl")
	}
	if z.members[path.Join(z.root, "constants.pkl")] != nil {
		return nil, &KindError{KindTorchScript, saveHint(fmt.Sprintf("torch.jit.load(%q)", s.name))}
	}
	return z, nil
}

// zipKind says what a zip archive is that torch.save has not written, from the names in it.
func zipKind(archive *zip.Reader) error {
	var names []string
	for _, m := range archive.File {
		names = append(names, m.Name)
	}
	has := func(test func(string) bool) bool { return slices.ContainsFunc(names, test) }
	switch {
	case has(func(n string) bool { return strings.HasSuffix(n, ".weights.h5") }):
		return &KindError{KindKeras, hintOther}
	case len(names) > 0 && !has(func(n string) bool { return !strings.HasSuffix(n, ".npy") }):
		return &KindError{KindNumPy, hintOther + "; arrays without their model's names are not read"}
	}
	return &KindError{KindZip, insideHint(names)}
}

// insideHint says what to do with an archive of the given names.
func insideHint(names []string) string {
	for _, n := range names {
		switch strings.ToLower(path.Ext(n)) {
		case ".safetensors", ".pth", ".pt", ".bin", ".ckpt":
			return fmt.Sprintf("unpack it, and take %s from it", brief(n))
		}
	}
	for _, n := range names {
		switch strings.ToLower(path.Ext(n)) {
		case ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff":
			return "it holds pictures; " + hintPicture
		}
	}
	return hintUnpack
}

// unpack reads a member of want bytes; negative: however many it has.
func (z *torchZip) unpack(name string, want int64) ([]byte, error) {
	m := z.members[path.Join(z.root, name)]
	if m == nil {
		return nil, fmt.Errorf("torch: the zip archive lacks %q", brief(name))
	}
	if want < 0 {
		want = int64(min(m.UncompressedSize64, 1<<62))
	}
	if m.UncompressedSize64 != uint64(want) {
		return nil, fmt.Errorf("torch: %q has %d bytes, where its tensors need %d", brief(name), m.UncompressedSize64, want)
	}
	if z.room -= want; z.room < 0 {
		return nil, fmt.Errorf("torch: the zip archive would unpack to more than %d times its size, which no checkpoint does",
			maxExpansion)
	}
	f, err := m.Open()
	if err != nil {
		return nil, fmt.Errorf("torch: unpack %q: %w", brief(name), err)
	}
	defer f.Close()
	raw := make([]byte, want)
	if _, err = io.ReadFull(f, raw); err == nil {
		_, err = io.ReadFull(f, make([]byte, 1)) // the archive's checksum is compared at the end
	}
	if err != io.EOF {
		return nil, fmt.Errorf("torch: unpack %q: %w", brief(name), err)
	}
	return raw, nil
}

// littleEndian refuses numbers in the other order; archives without the member have this one.
func (z *torchZip) littleEndian() error {
	if z.members[path.Join(z.root, "byteorder")] == nil {
		return nil
	}
	order, err := z.unpack("byteorder", -1)
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(order)) != "little" {
		return fmt.Errorf("torch: the tensors are %s-endian, which is not read", brief(string(order)))
	}
	return nil
}
