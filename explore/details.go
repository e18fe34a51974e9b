package explore

import (
	"container/list"
	"fmt"
	"sync"

	"moco/data"
)

// detailBytes is how much memory the details of images may take.
const detailBytes = 64 << 20

// details makes the details of images when they are asked for, and keeps the latest. Goroutines may
// share it.
type details struct {
	image func(row int, dst *data.Image) error

	mu     sync.Mutex
	left   int        // bytes
	latest *list.List // of *keptDetail, the latest first
	kept   map[int]*list.Element
	spare  sync.Pool // *data.Image
}

type keptDetail struct {
	row int
	*detail
}

func newDetails(image func(row int, dst *data.Image) error) *details {
	return &details{image: image, left: detailBytes, latest: list.New(), kept: map[int]*list.Element{}}
}

// bytes is what a detail takes.
func (d *detail) bytes() int { return len(d.colour) + len(d.grey) + 128 }

// offer keeps the detail of an image that is read already, as long as there is room.
func (d *details) offer(row int, img *data.Image) {
	d.mu.Lock()
	room := d.left >= 4*detailEdge*detailEdge
	d.mu.Unlock()
	if room {
		d.keep(row, makeDetail(img))
	}
}

// of is the detail of a row's image.
func (d *details) of(row int) (*detail, error) {
	d.mu.Lock()
	if e, ok := d.kept[row]; ok {
		d.latest.MoveToFront(e)
		d.mu.Unlock()
		return e.Value.(*keptDetail).detail, nil
	}
	d.mu.Unlock()
	img, ok := d.spare.Get().(*data.Image)
	if !ok {
		img = &data.Image{}
	}
	defer d.spare.Put(img)
	if err := d.image(row, img); err != nil {
		return nil, fmt.Errorf("an image that was embedded cannot be read again: %w", err)
	}
	made := makeDetail(img)
	d.keep(row, made)
	return made, nil
}

// keep keeps a detail, in place of those that were not asked for the longest.
func (d *details) keep(row int, made *detail) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.kept[row]; ok {
		return // another goroutine has made it too
	}
	d.kept[row] = d.latest.PushFront(&keptDetail{row, made})
	for d.left -= made.bytes(); d.left < 0; {
		last := d.latest.Remove(d.latest.Back()).(*keptDetail)
		delete(d.kept, last.row)
		d.left += last.bytes()
	}
}
