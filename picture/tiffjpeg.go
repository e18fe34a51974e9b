package picture

import (
	"bytes"
	"errors"
	"image"
	stdjpeg "image/jpeg"

	"moco/internal/jpeg"
)

// tiffFromJPEG decodes a TIFF whose pieces are JPEGs, which share their tables (technical note 2).
func (d *Decoder) tiffFromJPEG(f *tiffFile, dst *Image) error {
	if f.planar {
		return unsupportedTIFF("planes compressed as JPEG")
	}
	if f.bits != 8 {
		return unsupportedTIFF("JPEG compression of %d bits a sample", f.bits)
	}
	across, down := f.grid()
	for i := range across * down {
		packed, err := f.piece(i)
		if err != nil {
			return err
		}
		left, top := i%across*f.pieces.width, i/across*f.pieces.height
		rows, columns := min(f.pieces.height, f.height-top), min(f.pieces.width, f.width-left)
		m, err := f.decodePiece(packed)
		if err != nil {
			return err
		}
		if m.Width < columns || m.Height < rows {
			return errors.New("a piece has another size than the directory says")
		}
		for y := range rows {
			copy(dst.row(top + y)[3*left:][:3*columns], m.row(y))
		}
	}
	if f.photometric == whiteIsZero {
		for i, v := range dst.Pix {
			dst.Pix[i] = 255 - v
		}
	}
	return nil
}

// decodePiece decodes one JPEG to RGB.
func (f *tiffFile) decodePiece(packed []byte) (*Image, error) {
	if len(packed) < 4 || packed[0] != 0xff || packed[1] != 0xd8 {
		return nil, errors.New("a piece is no JPEG")
	}
	whole := []byte{0xff, 0xd8}
	if f.photometric != tiffYCbCr && f.samples >= 3 { // says that the colours are not to be converted
		whole = append(whole, "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"...)
	}
	if tables := f.fields[tagJPEGTables].data; len(tables) > 4 {
		whole = append(whole, tables[2:len(tables)-2]...)
	}
	whole = append(whole, packed[2:]...)
	const margin = 64
	most := (f.pieces.width + margin) * (f.pieces.height + margin)
	if f.photometric == separated {
		return inksFromJPEG(whole, most)
	}
	m, err := jpeg.Decode(whole, jpeg.Options{MaxPixels: most})
	if err != nil {
		return nil, jpegError(err)
	}
	return &Image{Width: m.Width, Height: m.Height, Pix: m.Pix}, nil
}

// inksFromJPEG decodes a JPEG of four inks. In JPEGs of their own these are inverted, in a TIFF they
// are not, and the decoder above mixes them at once.
func inksFromJPEG(b []byte, most int) (*Image, error) {
	w, h, err := jpegSize(b)
	if err != nil {
		return nil, err
	}
	if w <= 0 || h <= 0 || w > most/h {
		return nil, errors.New("a piece has another size than the directory says")
	}
	decoded, err := stdjpeg.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	inks, ok := decoded.(*image.CMYK)
	if !ok {
		return nil, errors.New("a piece has other colours than the directory says")
	}
	for i, v := range inks.Pix {
		inks.Pix[i] = 255 - v
	}
	return FromImage(inks, White)
}
