package embed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moco"
	"moco/data"
	"moco/encoder"
	"moco/engine/cpu"
	"moco/internal/event"
	"moco/nn"
	"moco/vectors"
	"moco/weights"
)

// testEncoder is a tiny untrained encoder, opened from a file.
func testEncoder(t *testing.T, batch int) *encoder.Encoder {
	t.Helper()
	r := moco.Default()
	r.Encoder = nn.Config{Arch: "resnet18", Stem: "cifar", Width: 0.0625, Dim: 4, Head: "linear"}
	r.Views = moco.Views{Policy: "cifar", Size: 8}
	f := &weights.File{Metadata: encoder.Metadata(&r)}
	e, err := cpu.New(cpu.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := e.NewState()
	n, err := encoder.Following(r, s, encoder.Options{Engine: e, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	for _, p := range r.Encoder.Parameters() {
		x, err := s.Read("encoder_q." + p.Name)
		if err != nil {
			t.Fatal(err)
		}
		p.Initialise(x, 1)
		f.Tensors = append(f.Tensors, weights.Named{Name: p.Name, Tensor: x})
	}
	for _, b := range r.Encoder.Buffers() {
		x, err := s.Read("encoder_q." + b.Name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.Float32s() {
			x.Float32s()[i] = b.Start
		}
		f.Tensors = append(f.Tensors, weights.Named{Name: b.Name, Tensor: x})
	}
	path := filepath.Join(t.TempDir(), encoder.File)
	if _, err := weights.Save(path, f); err != nil {
		t.Fatal(err)
	}
	opened, err := encoder.OpenWith(context.Background(), path, encoder.Options{Engine: e, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// folder is a set of 11 images in two classes. The files of the broken ones are cut short.
func folder(t *testing.T, broken ...int) *data.Set {
	t.Helper()
	ctx := context.Background()
	drawn, err := data.Open(ctx, "builtin:test?n=11&size=10", data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer drawn.Close()
	dir := t.TempDir()
	for i := range drawn.Len() {
		var img data.Image
		var b bytes.Buffer
		if err := errors.Join(drawn.Read(i, &img), png.Encode(&b, &img)); err != nil {
			t.Fatal(err)
		}
		raw := b.Bytes()
		if slices.Contains(broken, i) {
			raw = raw[:len(raw)/2]
		}
		path := filepath.Join(dir, []string{"cat", "dog"}[i/6], fmt.Sprintf("%02d.png", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, raw, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	set, err := data.Open(ctx, dir, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func must(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestLocked: while a run writes its journal, a second run is refused, and the first one ends
// undisturbed.
func TestLocked(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := Options{Encoder: testEncoder(t, 2), Data: folder(t), Out: filepath.Join(t.TempDir(), "x.jsonl")}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	want, out := must(t, o.Out), filepath.Join(t.TempDir(), "x.jsonl")
	var second error
	o.Out = out
	o.Events = func(e event.Event) {
		if at, ok := e.(Progress); ok && at.Done == 4 {
			_, second = Run(ctx, Options{Encoder: testEncoder(t, 2), Data: o.Data, Out: out, Resume: true})
		}
	}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if !errors.As(second, &locked) || locked.Path != part(out) || locked.Holder.PID != os.Getpid() {
		t.Errorf("the second run gives %v", second)
	}
	if !bytes.Equal(must(t, out), want) {
		t.Error("the first run's file differs")
	}
	if left, err := filepath.Glob(out + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left over: %v (%v)", left, err)
	}
}

// TestResume: a run is stopped after any batch, or its journal is cut, damaged or zeroed anywhere,
// as a power cut does. The resumed run gives the same bytes.
func TestResume(t *testing.T) {
	ctx := context.Background()
	var log bytes.Buffer
	base := Options{Encoder: testEncoder(t, 2), Data: folder(t, 2, 3, 10), MaxBad: 0.3,
		Log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, ending := range []string{".parquet", ".npy", ".jsonl"} {
		o := base
		o.Out = filepath.Join(t.TempDir(), "x"+ending)
		done, err := Run(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if done.Rows != 8 || done.Dim != 32 || done.BadImages != 3 ||
			strings.Join(done.BadNames, " ") != "cat/02.png cat/03.png dog/10.png" {
			t.Fatalf("%s: done is %+v, want 8 rows and 3 unreadable images", ending, *done)
		}
		want := must(t, o.Out)
		if _, err := os.Stat(part(o.Out)); err == nil {
			t.Fatal("the journal is left over")
		}
		var whole []byte // the largest journal
		for stop := 1; stop <= 5; stop++ {
			o.Out = filepath.Join(t.TempDir(), "x"+ending)
			stopped, cancel := context.WithCancel(ctx)
			seen, last := 0, Done{}
			o.Events = func(e event.Event) {
				switch e := e.(type) {
				case Progress:
					if seen++; seen == stop {
						cancel()
					}
				case Done:
					last = e
				}
			}
			_, err := Run(stopped, o)
			cancel()
			var halted *StoppedError
			if !errors.Is(err, context.Canceled) || !errors.As(err, &halted) || !halted.Kept ||
				halted.Images != 11 || !last.Interrupted {
				t.Fatalf("stopped after batch %d: %v, the last event %+v", stop, err, last)
			}
			var left *UnfinishedError
			if _, err := Run(ctx, o); !errors.As(err, &left) || left.Journal != part(o.Out) {
				t.Fatalf("over a stopped run: %v", err)
			}
			whole = must(t, part(o.Out))
			o.Resume = true
			done, err := Run(ctx, o)
			if err != nil || done.BadImages != 3 {
				t.Fatalf("resume: %v, %+v", err, done)
			}
			if !bytes.Equal(must(t, o.Out), want) {
				t.Errorf("%s: resumed after batch %d, the file differs", ending, stop)
			}
			o.Resume = false
		}
		for cut := 0; cut < len(whole); cut += 41 {
			o.Out = filepath.Join(t.TempDir(), "x"+ending)
			raw := slices.Clone(whole[:cut])
			if cut%2 == 1 && cut > 300 { // damage in place of a cut, after the first line
				raw = slices.Clone(whole)
				raw[cut] ^= 0x10
			}
			// After a power cut, what was not synced may have its length but no content.
			if cut%3 == 1 {
				raw = append(slices.Clone(whole[:cut]), make([]byte, len(whole)-cut)...)
			}
			if err := os.WriteFile(part(o.Out), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			o.Resume, o.Events = true, nil
			if _, err := Run(ctx, o); err != nil {
				t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
			}
			if !bytes.Equal(must(t, o.Out), want) {
				t.Fatalf("%s: resumed from a journal cut at byte %d, the file differs", ending, cut)
			}
		}
	}
	if !strings.Contains(log.String(), "cat/02.png") {
		t.Error("the log does not name the unreadable images")
	}
}

func TestRunRefuses(t *testing.T) {
	ctx := context.Background()
	good, two := folder(t), testEncoder(t, 2)
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"an ending":     {func(o *Options) { o.Out = "x.csv" }, ".parquet, .npy, .jsonl"},
		"a layer":       {func(o *Options) { o.Layer = "neck" }, "head and backbone"},
		"another batch": {func(o *Options) { o.Encoder, o.Resume = testEncoder(t, 3), true }, "batch was 2 and is 3"},
		"another layer": {func(o *Options) { o.Layer, o.Resume = encoder.Head, true },
			"features was backbone and is head"},
		"other images": {func(o *Options) { o.Data, o.Resume = folder(t, 1), true }, "data was"},
		"a folder":     {func(o *Options) { o.Out = filepath.Join(o.Out, "nowhere", "x.npy") }, "nowhere"},
		"many broken images": {func(o *Options) {
			o.Data, o.Out = folder(t, 4, 5), filepath.Join(t.TempDir(), "y.npy")
		}, "2 of 11 images cannot be read, more than the share of 0.1"},
		"only broken images": {func(o *Options) {
			o.Data, o.Out, o.MaxBad = folder(t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), filepath.Join(t.TempDir(), "y.npy"), 1
		}, "none of the 11"},
		"a file in its place": {func(o *Options) {
			o.Out = filepath.Join(t.TempDir(), "y.npy")
			os.WriteFile(o.Out, []byte("x"), 0o644)
		}, "y.npy is there already"},
		"a file in the place of the names": {func(o *Options) {
			o.Out = filepath.Join(t.TempDir(), "y.npy")
			os.WriteFile(o.Out+".jsonl", []byte("x"), 0o644)
		}, "y.npy.jsonl is there already"},
		"a text in the journal's place": {func(o *Options) {
			o.Out, o.Resume = filepath.Join(t.TempDir(), "y.npy"), true
			os.WriteFile(part(o.Out), []byte("dear diary"), 0o644)
		}, "no journal"},
		"a journal of text": {func(o *Options) {
			o.Out, o.Resume = filepath.Join(t.TempDir(), "y.npy"), true
			os.WriteFile(part(o.Out), []byte("hello\n"), 0o644)
		}, "first line"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Encoder: two, Data: good, Out: filepath.Join(t.TempDir(), "x.npy"), MaxBad: 0.1}
			stopped, cancel := context.WithCancel(ctx)
			first := o
			first.Events = func(e event.Event) {
				if _, ok := e.(Progress); ok {
					cancel()
				}
			}
			if _, err := Run(stopped, first); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			c.change(&o)
			if _, err := Run(ctx, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one that says %q", err, c.want)
			}
		})
	}
}

// TestPut: a database gets the same rows as a file would have, and there is no journal.
func TestPut(t *testing.T) {
	ctx := context.Background()
	var got []string
	o := Options{Encoder: testEncoder(t, 2), Data: folder(t, 2), MaxBad: 0.3}
	o.Put = func(_ context.Context, rows []vectors.Row) error {
		for _, r := range rows {
			got = append(got, fmt.Sprint(r.Path, r.Label, len(r.Vector)))
		}
		return nil
	}
	done, err := Run(ctx, o)
	if err != nil || done.Rows != 10 || len(got) != 10 || got[2] != "cat/03.pngcat32" {
		t.Errorf("%v: %+v, rows %v", err, done, got)
	}
	broken := errors.New("connection lost")
	o.Put = func(context.Context, []vectors.Row) error { return broken }
	if _, err := Run(ctx, o); !errors.Is(err, broken) {
		t.Errorf("a database that fails gives %v", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	o.Put = func(context.Context, []vectors.Row) error { cancel(); return nil }
	var halted *StoppedError
	if _, err := Run(stopped, o); !errors.Is(err, context.Canceled) || !errors.As(err, &halted) || halted.Kept {
		t.Errorf("interrupted: %v", err)
	}
	o.Resume = true
	if _, err := Run(ctx, o); err == nil {
		t.Error("a database resumes")
	}
}

// TestDigests: each row has the digest of the bytes that its image was made of.
func TestDigests(t *testing.T) {
	set, out := folder(t), filepath.Join(t.TempDir(), "x.npy")
	if _, err := Run(context.Background(), Options{Encoder: testEncoder(t, 4), Data: set, Out: out}); err != nil {
		t.Fatal(err)
	}
	rows := rowsOf(t, out)
	for i, r := range rows {
		d, err := set.Digest(i)
		if err != nil || r.Size != d.Size || r.SHA256 != hex.EncodeToString(d.SHA256[:]) || r.Path != set.Name(i) {
			t.Errorf("row %d: %s, %d bytes, %s", i, r.Path, r.Size, r.SHA256)
		}
	}
	if len(rows) != set.Len() {
		t.Errorf("%d rows", len(rows))
	}
}

func rowsOf(t *testing.T, path string) (rows []vectors.Row) {
	t.Helper()
	r, err := vectors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for row, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		row.Vector = slices.Clone(row.Vector)
		rows = append(rows, row)
	}
	return rows
}

// TestResumeOfAnEarlierVersion: a journal without digests continues without them, and the log says
// so.
func TestResumeOfAnEarlierVersion(t *testing.T) {
	ctx := context.Background()
	o := Options{Encoder: testEncoder(t, 4), Data: folder(t), Out: filepath.Join(t.TempDir(), "x.jsonl")}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	want := rowsOf(t, o.Out)
	o.Out = filepath.Join(t.TempDir(), "y.jsonl")
	stopped, cancel := context.WithCancel(ctx)
	first := o
	first.Events = func(e event.Event) {
		if _, ok := e.(Progress); ok {
			cancel()
		}
	}
	if _, err := Run(stopped, first); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r := bufio.NewReader(bytes.NewReader(must(t, part(o.Out))))
	terms, _, err := readTerms(r)
	if err != nil {
		t.Fatal(err)
	}
	f := &frames{r: r, t: terms, total: o.Data.Len()}
	terms.Format = journalPlain
	head, _ := json.Marshal(terms)
	raw := append(head, '\n')
	for f.read() == nil {
		f.frame.digests = nil
		raw = f.frame.append(raw)
	}
	if err := os.WriteFile(part(o.Out), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o.Resume, o.Log = true, slog.New(slog.NewTextHandler(&log, nil))
	if _, err := Run(ctx, o); err != nil || !strings.Contains(log.String(), "earlier version") {
		t.Fatalf("%v, log: %s", err, &log)
	}
	got := rowsOf(t, o.Out)
	for i := range want {
		if i >= len(got) || got[i].SHA256 != "" || got[i].Path != want[i].Path || !slices.Equal(got[i].Vector, want[i].Vector) {
			t.Fatalf("row %d of %d is not that of %s", i, len(got), want[i].Path)
		}
	}
}

func FuzzJournal(f *testing.F) {
	t := terms{Format: journalFormat, Encoder: "e", Data: "d", Features: "head", Dim: 2, Precision: "fp32", Batch: 3,
		Engine: "cpu"}
	head, _ := json.Marshal(t)
	raw := append(head, '\n')
	one := frame{images: []uint32{0, 2}, bad: []uint32{1}, next: 3, digests: make([]data.Digest, 2),
		rows: []float32{1, 2, 3, 4}}
	raw = one.append(raw)
	last := frame{bad: []uint32{3}, next: 4}
	f.Add(last.append(raw))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bufio.NewReader(bytes.NewReader(raw))
		terms, start, err := readTerms(r)
		if err != nil {
			return
		}
		frames := &frames{r: r, t: terms, total: 1000}
		var back []byte
		for {
			err := frames.read()
			if err == io.EOF || err == errTorn {
				break
			}
			back = frames.frame.append(back)
		}
		if !bytes.Equal(back, raw[start:start+frames.bytes]) {
			t.Fatal("frames that are read are not those that would be written")
		}
	})
}
