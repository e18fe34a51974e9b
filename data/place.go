package data

// placed is a backend whose images may be files of the disk.
type placed interface {
	// file is the path of the file that image i is, if it is one.
	file(i int) (path string, ok bool)
}

// File returns the path of the file that image i is. It is false of an image in an archive, in a
// CIFAR or IDX file, or in a video.
func (s *Set) File(i int) (path string, ok bool) {
	if s.check(i) != nil {
		return "", false
	}
	return fileOf(s.backend, i)
}

// fileOf is the path of the file that image i of a backend is, if it is one.
func fileOf(of backend, i int) (string, bool) {
	if of, ok := of.(placed); ok {
		return of.file(i)
	}
	return "", false
}

func (e *encodedImages) file(i int) (string, bool) {
	switch e.box.what {
	case "folder", "list", "file":
		return e.box.place(e.entries[i]), true
	}
	return "", false
}

func (b *joined) file(i int) (string, bool) {
	m, at := b.of(i)
	return fileOf(m, at)
}

func (b *sampled) file(i int) (string, bool) { return fileOf(b.of.backend, b.keep[i]) }
