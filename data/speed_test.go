package data

import (
	"context"
	"os"
	"testing"
	"time"
	"bytes"
	"fmt"
	"os/exec"
)

func TestDjpegTmp(t *testing.T) {
	start := time.Now()
	s, err := Open(context.Background(), os.Getenv("MOCO_TEST_CIFAR10"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s.Len(), s.Kind(), s.Classes(), s.Name(0), time.Since(start))
	start = time.Now()
	t.Log(s.Fingerprint(), time.Since(start))
	start = time.Now()
	t.Logf("%+v %v", s.Describe(context.Background(), Survey{}), time.Since(start))
	var m Image
	hist := map[int]int{}
	e := s.backend.(*encodedImages)
	for i := 0; i < s.Len(); i += 500 {
		s.Read(i, &m)
		b, _ := e.box.read(e.entries[i], nil)
		cmd := exec.Command("/tmp/debs/root/usr/bin/djpeg", "-ppm")
		cmd.Env = []string{"LD_LIBRARY_PATH=/tmp/debs/root/usr/lib/x86_64-linux-gnu"}
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		out = out[len(out)-3072:]
		for j := range out {
			hist[int(out[j])-int(m.Pix[j])]++
		}
	}
	fmt.Println(hist)
}

func BenchmarkReadTar(b *testing.B) {
	for _, cache := range []int64{0, 1 << 30} {
		s, err := Open(context.Background(), os.Getenv("MOCO_TEST_CIFAR10"), Options{CacheBytes: cache})
		if err != nil {
			b.Skip(err)
		}
		b.Run(fmt.Sprint(cache), func(b *testing.B) {
			var m Image
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Read(i*7919%5000, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
