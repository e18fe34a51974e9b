package picture

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
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
	var piece Image
	for i := range across * down {
		packed, err := f.piece(i)
		if err != nil {
			return err
		}
		left, top := i%across*f.pieces.width, i/across*f.pieces.height
		rows, columns := min(f.pieces.height, f.height-top), min(f.pieces.width, f.width-left)
		m, err := f.decodePiece(packed, rows, columns)
		if err != nil {
			return err
		}
		piece.Resize(m.Bounds().Dx(), m.Bounds().Dy())
		if err := d.fromPiece(f, &piece, m); err != nil {
			return err
		}
		for y := range rows {
			copy(dst.row(top + y)[3*left:][:3*columns], piece.row(y))
		}
	}
	return nil
}

// decodePiece decodes one JPEG of at least so many pixels, and not many more.
func (f *tiffFile) decodePiece(packed []byte, rows, columns int) (image.Image, error) {
	tables := f.fields[tagJPEGTables].data
	if len(packed) < 4 || packed[0] != 0xff || packed[1] != 0xd8 {
		return nil, errors.New("a piece is no JPEG")
	}
	whole := []byte{0xff, 0xd8}
	if f.photometric != tiffYCbCr && f.samples >= 3 { // says that the colours are not to be converted
		whole = append(whole, "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"...)
	}
	if len(tables) > 4 {
		whole = append(whole, tables[2:len(tables)-2]...)
	}
	whole = append(whole, packed[2:]...)
	w, h, err := jpegSize(whole)
	if err != nil {
		return nil, err
	}
	if w < columns || h < rows || w > f.pieces.width+64 || h > f.pieces.height+64 {
		return nil, errors.New("a piece has another size than the directory says")
	}
	return jpeg.Decode(bytes.NewReader(whole))
}

// fromPiece converts a decoded piece to RGB.
func (d *Decoder) fromPiece(f *tiffFile, dst *Image, m image.Image) error {
	switch m := m.(type) {
	case *image.Gray:
		d.fromImage(dst, m, White)
		if f.photometric == whiteIsZero {
			for i, v := range dst.Pix {
				dst.Pix[i] = 255 - v
			}
		}
		return nil
	case *image.CMYK: // the library takes inks for inverted, as Adobe's JPEGs have them
		for i, v := range m.Pix {
			m.Pix[i] = 255 - v
		}
		d.fromImage(dst, m, White)
		return nil
	case *image.YCbCr, *image.RGBA:
		d.fromImage(dst, m, White)
		return nil
	}
	return errors.New("a piece has other colours than the directory says")
}
