package studio

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"path/filepath"
	"sync"
	"sync/atomic"

	"moco/data"
	"moco/internal/picturecache"
	"moco/picture"
)

// thumbnailLimit is the most that the thumbnails of one folder may take on the disk.
const thumbnailLimit = 2 << 30

// thumbnailSides are the sizes of thumbnails, in pixels of the shorter side.
var thumbnailSides = []int{64, 128, 256}

// thumbnails makes small JPEGs of pictures, and keeps them on the disk.
//
// They are kept as package picturecache keeps pictures: appended with checksums, within a limit,
// shared by processes. What it holds is a JPEG file's bytes, as a picture of one row of pixels,
// three bytes each; zeros behind a JPEG's end mean nothing.
type thumbnails struct {
	set   *data.Set
	files map[int]*picturecache.File // by side

	mu     sync.Mutex
	broken map[int]bool // pictures that were found to be unreadable
	tools  sync.Pool    // *drawer
	failed atomic.Bool  // the folder cannot take any more
}

// drawer is the memory for making a thumbnail.
type drawer struct {
	from, to data.Image
	resize   picture.Resizer
	rgba     *image.RGBA
	out      bytes.Buffer
}

func openThumbnails(folder string, set *data.Set) (*thumbnails, error) {
	t := &thumbnails{set: set, files: map[int]*picturecache.File{}, broken: map[int]bool{}}
	t.tools.New = func() any { return new(drawer) }
	dir := filepath.Join(folder, "thumbnails")
	if err := picturecache.Usable(dir); err != nil {
		return nil, fmt.Errorf("thumbnails: %w", err)
	}
	for _, side := range thumbnailSides {
		f, err := picturecache.Open(dir, thumbnailLimit, thumbnailsID(side))
		if err != nil {
			t.close()
			return nil, fmt.Errorf("thumbnails: %w", err)
		}
		t.files[side] = f
	}
	return t, nil
}

// thumbnailsID names what all thumbnails of a side depend on beside their pictures.
func thumbnailsID(side int) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "thumbnails 1 of pictures %d, %d pixels", picture.Version, side))
}

func (t *thumbnails) close() error {
	for _, f := range t.files {
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// kept is a thumbnail that is on the disk, else nil.
func (t *thumbnails) kept(i, side int) []byte {
	key, ok := t.set.Stamp(i)
	if !ok {
		return nil
	}
	_, _, raw, ok := t.files[side].Get(key, nil)
	if !ok {
		return nil
	}
	return raw
}

// make makes a thumbnail and keeps it.
func (t *thumbnails) make(i, side int) ([]byte, error) {
	raw, err := t.draw(i, data.Reading{Side: side}, 3*side)
	if err != nil {
		return nil, err
	}
	if key, ok := t.set.Stamp(i); ok && !t.failed.Load() {
		padded := append(raw, make([]byte, (3-len(raw)%3)%3)...)
		if t.files[side].Put(key, len(padded)/3, 1, padded) != nil {
			t.failed.Store(true)
		}
	}
	return raw, nil
}

// draw makes a JPEG of a picture. No side of it is longer than most, in pixels.
func (t *thumbnails) draw(i int, how data.Reading, most int) ([]byte, error) {
	d := t.tools.Get().(*drawer)
	defer t.tools.Put(d)
	if err := t.set.ReadOnce(i, how, &d.from); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.broken[i] = true
		return nil, err
	}
	m := &d.from
	if long := max(m.Width, m.Height); long > most {
		d.to.Resize(max(1, m.Width*most/long), max(1, m.Height*most/long))
		d.resize.Resize(&d.to, m, image.Rect(0, 0, m.Width, m.Height))
		m = &d.to
	}
	return d.encode(m)
}

// encode writes a JPEG. The encoder is fast for images of type RGBA.
func (d *drawer) encode(m *data.Image) ([]byte, error) {
	if n := 4 * m.Width * m.Height; d.rgba == nil || cap(d.rgba.Pix) < n {
		d.rgba = &image.RGBA{Pix: make([]byte, n)}
	}
	d.rgba.Pix = d.rgba.Pix[:4*m.Width*m.Height]
	d.rgba.Stride, d.rgba.Rect = 4*m.Width, image.Rect(0, 0, m.Width, m.Height)
	for p := range m.Width * m.Height {
		copy(d.rgba.Pix[4*p:4*p+3], m.Pix[3*p:3*p+3])
		d.rgba.Pix[4*p+3] = 255
	}
	d.out.Reset()
	if err := jpeg.Encode(&d.out, d.rgba, &jpeg.Options{Quality: 85}); err != nil {
		return nil, err
	}
	return bytes.Clone(d.out.Bytes()), nil
}

// unreadable is how many pictures were found to be unreadable so far.
func (t *thumbnails) unreadable() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.broken)
}

// broken is the picture in the place of one that cannot be read: grey, with a darker cross.
var brokenPicture = sync.OnceValue(func() []byte {
	const side = 64
	m := image.NewGray(image.Rect(0, 0, side, side))
	draw.Draw(m, m.Bounds(), image.NewUniform(color.Gray{200}), image.Point{}, draw.Src)
	for k := side / 4; k < side*3/4; k++ {
		for wide := range 3 {
			m.SetGray(k+wide-1, k, color.Gray{140})
			m.SetGray(side-1-k+wide-1, k, color.Gray{140})
		}
	}
	var b bytes.Buffer
	if jpeg.Encode(&b, m, nil) != nil {
		return nil
	}
	return b.Bytes()
})
