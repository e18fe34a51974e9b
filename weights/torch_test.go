package weights

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/tensor"
	"moco/weights/internal/pickle"
)

// The files that PyTorch itself has made lie in testdata/import of package encoder, whose tests
// hold them to PyTorch's features. Here are bytes that PyTorch would not write.

// p joins the operations of a pickle.
func p(parts ...string) string { return "\x80\x02" + strings.Join(parts, "") + "." }

func text(s string) string { return "X" + le32(len(s)) + s }
func le32(n int) string    { return string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
func le64(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
func number(n int) string  { return "J" + le32(n) }
func numbers(n ...int) string {
	out := "("
	for _, v := range n {
		out += number(v)
	}
	return out + "t"
}

// persistent refers to a storage.
func persistent(kind, key string, elements int) string {
	return "(" + text("storage") + "ctorch\n" + kind + "\n" + text(key) + text("cpu") + number(elements) + "tQ"
}

// rebuilt is a tensor of a storage.
func rebuilt(storage string, offset int, size, stride string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + size + stride + "\x89ccollections\nOrderedDict\n)RtR"
}

// one is a dictionary of one tensor.
func one(name, t string) string { return "}" + text(name) + t + "s" }

// zipped is a file of the zip format.
func zipped(t testing.TB, method uint16, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: members[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(members[i+1]))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// legacy is a file of the format before.
func legacy(object string, keys []string, storages ...string) []byte {
	out := p("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + p("M\xe9\x03") + p("}"+text("little_endian")+"\x88s") + object
	list := "]"
	for _, key := range keys {
		list += text(key) + "a"
	}
	return []byte(out + p(list) + strings.Join(storages, ""))
}

// tarred is a file of the oldest format.
func tarred(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w.WriteHeader(&tar.Header{Name: members[i], Size: int64(len(members[i+1])), Mode: 0o600, Format: tar.FormatUSTAR})
		w.Write([]byte(members[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var square = p(one("w", rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(2, 2), numbers(2, 1))))

const sixteen = "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40" // 1, 2, 3, 4

func TestTorch(t *testing.T) {
	whole := func(object string) []byte { return zipped(t, zip.Store, "a/data.pkl", object, "a/data/0", sixteen) }
	floats := func(size, stride string, offset int) string {
		return p(one("w", rebuilt(persistent("FloatStorage", "0", 4), offset, size, stride)))
	}
	typed := func(kind string, n int, raw string) []byte {
		return zipped(t, zip.Deflate, "a/data.pkl", p(one("w", rebuilt(persistent(kind, "0", n), 0, numbers(n), numbers(1)))), "a/data/0", raw)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"zip":               {whole(square), "w float32 2x2 [1 2 3 4]"},
		"deflated":          {zipped(t, zip.Deflate, "a/data.pkl", square, "a/data/0", sixteen, "a/byteorder", "little"), "w float32 2x2 [1 2 3 4]"},
		"legacy":            {legacy(square, []string{"0"}, le64(4)+sixteen), "w float32 2x2 [1 2 3 4]"},
		"transposed":        {whole(floats(numbers(2, 2), numbers(1, 2), 0)), "w float32 2x2 [1 3 2 4]"},
		"a part":            {whole(floats(numbers(2), numbers(2), 1)), "w float32 2 [2 4]"},
		"repeated":          {whole(floats(numbers(2, 3), numbers(1, 0), 0)), "w float32 2x3 [1 1 1 2 2 2]"},
		"a number":          {whole(floats(")", ")", 3)), "w float32 scalar [4]"},
		"empty":             {whole(floats(numbers(0, 7), numbers(7, 1), 4)), "w float32 0x7 []"},
		"lists and numbers": {whole(p("}K\x07(" + rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1)) + "Nts")), "7.0 float32 1 [1]"},
		"a bare tensor":     {whole(p(rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1)))), "tensor float32 1 [1]"},
		"a bare storage":    {whole(p(one("s", persistent("FloatStorage", "0", 4)))), "s float32 4 [1 2 3 4]"},
		"in a record":       {whole(p(one("args", "cargparse\nNamespace\n)\x81"+one("w", rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1)))+"b"))), "args.w float32 1 [1]"},
		"half":              {typed("HalfStorage", 2, "\x00\x3c\x00\xc5"), "w float32 2 [1 -5]"},
		"bfloat16":          {typed("BFloat16Storage", 2, "\x80\x3f\x00\xc0"), "w float32 2 [1 -2]"},
		"double":            {typed("DoubleStorage", 1, "\x00\x00\x00\x00\x00\x00\x02\xc0"), "w float32 1 [-2.25]"},
		"long":              {typed("LongStorage", 1, "\xff\xff\xff\xff\xff\xff\xff\xff"), "w int64 1 [-1]"},
		"short":             {typed("ShortStorage", 2, "\xff\xff\x01\x00"), "w int32 2 [-1 1]"},
		"char":              {typed("CharStorage", 2, "\xff\x01"), "w int32 2 [-1 1]"},
		"bool":              {typed("BoolStorage", 2, "\x00\x01"), "w uint8 2 [0 1]"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Read(bytes.NewReader(c.raw), int64(len(c.raw)))
			if err != nil {
				t.Fatal(err)
			}
			if got := printed(f.Tensors[0]); got != c.want || len(f.Tensors) != 1 {
				t.Errorf("read %s (of %d), want %s", got, len(f.Tensors), c.want)
			}
		})
	}
}

func printed(n Named) string {
	values := fmt.Sprint(n.Tensor.Bytes())
	switch n.Tensor.Type {
	case tensor.Float32:
		values = fmt.Sprint(n.Tensor.Float32s())
	case tensor.Int32:
		values = fmt.Sprint(n.Tensor.Int32s())
	case tensor.Int64:
		values = fmt.Sprint(n.Tensor.Int64s())
	}
	return fmt.Sprintf("%s %v %v %s", n.Name, n.Tensor.Type, n.Tensor.Shape, values)
}

// TestTorchRefuses: each is refused by one sentence, and whatever it asks for is not done.
func TestTorchRefuses(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	whole := func(object string) []byte { return zipped(t, zip.Store, "a/data.pkl", object, "a/data/0", sixteen) }
	floats := func(n, offset int, size, stride string) []byte {
		return whole(p(one("w", rebuilt(persistent("FloatStorage", "0", n), offset, size, stride))))
	}
	tower := strings.Repeat("]", 60) + strings.Repeat("a", 59)
	doubling := "]q\x00" // each list holds the one before twice
	for range 31 {
		doubling += "]h\x00ah\x00aq\x00"
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"os.system":            {whole(p("cos\nsystem\n(" + text("touch "+ran) + "tR")), "holds no tensors, but asks for os.system; nothing was run"},
		"posix.system, legacy": {legacy(p("cposix\nsystem\n("+text("touch "+ran)+"tR"), nil), "asks for posix.system"},
		"an old-style call":    {whole(p("(" + text("touch "+ran) + "ios\nsystem\n")), "asks for os.system"},
		"by the stack":         {whole(p("\x8c\x02os\x8c\x06system\x93" + text("x") + "\x85R")), "asks for os.system"},
		"eval":                 {whole(p("cbuiltins\neval\n(" + text("1") + "tR")), "asks for builtins.eval"},
		"getattr":              {whole(p("c__builtin__\ngetattr\n")), "asks for __builtin__.getattr"},
		"bytes to load":        {whole(p("ctorch.storage\n_load_from_bytes\n")), "asks for torch.storage._load_from_bytes"},
		"a module":             {whole(p("ctorchvision.models.resnet\nResNet\n)\x81")), "holds no tensors, but asks for torchvision.models.resnet.ResNet"},
		"a layer":              {whole(p("ctorch.nn.modules.conv\nConv2d\n)\x81")), "asks for torch.nn.modules.conv.Conv2d"},
		"an extension":         {whole(p("\x82\x01")), "operation 0x82"},
		"an operation":         {whole(p("\xff")), "operation 0xff"},
		"no storage":           {whole(p(one("w", rebuilt("N", 0, numbers(1), numbers(1))))), "needs a storage"},
		"a persistent number":  {whole(p("K\x01Q")), "no storage"},
		"two sizes":            {whole(p("(" + persistent("FloatStorage", "0", 4) + persistent("FloatStorage", "0", 3) + "t")), "is said to be"},
		"a reused view":        {whole(p("(" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + "K\x04" + numbers(1) + "tQ")), "part of another"},
		"negative strides":     {floats(4, 3, numbers(2), numbers(-1)), "do not lie within"},
		"negative size":        {floats(4, 0, numbers(-2), numbers(1)), "do not lie within"},
		"negative offset":      {floats(4, -1, numbers(1), numbers(1)), "do not lie within"},
		"beyond the storage":   {floats(4, 1, numbers(2, 2), numbers(2, 1)), "do not lie within its storage of 4"},
		"overflow":             {floats(4, 0, numbers(1<<30, 1<<30, 1<<30), numbers(0, 0, 0)), "do not lie within"},
		"strides overflow":     {floats(4, 0, numbers(1<<31-1, 1<<31-1, 1<<31-1), numbers(1<<31-1, 1<<31-1, 1<<31-1)), "do not lie within"},
		"sizes and strides":    {floats(4, 0, numbers(1, 1), numbers(1)), "needs a storage"},
		"a size of text":       {floats(4, 0, text("2"), numbers(1)), "needs a storage"},
		"expanded":             {floats(4, 0, numbers(1<<20), numbers(0)), "too often"},
		"a short storage":      {floats(5, 0, numbers(5), numbers(1)), "has 16 bytes, where its tensors need 20"},
		"a long storage":       {floats(3, 0, numbers(3), numbers(1)), "has 16 bytes, where its tensors need 12"},
		"a huge storage":       {floats(1<<31-1, 0, numbers(1), numbers(1)), "has 16 bytes"},
		"negative elements":    {floats(-4, 0, numbers(0), numbers(1)), "no storage"},
		"a missing storage":    {zipped(t, zip.Store, "a/data.pkl", square), `lacks "data/0"`},
		"no tensors":           {whole(p("}")), "holds no tensors"},
		"twice":                {whole(p("}(" + text("w") + rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1)) + text("w") + rebuilt(persistent("FloatStorage", "0", 4), 1, numbers(1), numbers(1)) + "u")), "two tensors are named"},
		"a name not UTF-8":     {whole(p(one("\xff", rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1))))), "cannot be named"},
		"a reserved name":      {whole(p(one("__metadata__", rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1))))), "cannot be named"},
		"a long name":          {whole(p(one(strings.Repeat("x", 2000), rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1))))), "a name of more than"},
		"a key of None":        {whole(p("}NNs")), "holds no tensors"},
		"nested deep":          {whole(p(tower)), "holds no tensors"},
		"holds itself":         {whole(p("]q\x00h\x00a")), "holds no tensors"},
		"doubling":             {whole(p(doubling)), "holds no tensors"},
		"marks":                {whole(p(strings.Repeat("(", 100_000))), "damaged"},
		"operations":           {whole(p(strings.Repeat("N0", 1<<20))), "not believable"},
		"a huge text":          {whole(p("X\xff\xff\xff\xff")), "not believable"},
		"huge bytes":           {whole(p("\x8e" + le64(1<<62))), "not believable"},
		"a huge frame":         {whole(p("\x95" + le64(1<<40))), "stack is empty"},
		"a long number":        {whole(p("\x8b" + le32(1<<20))), "not believable"},
		"a long line":          {whole(p("I" + strings.Repeat("1", 5000) + "\n")), "longer than"},
		"a huge memo":          {whole(p("]r\xff\xff\xff\xffj\xfe\xff\xff\xffa")), "not kept"},
		"an empty stack":       {whole(p("R")), "damaged"},
		"half a dictionary":    {whole(p("(" + text("a") + "d")), "damaged"},
		"a list for a key":     {whole(p("ccollections\nOrderedDict\n)R]Ns")), "holds no tensors"},
		"no stop":              {whole("\x80\x02}"), "cut short"},
		"another protocol":     {whole("\x80\x09}."), "damaged"},
		"no data.pkl":          {zipped(t, zip.Store, "a/data/0", "x"), "a zip archive"},
		"two data.pkl":         {zipped(t, zip.Store, "a/data.pkl", square, "b/data.pkl", square), "more than one"},
		"a member twice":       {zipped(t, zip.Store, "a/data.pkl", square, "a/data/0", sixteen, "a/data/0", sixteen), "twice"},
		"TorchScript":          {zipped(t, zip.Store, "a/data.pkl", square, "a/constants.pkl", ""), "TorchScript"},
		"big-endian":           {zipped(t, zip.Store, "a/data.pkl", square, "a/data/0", sixteen, "a/byteorder", "big"), "big-endian"},
		"a zip bomb":           {zipped(t, zip.Deflate, "a/data.pkl", p(one("w", rebuilt(persistent("FloatStorage", "0", 8<<20), 0, numbers(1), numbers(1)))), "a/data/0", strings.Repeat("\x00", 32<<20)), "more than 20 times its size"},
		"a bomb for a pickle":  {zipped(t, zip.Deflate, "a/data.pkl", strings.Repeat("\x00", 32<<20)), "more than 20 times its size"},
		"a damaged byte":       {bytes.Replace(whole(square), []byte(sixteen), []byte("0123456789abcdef"), 1), "checksum"},

		"another pickle":           {[]byte(p("K\x01")), "a pickle that torch.save has not written"},
		"another version":          {[]byte(p("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + p("K\x01")), "version 1"},
		"legacy, a short storage":  {legacy(square, []string{"0"}, le64(4)+sixteen[:15]), "cut short"},
		"legacy, wrong elements":   {legacy(square, []string{"0"}, le64(3)+sixteen[:12]), "holds 3 elements, where its tensors say 4"},
		"legacy, huge elements":    {legacy(square, []string{"0"}, le64(1<<62)+sixteen), "cut short"},
		"legacy, negative":         {legacy(square, []string{"0"}, le64(1<<64-1)+sixteen), "cut short"},
		"legacy, bytes behind":     {legacy(square, []string{"0"}, le64(4)+sixteen+"x"), "1 bytes follow"},
		"legacy, not listed":       {legacy(square, nil), "is used, but not in the file"},
		"legacy, listed twice":     {legacy(square, []string{"0", "0"}, le64(4)+sixteen, le64(4)+sixteen), "listed twice"},
		"legacy, unknown storage":  {legacy(square, []string{"0", "1"}, le64(4)+sixteen, le64(4)+sixteen), "no tensor uses it"},
		"legacy, two tensors' use": {legacy(p("("+persistent("FloatStorage", "0", 4)+persistent("LongStorage", "0", 4)+"t"), []string{"0"}), "is said to be"},

		"a tar of images":    {tarred(t, "a.jpg", "x"), "a tar archive, not a file of weights that can be read; it holds pictures"},
		"tar, no tensors":    {tarred(t, "storages", p("K\x00")+p("]"), "tensors", p("K\x00"), "pickle", p("}")), "holds no tensors"},
		"tar, many storages": {tarred(t, "storages", p("J\xff\xff\xff\x7f"), "tensors", p("K\x00"), "pickle", p("}")), "count"},
		"tar, a call":        {tarred(t, "storages", p("K\x00")+p("]"), "tensors", p("K\x00"), "pickle", p("cos\nsystem\n("+text("touch "+ran)+"tR")), "asks for os.system"},
		"tar, no such":       {tarred(t, "storages", p("K\x00")+p("]"), "tensors", p("K\x00"), "pickle", p("K\x01Q")), "no tensor of the archive"},
		"tar, too many axes": {tarred(t, "storages", p("K\x01")+p("(K\x00"+text("cpu")+"ctorch\nFloatStorage\nt")+le64(1)+sixteen[:4]+p("]"), "tensors", p("K\x01")+p("(K\x01K\x00Nt")+le64(99), "pickle", p("}")), "list of tensors is damaged"},
		"tar, short storage": {tarred(t, "storages", p("K\x01")+p("(K\x00"+text("cpu")+"ctorch\nFloatStorage\nt")+le64(9)+sixteen, "tensors", p("K\x00"), "pickle", p("}")), "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.raw), int64(len(c.raw)))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
				t.Errorf("the error is %v, want one line that says %q", err, c.want)
			}
		})
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a pickle has run a command")
	}
}

// TestTorchCutShort: no beginning of a file is taken for a whole one, nor does any make the reader
// fail in another way.
func TestTorchCutShort(t *testing.T) {
	number := p("(K\x00" + text("cpu") + "ctorch\nFloatStorage\nt")
	old := tarred(t, "storages", p("K\x01")+number+le64(4)+sixteen+p("]"), "tensors", p("K\x01")+p("(K\x05K\x00Nt")+le64(1)+le64(4)+le64(1)+le64(0), "pickle", p(one("w", "K\x05Q")))
	for name, raw := range map[string][]byte{
		"zip": zipped(t, zip.Store, "a/data.pkl", square, "a/data/0", sixteen), "legacy": legacy(square, []string{"0"}, le64(4)+sixteen), "tar": old,
	} {
		if _, err := Read(bytes.NewReader(raw), int64(len(raw))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "tar" {
			raw = raw[:len(raw)-1024-511] // blocks of zeros end the archive and its last member
		}
		for n := range raw {
			if _, err := Read(bytes.NewReader(raw[:n]), int64(n)); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %d of %d bytes: %v", name, n, len(raw), err)
			}
		}
	}
}

// FuzzTorch: whatever the bytes, a file is read or refused; what is read can be written and read
// again.
func FuzzTorch(f *testing.F) {
	f.Add(zipped(f, zip.Store, "a/data.pkl", square, "a/data/0", sixteen))
	f.Add(zipped(f, zip.Deflate, "a/data.pkl", square, "a/data/0", sixteen))
	f.Add(legacy(square, []string{"0"}, le64(4)+sixteen))
	f.Add(legacy(p(one("a", "cargparse\nNamespace\n)\x81"+one("w", rebuilt(persistent("HalfStorage", "0", 2), 0, numbers(2), numbers(1)))+"b")), []string{"0"}, le64(2)+sixteen[:4]))
	f.Add(tarred(f, "storages", p("K\x01")+p("(K\x00"+text("cpu")+"ctorch\nFloatStorage\nt")+le64(4)+sixteen+p("]"), "tensors", p("K\x01")+p("(K\x05K\x00Nt")+le64(1)+le64(4)+le64(1)+le64(0), "pickle", p(one("w", "K\x05Q"))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Bytes of a zip archive or a legacy file as they are; as an object of either too, which a
		// change of bytes seldom reaches through checksums.
		read(t, raw)
		read(t, zipped(t, zip.Store, "a/data.pkl", string(raw), "a/data/0", sixteen))
		read(t, legacy(string(raw), []string{"0"}, le64(4)+sixteen))
	})
}

// FuzzPickle: whatever a pickle holds, tensors are found in it or an error says why not.
func FuzzPickle(f *testing.F) {
	f.Add([]byte(square))
	f.Add([]byte(p("(" + text("a") + "K\x01M\x02\x00J\x01\x00\x00\x00G\x00\x00\x00\x00\x00\x00\x00\x00l\x8a\x01\x02\x8c\x01ad")))
	f.Add([]byte(p("ccollections\nOrderedDict\n)R}" + text("a") + "NsbI1\nF1.5\nS'a'\nVb\np0\ng0\n")))
	f.Add([]byte(p("cm\nNet\n)\x81}(" + text("_parameters") + "}" + text("_modules") + "}ub")))
	f.Add([]byte(p("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\nN(" +
		rebuilt(persistent("FloatStorage", "0", 4), 0, numbers(1), numbers(1)) + "\x88}t}tR")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := pickle.Decode(raw)
		if err != nil {
			return
		}
		refers, err := shelf{}.loadAll(p)
		if err != nil {
			return
		}
		file := &torchFile{object: p.Value, refers: refers, globals: p.Globals, read: func(s *storage) ([]byte, error) {
			if s.bytes > 1<<20 {
				return nil, errShort
			}
			return make([]byte, s.bytes), nil
		}}
		out, err := file.file("FILE")
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Errorf("the error is not one line: %q", err)
			}
			return
		}
		for _, n := range out.Tensors {
			if out.Get(n.Name) != n.Tensor {
				t.Errorf("tensor %q is not found by its name", n.Name)
			}
		}
	})
}

func read(t *testing.T, raw []byte) {
	file, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return
	}
	again := encode(t, file)
	if back, err := Read(bytes.NewReader(again), int64(len(again))); err != nil || !bytes.Equal(encode(t, back), again) {
		t.Fatalf("what was read cannot be written and read again (%v)", err)
	}
}
