package embed

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"reflect"
	"strings"

	"moco/data"
	"moco/vectors"
)

// terms are everything that a row's bits depend on. A run continues only under the terms it began
// with.
type terms struct {
	Format    string `json:"format"`
	Encoder   string `json:"encoder"` // SHA-256
	Data      string `json:"data"`    // fingerprint
	Features  string `json:"features"`
	Dim       int    `json:"dim"`
	Precision string `json:"precision"`
	Batch     int    `json:"batch"`
	Engine    string `json:"engine"`
	Shard     string `json:"shard,omitempty"`   // "3/7"
	Numbers   string `json:"numbers,omitempty"` // of the output; empty: float32
}

// The journal's format, and the one before frames had digests. A run that began in the old format
// continues in it.
const (
	journalFormat = "moco embed journal 2"
	journalPlain  = "moco embed journal 1"

	// journalStart is what a journal of either format begins with.
	journalStart = `{"format":"moco embed journal `
)

// digested tells whether the journal's frames have digests.
func (t terms) digested() bool { return t.Format == journalFormat }

// differences names the terms that differ.
func (t terms) differences(other terms) string {
	var list []string
	for _, x := range []*terms{&t, &other} { // journals of float32 numbers do not name them
		x.Numbers = cmp.Or(x.Numbers, vectors.Float32.String())
	}
	a, b := reflect.ValueOf(t), reflect.ValueOf(other)
	for i := range a.NumField() {
		if a.Field(i).Interface() != b.Field(i).Interface() {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			list = append(list, fmt.Sprintf("%s was %v and is %v", name, a.Field(i), b.Field(i)))
		}
	}
	return strings.Join(list, ", ")
}

// frame is what one batch added: the rows of some images, and the unreadable images among those
// before next.
type frame struct {
	images, bad []uint32
	next        uint64
	// digests are those of the images. They are nil in a plain journal; a zero one is unknown.
	digests []data.Digest
	rows    []float32 // [len(images), dim]
}

// digestBytes is the length of a digest in the journal: the size and the sum.
const digestBytes = 8 + sha256.Size

// append appends the frame's bytes, little endian: the two counts and next, the images, the
// unreadable images, the digests, the rows, and a CRC-32C of all of it.
func (f *frame) append(raw []byte) []byte {
	start := len(raw)
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(f.images)))
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(f.bad)))
	raw = binary.LittleEndian.AppendUint64(raw, f.next)
	for _, list := range [][]uint32{f.images, f.bad} {
		for _, i := range list {
			raw = binary.LittleEndian.AppendUint32(raw, i)
		}
	}
	for _, d := range f.digests {
		raw = append(binary.LittleEndian.AppendUint64(raw, uint64(d.Size)), d.SHA256[:]...)
	}
	for _, v := range f.rows {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return binary.LittleEndian.AppendUint32(raw, crc32.Checksum(raw[start:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn is a journal that ends in the middle of a frame, by a kill or damage. The frames before
// it are good.
var errTorn = errors.New("the journal is cut short or damaged")

// frames reads frames one after the other.
type frames struct {
	r     *bufio.Reader
	t     terms
	total int    // the first image after the run's
	next  uint64 // of the last frame; at the start, the run's first image
	bytes int64  // length of the whole frames so far
	raw   []byte
	frame frame
}

// read reads the next frame into f.frame. The frame is valid until the next call. io.EOF is the end
// between two frames, errTorn an end inside one.
func (f *frames) read() error {
	const fixed = 16
	f.raw = append(f.raw[:0], make([]byte, fixed)...)
	if _, err := io.ReadFull(f.r, f.raw); err == io.EOF {
		return io.EOF
	} else if err != nil {
		return errTorn
	}
	n, bad := int64(binary.LittleEndian.Uint32(f.raw)), int64(binary.LittleEndian.Uint32(f.raw[4:]))
	next := binary.LittleEndian.Uint64(f.raw[8:])
	if n > int64(f.t.Batch) || next > uint64(f.total) || next < f.next || uint64(n+bad) != next-f.next || n+bad == 0 {
		// Each image between the ends of the last frame and of this one has a row or is unreadable.
		return errTorn
	}
	size := fixed + 4*(n+bad+n*int64(f.t.Dim)) + 4
	if f.t.digested() {
		size += n * digestBytes
	}
	// The buffer grows as bytes come: a torn count must not allocate memory for bytes that do not
	// exist.
	for int64(len(f.raw)) < size {
		part := min(size-int64(len(f.raw)), 1<<16)
		at := len(f.raw)
		f.raw = append(f.raw, make([]byte, part)...)
		if _, err := io.ReadFull(f.r, f.raw[at:]); err != nil {
			return errTorn
		}
	}
	body := f.raw[:size-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(f.raw[size-4:]) {
		return errTorn
	}
	body = body[fixed:]
	list := func(out []uint32, n int64) ([]uint32, bool) {
		out = out[:0]
		for range n {
			i := binary.LittleEndian.Uint32(body)
			if uint64(i) < f.next || uint64(i) >= next || len(out) > 0 && i <= out[len(out)-1] {
				return out, false
			}
			out, body = append(out, i), body[4:]
		}
		return out, true
	}
	var ok bool
	if f.frame.images, ok = list(f.frame.images, n); !ok {
		return errTorn
	}
	if f.frame.bad, ok = list(f.frame.bad, bad); !ok {
		return errTorn
	}
	f.frame.digests = nil
	if f.t.digested() {
		f.frame.digests = make([]data.Digest, n)
		for i := range f.frame.digests {
			f.frame.digests[i].Size = int64(binary.LittleEndian.Uint64(body))
			copy(f.frame.digests[i].SHA256[:], body[8:])
			body = body[digestBytes:]
		}
	}
	f.frame.rows = f.frame.rows[:0]
	for ; len(body) > 0; body = body[4:] {
		f.frame.rows = append(f.frame.rows, math.Float32frombits(binary.LittleEndian.Uint32(body)))
	}
	f.next, f.frame.next, f.bytes = next, next, f.bytes+size
	return nil
}

// journal is the file of what has been embedded so far: a line of JSON with the terms, then frames.
// It lies beside the output, which is made from it at the end.
type journal struct {
	file  *os.File // nil: the journal only counts
	terms terms
	start int64 // offset of the first frame
	first int   // the run's first image
	total int   // the first image after the run's
	rows  int
	bad   []uint32
	next  int // next image
	raw   []byte
}

// createJournal begins a journal. It replaces a file without a whole first line, as a kill may have
// left it.
func createJournal(path string, t terms, first, total int) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(t)
	if err == nil {
		_, err = file.Write(append(head, '\n'))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &journal{file: file, terms: t, start: int64(len(head)) + 1, first: first, next: first, total: total}, nil
}

// errNoTerms is the error of a journal whose first line is cut short.
var errNoTerms = errors.New("the journal has no first line")

// readTerms reads the first line and returns its length.
func readTerms(r *bufio.Reader) (t terms, length int64, err error) {
	head, err := r.ReadSlice('\n')
	if n := min(len(head), len(journalStart)); err != nil && string(head[:n]) == journalStart[:n] {
		return t, 0, errNoTerms
	}
	if err != nil {
		return t, 0, fmt.Errorf("it is no journal: it begins with %.80q", head)
	}
	length = int64(len(head))
	d := json.NewDecoder(bytes.NewReader(head))
	const most = 1 << 24
	sound := d.Decode(&t) == nil && (t.Format == journalFormat || t.Format == journalPlain)
	if !sound || t.Dim < 1 || t.Dim > most || t.Batch < 1 || t.Batch > most {
		return t, 0, fmt.Errorf("its first line is not that of a journal: %.80q", head)
	}
	return t, length, nil
}

// openJournal opens a journal to continue it, and cuts off a torn frame.
func openJournal(path string, want terms, first, total int) (j *journal, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	r := bufio.NewReaderSize(file, 1<<16)
	t, start, err := readTerms(r)
	if err != nil {
		return nil, err
	}
	if t.Format == journalPlain {
		want.Format = journalPlain
	}
	if d := t.differences(want); d != "" {
		return nil, &OtherRunError{Journal: path, Differences: d}
	}
	j = &journal{file: file, terms: t, start: start, first: first, next: first, total: total}
	f := &frames{r: r, t: t, total: total, next: uint64(first)}
	for {
		err := f.read()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		j.count(&f.frame)
	}
	end := start + f.bytes
	if err := file.Truncate(end); err != nil {
		return nil, err
	}
	_, err = file.Seek(end, io.SeekStart)
	return j, err
}

func (j *journal) count(f *frame) {
	j.rows += len(f.images)
	j.bad = append(j.bad, f.bad...)
	j.next = int(f.next)
}

// add appends a frame.
func (j *journal) add(f *frame) error {
	j.raw = f.append(j.raw[:0])
	if _, err := j.file.Write(j.raw); err != nil {
		return err
	}
	j.count(f)
	return nil
}

// sync waits until a power cut would no longer lose what was added.
func (j *journal) sync() error {
	if j.file == nil {
		return nil
	}
	return j.file.Sync()
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}

// frames reads the journal from the beginning.
func (j *journal) frames() (*frames, error) {
	end, err := j.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	r := io.NewSectionReader(j.file, j.start, end-j.start)
	return &frames{r: bufio.NewReaderSize(r, 1<<16), t: j.terms, total: j.total, next: uint64(j.first)}, nil
}
