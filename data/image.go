package data

import (
	"image"
	"io"
	"os"

	"moco/picture"
)

// Image is a decoded picture: 8-bit RGB, three bytes a pixel, row by row from the top. See
// [picture.Image].
type Image = picture.Image

// FromImage returns any decoded picture as an Image, as [Set.Read] would have given it, transparent
// pixels on white. A *Image is returned as it is, not copied. An image without pixels is an error.
func FromImage(src image.Image) (*Image, error) { return picture.FromImage(src, picture.White) }

// Decode reads one encoded image as [Set.Read] does: recognised by content, upright, 8-bit RGB,
// transparent pixels on white. Images of more than 100 million pixels and files of more than 1 GiB
// are refused. Package picture has more.
func Decode(r io.Reader) (*Image, error) { return picture.Decode(r) }

// DecodeFile is [Decode] on a file; its error names the file.
func DecodeFile(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := Decode(f)
	if err != nil {
		return nil, &BadImage{path, err}
	}
	return m, nil
}

// desk is what one reading of an image at a time needs.
type desk struct {
	file []byte // the encoded image
	picture.Decoder
	resize  picture.Resizer
	reduced Image // a frame
}
