package data

import "time"

// Source tells how an image is stored. It says which of several copies is the best.
type Source struct {
	Width, Height int       // in pixels, as the header gives them: the image may have to be turned
	Bytes         int64     // of the file, or as the archive holds it unpacked
	Time          time.Time // of the file's last change, in an archive the entry's; zero: not known
}

// Pixels is the number of the image's pixels.
func (s Source) Pixels() int64 { return int64(s.Width) * int64(s.Height) }

// Source reads the header of image i and looks up the rest. An image whose header cannot be read
// gives a *[BadImage].
func (s *Set) Source(i int) (Source, error) {
	w, h, err := s.Size(i)
	if err != nil {
		return Source{}, err
	}
	from := Source{Width: w, Height: h, Bytes: s.backend.size(i)}
	if at := changedOf(s.backend, i); at != 0 {
		from.Time = time.Unix(0, at)
	}
	return from, nil
}

// dated is a backend that knows when its files were last changed.
type dated interface {
	// changed is in Unix nanoseconds; 0: not known.
	changed(i int) int64
}

// changedOf is when image i of a backend was last changed, if it knows.
func changedOf(of backend, i int) int64 {
	if of, ok := of.(dated); ok {
		return of.changed(i)
	}
	return 0
}

// changed is an archive's time of an entry. Archives without times hold the first date that their
// format can: 1970 in a tar, 1980 in a zip.
func changed(t time.Time) int64 {
	if t.Year() <= 1980 {
		return 0
	}
	return t.UnixNano()
}
