package tfevents

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestChecksum: the values of RFC 3720, B.4, and the check value of the catalogue of CRCs.
func TestChecksum(t *testing.T) {
	t.Parallel()
	rising, falling := make([]byte, 32), make([]byte, 32)
	for i := range rising {
		rising[i], falling[i] = byte(i), byte(31-i)
	}
	command, err := hex.DecodeString("01c00000" + "00000000" + "00000000" + "00000000" + "14000000" + "00000400" + "00000014" +
		"00000018" + "28000000" + "00000000" + "02000000" + "00000000")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want uint32
	}{
		"zeros":             {make([]byte, 32), 0x8a9136aa},
		"ones":              {bytes.Repeat([]byte{0xff}, 32), 0x62a8ab43},
		"rising":            {rising, 0x46dd794e},
		"falling":           {falling, 0x113fdb5c},
		"an iSCSI read":     {command, 0xd9963a56},
		"the digits 1 to 9": {[]byte("123456789"), 0xe3069283},
	} {
		if got := crc32.Checksum(c.data, castagnoli); got != c.want {
			t.Errorf("%s: %08x, want %08x", name, got, c.want)
		}
	}
}

// known is the first record of an event file of the first version, as TensorFlow wrote it.
const known = "1800000000000000" + "a37f4b22" + "09" + "0000c025dd75d541" + "1a0d" + "627261696e2e4576656e743a31" + "ecf3328d"

func TestRecord(t *testing.T) {
	t.Parallel()
	want, err := hex.DecodeString(known)
	if err != nil {
		t.Fatal(err)
	}
	if got := appendRecord(nil, want[12:len(want)-4]); !bytes.Equal(got, want) {
		t.Errorf("the record is %x, want %x", got, want)
	}
	events, err := Read(bytes.NewReader(want))
	if err != nil || len(events) != 1 || events[0].Version != "brain.Event:1" || events[0].Seconds != 1440183447 {
		t.Errorf("it reads as %+v, %v", events, err)
	}
}

func clock() time.Time { return time.Unix(1700000000, 500e6) }

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(&b, 7, clock)
	loss := []Scalar{{"loss/train", 6.5}, {"loss/chance", 7.25}}
	if err := w.Write(7, loss...); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(0, Scalar{"accuracy/kNN", -0.5}); err != nil {
		t.Fatal(err)
	}
	want := []Event{
		{Seconds: 1700000000.5, Version: "brain.Event:2"},
		{Seconds: 1700000000.5, Step: 7, Restart: true},
		{Seconds: 1700000000.5, Step: 7, Scalars: loss},
		{Seconds: 1700000000.5, Scalars: []Scalar{{"accuracy/kNN", -0.5}}},
	}
	got, err := Read(bytes.NewReader(b.Bytes()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for cut := range b.Len() { // what a kill leaves
		got, err := Read(bytes.NewReader(b.Bytes()[:cut]))
		if err != nil || len(got) >= len(want) || !reflect.DeepEqual(got, append([]Event(nil), want[:len(got)]...)) {
			t.Fatalf("cut at byte %d: %+v, %v", cut, got, err)
		}
	}
	for at := range b.Len() { // damage is found
		raw := bytes.Clone(b.Bytes())
		raw[at] ^= 1
		if got, err := Read(bytes.NewReader(raw)); !errors.Is(err, errRecord) || len(got) >= len(want) {
			t.Fatalf("byte %d changed: %d events, %v", at, len(got), err)
		}
	}
	var first bytes.Buffer
	NewWriter(&first, 0, clock)
	if got, err := Read(&first); err != nil || len(got) != 1 {
		t.Errorf("a new run's file begins with %+v, %v", got, err)
	}
}

// failing is a disk that takes no more.
type failing struct{ writes int }

var errFull = errors.New("full")

func (f *failing) Write([]byte) (int, error) { f.writes++; return 0, errFull }

// TestFullDisk: after an error nothing is written that would follow half a record.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var disk failing
	w := NewWriter(&disk, 0, clock)
	for range 2 {
		if err := w.Write(1); !errors.Is(err, errFull) {
			t.Errorf("the error is %v", err)
		}
	}
	if disk.writes != 1 {
		t.Errorf("it was tried %d times", disk.writes)
	}
}

// TestName: later files come later, whatever the clock says.
func TestName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "log.jsonl"), filepath.Join(dir, "events.out.tfevents.x"), filepath.Join(dir, "9999999999.x")}
	for _, at := range []int64{1700000000, 1700000000, 1600000000, 1700000009} {
		names = append(names, Name(dir, time.Unix(at, 0)))
		for _, n := range names {
			if err := os.WriteFile(n, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, want := range []string{"1700000000", "1700000001", "1700000002", "1700000009"} {
		if got := filepath.Base(names[3+i]); got != "events.out.tfevents."+want+".moco" {
			t.Errorf("file %d is %s", i, got)
		}
	}
	if got := Name(filepath.Join(dir, "nothing"), clock()); !strings.Contains(got, "tfevents.1700000000") {
		t.Errorf("in a folder that is not there: %s", got)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	NewWriter(&b, 7, clock).Write(7, Scalar{"loss", 1})
	f.Add(b.Bytes())
	raw, _ := hex.DecodeString(known)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		Read(bytes.NewReader(data))
		var e Event
		e.parse(data) // behind the checksum, which a fuzzer does not find
		Read(bytes.NewReader(appendRecord(nil, data)))
	})
}
