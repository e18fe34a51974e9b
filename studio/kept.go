package studio

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"moco/internal/atomicfile"
)

// What is computed is kept in files of the studio's folder, one for each kind and each set of
// features: a line of JSON, then numbers of 32 bits, the lowest byte first. A file that is not
// whole, or of something else, is not there.

// keptHead is the first line of a kept file.
type keptHead struct {
	Kind     string          `json:"kind"`     // what it is, with its version
	Features string          `json:"features"` // the hash of what it was made of
	Ints     int             `json:"ints"`
	Floats   int             `json:"floats"`
	Checksum uint32          `json:"checksum"` // CRC-32 of the numbers
	More     json.RawMessage `json:"more,omitempty"`
}

// kept is a kept file's content.
type kept struct {
	ints   []int32
	floats []float32
	more   any // JSON; nil: none
}

// keptPath is where something is kept.
func keptPath(folder, kind, features string) string {
	return filepath.Join(folder, kind+"-"+features[:min(16, len(features))]+".moco")
}

// save keeps something.
func (k *kept) save(folder, kind, features string) error {
	raw := make([]byte, 4*(len(k.ints)+len(k.floats)))
	for i, v := range k.ints {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(v))
	}
	behind := raw[4*len(k.ints):]
	for i, v := range k.floats {
		binary.LittleEndian.PutUint32(behind[4*i:], math.Float32bits(v))
	}
	head := keptHead{Kind: kind, Features: features, Ints: len(k.ints), Floats: len(k.floats),
		Checksum: crc32.ChecksumIEEE(raw)}
	var err error
	if k.more != nil {
		if head.More, err = json.Marshal(k.more); err != nil {
			return err
		}
	}
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	_, err = atomicfile.Save(keptPath(folder, kind, features), func(w io.Writer) error {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		_, err := w.Write(raw)
		return err
	})
	return err
}

// load reads something that was kept. k.more is decoded where it is a pointer.
func (k *kept) load(folder, kind, features string) bool {
	raw, err := os.ReadFile(keptPath(folder, kind, features))
	if err != nil {
		return false
	}
	head, rest, err := splitKept(raw)
	if err != nil || head.Kind != kind || head.Features != features {
		return false
	}
	if k.more != nil && json.Unmarshal(head.More, k.more) != nil {
		return false
	}
	k.ints, k.floats = make([]int32, head.Ints), make([]float32, head.Floats)
	for i := range k.ints {
		k.ints[i] = int32(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	rest = rest[4*head.Ints:]
	for i := range k.floats {
		k.floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	return true
}

// splitKept checks a kept file.
func splitKept(raw []byte) (head keptHead, numbers []byte, err error) {
	line, numbers, ok := bytes.Cut(raw, []byte("\n"))
	if !ok {
		return head, nil, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return head, nil, err
	}
	have := len(numbers) / 4
	if head.Ints < 0 || head.Floats < 0 || head.Ints > have || head.Floats != have-head.Ints || len(numbers)%4 != 0 ||
		crc32.ChecksumIEEE(numbers) != head.Checksum {
		return head, nil, fmt.Errorf("%s: its numbers are not those that were kept", head.Kind)
	}
	return head, numbers, nil
}
