package picturecache

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
)

// A file is its head: the magic, then the whole id. Records follow it without gaps: a head, of which
// all numbers are little-endian,
//
//	0   checksum of the rest of the head
//	4   key
//	20  width, height in pixels
//	28  checksum of the pixels
//
// and 3*width*height bytes of pixels. Checksums are CRC-32 with Castagnoli's polynomial.
const (
	magic         = "moco pictures 1\n"
	fileHeadBytes = int64(len(magic) + 32)
	headBytes     = 32
)

// most is more than the pixels of any record take.
const most = 1 << 31

func fileHead(id [32]byte) []byte { return append([]byte(magic), id[:]...) }

// ours tells whether a file begins as a cache's does.
func ours(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	got := make([]byte, len(magic))
	_, err = io.ReadFull(f, got)
	return err == nil && string(got) == magic
}

// head is that of a record.
type head struct {
	key           Key
	width, height int
	sum           uint32
}

// bytes is the length of the record.
func (h head) bytes() int64 { return headBytes + 3*int64(h.width)*int64(h.height) }

func (h head) record(at int64) record { return record{at, h.width, h.height} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendRecord appends a record, with the checksum of its pixels.
func appendRecord(b []byte, h head, pix []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, h.key[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.width))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.height))
	b = binary.LittleEndian.AppendUint32(b, checksum(pix))
	binary.LittleEndian.PutUint32(b[at:], checksum(b[at+4:]))
	return append(b, pix...)
}

// parseHead reads the head of a record. It is false if there is none.
func parseHead(raw []byte) (h head, ok bool) {
	if binary.LittleEndian.Uint32(raw) != checksum(raw[4:headBytes]) {
		return h, false
	}
	copy(h.key[:], raw[4:])
	width, height := binary.LittleEndian.Uint32(raw[20:]), binary.LittleEndian.Uint32(raw[24:])
	h.width, h.height, h.sum = int(width), int(height), binary.LittleEndian.Uint32(raw[28:])
	return h, width > 0 && height > 0 && 3*uint64(width)*uint64(height) < most
}
