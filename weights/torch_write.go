package weights

import (
	"archive/zip"
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"

	"moco/tensor"
)

// storages are PyTorch's names for the storage of a type.
var storages = map[tensor.Type]string{
	tensor.Float32: "FloatStorage",
	tensor.Int32:   "IntStorage",
	tensor.Int64:   "LongStorage",
	tensor.Uint8:   "ByteStorage",
}

// WriteTorch writes tensors as the state dict that torch.save makes since PyTorch 1.6: an
// OrderedDict of contiguous tensors, in their order, which torch.load reads also with
// weights_only=True. The same tensors give the same bytes.
//
// The file is a zip without compression. data.pkl describes the tensors, data/N holds the elements
// of the Nth, at a multiple of 64 bytes so that it can be mapped into memory, and byteorder and
// version hold what their names say.
func WriteTorch(w io.Writer, tensors []Named) error {
	if err := checkTensors(tensors, storages); err != nil {
		return fmt.Errorf("PyTorch: %w", err)
	}
	var description bytes.Buffer
	p := pickleWriter{bufio.NewWriter(&description)}
	p.protocol(2)
	orderedDict := func() {
		p.global("collections", "OrderedDict")
		p.ints(nil)
		p.call()
	}
	orderedDict()
	p.items(func() {
		for i, n := range tensors {
			p.string(n.Name)
			p.global("torch._utils", "_rebuild_tensor_v2")
			p.tuple(func() {
				p.tuple(func() {
					p.string("storage")
					p.global("torch", storages[n.Tensor.Type])
					p.string(strconv.Itoa(i)) // of data/N
					p.string("cpu")
					p.int(int64(n.Tensor.Shape.Elements()))
				})
				p.persistent()
				p.int(0) // where it begins in the storage
				p.ints(n.Tensor.Shape)
				p.ints(strides(n.Tensor.Shape))
				p.bool(false) // it asks for no gradient
				orderedDict() // and has no hooks
			})
			p.call()
		}
	})
	p.stop()
	p.Flush() // into memory
	z := newAlignedZip(w)
	z.add("data.pkl", description.Bytes())
	z.add("byteorder", []byte("little"))
	for i, n := range tensors {
		z.add("data/"+strconv.Itoa(i), n.Tensor.Bytes())
	}
	z.add("version", []byte("3\n"))
	return z.close()
}

// strides are the distances, in elements, between neighbours along each axis.
func strides(s tensor.Shape) []int {
	out := make([]int, len(s))
	step := 1
	for i := len(s) - 1; i >= 0; i-- {
		out[i] = step
		step *= max(1, s[i])
	}
	return out
}

// alignedZip writes a zip of stored members under "archive/", each beginning at a multiple of 64
// bytes.
type alignedZip struct {
	*zip.Writer
	at  *counter
	err error // the first
}

func newAlignedZip(w io.Writer) *alignedZip {
	at := &counter{w: w}
	return &alignedZip{Writer: zip.NewWriter(at), at: at}
}

func (z *alignedZip) add(name string, content []byte) {
	if z.err != nil {
		return
	}
	if int64(len(content)) >= math.MaxUint32 {
		z.err = fmt.Errorf("PyTorch: a tensor of %d bytes is too large for the zip that is written", len(content))
		return
	}
	if z.err = z.Flush(); z.err != nil {
		return
	}
	h := &zip.FileHeader{
		Name: "archive/" + name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(content),
		CompressedSize64: uint64(len(content)), UncompressedSize64: uint64(len(content)),
		ModifiedDate: 1<<5 | 1, // the first day of 1980, always: the same tensors give the same bytes
	}
	const local, field = 30, 4 // bytes of the header before the name, and of the head of an extra field
	pad := -(int(z.at.n%64) + local + len(h.Name) + field) & 63
	h.Extra = append([]byte{'F', 'B', byte(pad), 0}, make([]byte, pad)...)
	var member io.Writer
	if member, z.err = z.CreateRaw(h); z.err == nil {
		_, z.err = member.Write(content)
	}
}

func (z *alignedZip) close() error {
	if z.err != nil {
		return z.err
	}
	return z.Close()
}

// counter counts what goes through to w.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
