package pack

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"moco/data"
)

// counter counts what is written.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// packed is a picture as it goes into a shard.
type packed struct {
	image   int // number in the set
	content []byte
	ending  string // of its name, with the dot
	class   string // "" without labels
	about   []byte // JSON
	err     error  // why it cannot be read
}

// size is what the picture takes in a tar.
func (p *packed) size() int64 {
	total := int64(0)
	for _, part := range p.parts() {
		const block = 512
		total += block + (int64(len(part.content))+block-1)/block*block
	}
	return total
}

// part is a file of a shard.
type part struct {
	ending  string
	content []byte
}

// parts are the files of a picture, in the order of their names.
func (p *packed) parts() []part {
	list := []part{{p.ending, p.content}, {".json", p.about}}
	if p.class != "" {
		list = append(list, part{".cls", []byte(p.class)})
	}
	slices.SortFunc(list, func(a, b part) int { return strings.Compare(a.ending, b.ending) })
	return list
}

// write writes the files. All but their names and contents is the same for all.
func (p *packed) write(w *tar.Writer) error {
	for _, part := range p.parts() {
		h := &tar.Header{
			Name: fmt.Sprintf("%09d%s", p.image, part.ending), Size: int64(len(part.content)), Mode: 0o644,
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR, ModTime: time.Unix(0, 0),
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(part.content); err != nil {
			return err
		}
	}
	return nil
}

// about is what a shard says of a picture.
type about struct {
	Name  string `json:"name"`            // in the set that was packed
	Label string `json:"label,omitempty"` // the name of its class
}

// describe fills in label and name.
func (p *packed) describe(set *data.Set) error {
	a := about{Name: set.Name(p.image)}
	if l := set.Label(p.image); l >= 0 {
		a.Label, p.class = set.Classes()[l], fmt.Sprint(l)
	}
	var err error
	p.about, err = json.Marshal(a)
	return err
}
