package picture

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zlib"
)

// inflater unpacks zlib streams one after another, reusing its memory. The zero value is ready.
type inflater struct {
	z io.ReadCloser
}

// open begins a stream.
func (f *inflater) open(r io.Reader) (io.Reader, error) {
	if f.z == nil {
		z, err := zlib.NewReader(r)
		if err != nil {
			return nil, err
		}
		f.z = z
		return z, nil
	}
	if err := f.z.(zlib.Resetter).Reset(r, nil); err != nil {
		return nil, err
	}
	return f.z, nil
}

// most unpacks b, but no more than limit bytes of it; what comes before an error is returned too.
func (f *inflater) most(b []byte, limit int) ([]byte, error) {
	z, err := f.open(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, int64(limit)))
}
