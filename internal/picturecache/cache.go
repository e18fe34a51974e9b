// Package picturecache keeps decoded pictures in files of a folder, for the next epoch and the next
// run.
//
// A file holds the pictures of one source, read in one way: a head, then one record a picture, each
// with a checksum, only ever appended. A process that is killed while it appends leaves a torn end,
// which is cut off by whoever comes next. A picture is only given out if its key and checksum are
// right, so whatever happens to a file, the worst is that pictures are missing. Nothing is synced: a
// cache need not survive a power cut.
//
// Processes that use a folder at the same time share what they append. One lock of the kernel's, on a
// file in the folder, is held while a file is opened, appended to or removed; reading takes none.
//
// All files of a folder together keep within a limit. Where a record finds no room, files that no
// process has open go first, the one that was unused for longest before others; then nothing more is
// taken in.
package picturecache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// Names in the folder.
const (
	lockFile  = "lock"
	extension = ".pictures"
)

// Key names a picture in a file: a hash of everything that its pixels depend on, so that a key whose
// source has changed is never asked for again.
type Key [16]byte

// File is one open file. It is safe for concurrent use.
type File struct {
	dir   string
	limit int64
	f     *os.File
	lock  *flock.Flock // of the folder
	used  *flock.Flock // of the file, shared: it is not to be removed
	full  atomic.Bool

	writing sync.Mutex // held while end is read or changed, and with it the folder's lock
	end     int64      // of the last good record; what is behind it is not indexed yet

	mu      sync.RWMutex
	records map[Key]record
}

// record is where a picture is.
type record struct {
	at            int64 // of its head
	width, height int
}

// ForeignError is the error of a file that has the name of a cache's and was not written by one.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return e.Path + " is no file of decoded pictures; it is left as it is"
}

// Usable makes a folder if it is missing, and returns nil if it can hold a cache.
func Usable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cache of pictures: %w", err)
	}
	l := folderLock(dir)
	if err := errors.Join(l.Lock(), l.Close()); err != nil {
		return fmt.Errorf("cache of pictures: lock %s: %w", dir, err)
	}
	return nil
}

// folderLock is the lock of a folder.
func folderLock(dir string) *flock.Flock {
	return flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
}

// Open opens the file for pictures of a certain source and reading, which id names, in a folder, and
// makes both where they are missing. Limit is the most bytes that all files of the folder may take.
func Open(dir string, limit int64, id [32]byte) (*File, error) {
	f, err := open(dir, limit, id)
	if err != nil {
		return nil, fmt.Errorf("cache of pictures: %w", err)
	}
	return f, nil
}

func open(dir string, limit int64, id [32]byte) (_ *File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := sha256.Sum256(fileHead(id)) // another format has other names
	path := filepath.Join(dir, hex.EncodeToString(name[:8])+extension)
	c := &File{
		dir: dir, limit: limit, records: map[Key]record{}, lock: folderLock(dir),
		used: flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600)),
	}
	if err := c.lock.Lock(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer c.lock.Unlock()
	if err := c.used.RLock(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			c.used.Close()
		}
	}()
	if c.f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.f.Close()
		}
	}()
	if err := c.begin(id); err != nil {
		return nil, err
	}
	if err := c.catchUp(); err != nil {
		return nil, err
	}
	now := time.Now()
	return c, os.Chtimes(path, now, now)
}

// Close closes the file, which stays for the next run. Gets afterwards find nothing.
func (c *File) Close() error {
	return errors.Join(c.f.Close(), c.used.Close(), c.lock.Close())
}

// Full tells whether a picture found no room.
func (c *File) Full() bool { return c.full.Load() }

// Len is the number of pictures in the file, as far as it has been read.
func (c *File) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.records)
}

// Get returns a picture as it was put, three bytes a pixel, in pix if they fit. It is false if the
// picture is not there or was damaged.
func (c *File) Get(k Key, pix []byte) (width, height int, _ []byte, ok bool) {
	c.mu.RLock()
	r, ok := c.records[k]
	c.mu.RUnlock()
	if !ok {
		return 0, 0, pix, false
	}
	n := 3 * r.width * r.height
	pix = slices.Grow(pix[:0], n)[:n]
	var raw [headBytes]byte
	_, err := c.f.ReadAt(raw[:], r.at)
	if err == nil {
		_, err = c.f.ReadAt(pix, r.at+headBytes)
	}
	if h, good := parseHead(raw[:]); err != nil || !good || h.key != k || h.record(r.at) != r || h.sum != checksum(pix) {
		c.forget(k, r)
		return 0, 0, pix, false
	}
	return r.width, r.height, pix, true
}

// forget drops a record that turned out to be damaged, so that its picture is put again.
func (c *File) forget(k Key, r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records[k] == r {
		delete(c.records, k)
	}
}

// Put takes in a picture, unless another process has done so, or there is no room.
func (c *File) Put(k Key, width, height int, pix []byte) error {
	if len(pix) != 3*width*height || width < 1 || height < 1 || len(pix) >= most {
		return fmt.Errorf("cache of pictures: a picture of %dx%d in %d bytes", width, height, len(pix))
	}
	if c.full.Load() {
		return nil
	}
	raw := appendRecord(make([]byte, 0, headBytes+len(pix)), head{key: k, width: width, height: height}, pix)
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.lock.Lock(); err != nil {
		return fmt.Errorf("cache of pictures: lock %s: %w", c.dir, err)
	}
	defer c.lock.Unlock()
	if err := c.catchUp(); err != nil {
		return fmt.Errorf("cache of pictures: %w", err)
	}
	if c.has(k) {
		return nil
	}
	room, err := c.makeRoom(int64(len(raw)))
	if err != nil || !room {
		c.full.Store(true)
		return err
	}
	if _, err := c.f.WriteAt(raw, c.end); err != nil { // the disk is full
		c.full.Store(true)
		return errors.Join(fmt.Errorf("cache of pictures: %w", err), c.f.Truncate(c.end))
	}
	c.index(k, record{c.end, width, height})
	c.end += int64(len(raw))
	return nil
}

func (c *File) has(k Key) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.records[k]
	return ok
}

// index notes a record. The last one of a key counts: the others were damaged.
func (c *File) index(k Key, r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records[k] = r
}

// begin checks the head of the file, or writes one to a file that has not got one. The folder is
// locked.
func (c *File) begin(id [32]byte) error {
	want := fileHead(id)
	got := make([]byte, len(want))
	n, err := c.f.ReadAt(got, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case n < len(want) && string(got[:n]) == string(want[:n]): // new, or torn
		if err := c.f.Truncate(0); err != nil {
			return err
		}
		_, err = c.f.WriteAt(want, 0)
	case string(got) != string(want):
		return &ForeignError{Path: c.f.Name()}
	default:
		err = nil
	}
	c.end = int64(len(want))
	return err
}

// catchUp indexes the records behind the end that is known, and cuts a torn one off. The folder is
// locked, so nobody is writing.
func (c *File) catchUp() error {
	size, err := c.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size < c.end { // another process cut off what was damaged
		c.mu.Lock()
		clear(c.records)
		c.mu.Unlock()
		c.end = fileHeadBytes
	}
	for c.end < size {
		var raw [headBytes]byte
		if _, err := c.f.ReadAt(raw[:], c.end); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		h, ok := parseHead(raw[:])
		if !ok || h.bytes() > size-c.end {
			return c.f.Truncate(c.end)
		}
		c.index(h.key, h.record(c.end))
		c.end += h.bytes()
	}
	return nil
}

// makeRoom tells whether n more bytes keep within the limit, once other files have gone. The folder is
// locked.
func (c *File) makeRoom(n int64) (bool, error) {
	items, err := os.ReadDir(c.dir)
	if err != nil {
		return false, err
	}
	own := filepath.Base(c.f.Name())
	total := n
	var others []os.FileInfo
	for _, item := range items {
		if !isCache(item.Name()) {
			continue
		}
		info, err := item.Info()
		if err != nil {
			continue // gone meanwhile
		}
		total += info.Size()
		if item.Name() != own {
			others = append(others, info)
		}
	}
	if total <= c.limit {
		return true, nil
	}
	slices.SortFunc(others, func(a, b os.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, o := range others {
		if total <= c.limit {
			break
		}
		if c.remove(filepath.Join(c.dir, o.Name())) {
			total -= o.Size()
		}
	}
	return total <= c.limit, nil
}

// isCache tells whether a name in the folder is that of a cache's file.
func isCache(name string) bool {
	stem, ok := strings.CutSuffix(name, extension)
	_, err := hex.DecodeString(stem)
	return ok && err == nil && len(stem) == 16
}

// remove removes a cache's file that no process has open.
func (c *File) remove(path string) bool {
	l := flock.New(path, flock.SetFlag(os.O_RDWR))
	got, err := l.TryLock()
	l.Close() // an open file cannot be removed everywhere; who wants it open has to wait for the folder
	return err == nil && got && ours(path) && os.Remove(path) == nil
}
