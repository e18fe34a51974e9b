package picture

import (
	"bytes"
	"errors"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/image/tiff/lzw"
)

// The compressions that are read.
const (
	tiffPlain      = 1
	tiffFaxRuns    = 2
	tiffGroup3     = 3
	tiffGroup4     = 4
	tiffLZW        = 5
	tiffJPEG       = 7
	tiffDeflate    = 8
	tiffPackBits   = 32773
	tiffOldDeflate = 32946
	tiffZstd       = 50000
)

// compressionKinds name what is not read.
var compressionKinds = map[int64]string{
	6: "JPEG compression of the old style", 9: "JBIG compression",
	10: "JBIG compression", 32766: "NeXT compression", 32809: "ThunderScan compression",
	34661: "JBIG compression", 34676: "LogLuv compression", 34677: "LogLuv compression",
	33003: "JPEG 2000 compression", 33005: "JPEG 2000 compression", 34712: "JPEG 2000 compression",
	34925: "LZMA compression", 50001: "WebP compression", 50002: "JPEG XL compression", 52546: "JPEG XL compression",
}

// tiffPiece unpacks a strip or tile into dst, whose rows of stride bytes hold so many samples a
// pixel, and undoes the predictor.
func (d *Decoder) tiffPiece(f *tiffFile, dst, packed []byte, stride, samples int) error {
	if f.reversed {
		packed = reverseBits(packed)
	}
	if err := d.tiffUnpack(f, dst, packed); err != nil {
		return err
	}
	predicted := f.compression == tiffLZW || f.compression == tiffDeflate ||
		f.compression == tiffOldDeflate || f.compression == tiffZstd
	if !predicted || f.predictor == 1 {
		return nil
	}
	return f.unpredict(dst, stride, samples)
}

// tiffUnpack unpacks by compression.
func (d *Decoder) tiffUnpack(f *tiffFile, dst, packed []byte) error {
	var from io.Reader
	switch f.compression {
	case tiffPlain:
		from = bytes.NewReader(packed)
	case tiffFaxRuns, tiffGroup3, tiffGroup4:
		return f.unpackFax(dst, packed)
	case tiffLZW:
		z := lzw.NewReader(bytes.NewReader(packed), lzw.MSB, 8)
		defer z.Close()
		from = z
	case tiffDeflate, tiffOldDeflate:
		z, err := d.inflate.open(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		from = z
	case tiffPackBits:
		return unpackBits(dst, packed)
	case tiffZstd:
		const most = 1 << 30
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most))
		if err != nil {
			return err
		}
		defer z.Close()
		from = z
	default:
		if kind, ok := compressionKinds[f.compression]; ok {
			return unsupportedTIFF("%s", kind)
		}
		return unsupportedTIFF("compression %d", f.compression)
	}
	if _, err := io.ReadFull(from, dst); err != nil {
		if errors.Is(err, io.EOF) {
			return errShort
		}
		return err
	}
	return nil
}

// unpackFax unpacks a piece of a fax. A set bit is black there, whatever the photometric
// interpretation says of it.
func (f *tiffFile) unpackFax(dst, packed []byte) error {
	if f.bits != 1 || f.samples != 1 {
		return errors.New("a fax of more than one bit a pixel")
	}
	mode := faxRuns
	switch f.compression {
	case tiffGroup3:
		mode = faxGroup3
	case tiffGroup4:
		mode = faxGroup4
	}
	return unpackFax(dst, packed, f.pieces.width, mode, f.int(tagFaxOptions, 0)&1 != 0 && mode == faxGroup3)
}

// unpackBits undoes PackBits (TIFF 6.0 section 9).
func unpackBits(dst, src []byte) error {
	for len(dst) > 0 {
		if len(src) < 2 {
			return errShort
		}
		n := int(int8(src[0]))
		src = src[1:]
		switch {
		case n >= 0:
			n = min(n+1, len(dst))
			if n > len(src) {
				return errShort
			}
			copy(dst[:n], src)
			dst, src = dst[n:], src[n:]
		case n != -128:
			n = min(1-n, len(dst))
			for i := range dst[:n] {
				dst[i] = src[0]
			}
			dst, src = dst[n:], src[1:]
		}
	}
	return nil
}

// reverseBits returns a copy whose bytes have their bits in the other order.
func reverseBits(b []byte) []byte {
	out := make([]byte, len(b))
	for i, v := range b {
		out[i] = bits.Reverse8(v)
	}
	return out
}

// unpredict adds up the differences that rows are stored as (section 14; technical note 3 for
// floats).
func (f *tiffFile) unpredict(data []byte, stride, samples int) error {
	for ; len(data) >= stride; data = data[stride:] {
		row := data[:stride]
		switch {
		case f.predictor == 2 && f.bits == 8:
			for i := samples; i < len(row); i++ {
				row[i] += row[i-samples]
			}
		case f.predictor == 2 && f.bits == 16:
			for i := 2 * samples; i+1 < len(row); i += 2 {
				f.order.PutUint16(row[i:], f.order.Uint16(row[i:])+f.order.Uint16(row[i-2*samples:]))
			}
		case f.predictor == 2 && f.bits == 32:
			for i := 4 * samples; i+3 < len(row); i += 4 {
				f.order.PutUint32(row[i:], f.order.Uint32(row[i:])+f.order.Uint32(row[i-4*samples:]))
			}
		case f.predictor == 3 && f.float:
			f.unpredictFloats(row)
		default:
			return unsupportedTIFF("predictor %d for %d bits", f.predictor, f.bits)
		}
	}
	return nil
}

// unpredictFloats undoes the floating-point predictor: bytes are added up, and lie with all highest
// ones first.
func (f *tiffFile) unpredictFloats(row []byte) {
	for i := 1; i < len(row); i++ {
		row[i] += row[i-1]
	}
	n := len(row) / 4
	planes := append([]byte(nil), row...)
	for i := range n {
		v := uint32(planes[i])<<24 | uint32(planes[n+i])<<16 | uint32(planes[2*n+i])<<8 | uint32(planes[3*n+i])
		f.order.PutUint32(row[4*i:], v)
	}
}
