package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/encoder"
	"moco/pretrain"
	"moco/studio"
	"moco/vectors"
)

const studioHelp = `Open a page in the browser to look at pictures, search them, label them and decide what to keep. The
server runs on this machine and answers only to it: the address that it prints holds a token, which
whoever asks must know. Pictures are only ever read, never moved or deleted.

Labels and decisions stand in one CSV file (path,label,decision), by default PATH.labels.csv beside
the data. Every change is on the disk before the page shows it, and several studios may have the
file open. What is computed, and thumbnails, are kept in a folder beside it.

With --model, or with --vectors that moco embed wrote, the page also has a map of all pictures,
search by picture, a classifier that follows each label, and the queues to clean up with. Without
them it says how to get a model. The folder of a run that is still training can be watched.

--listen takes another address than this machine's own, for instance 0.0.0.0, so that other machines
can open the page. What goes over the network is not encrypted then, and whoever knows the token
sees all pictures and can change all labels; so --listen needs a --token of yours of 16 letters or
more.`

const studioExample = `  moco studio --data photos/
  moco studio --data photos/ --model run
  moco studio --data photos/ --vectors photos.parquet --labels mine.csv
  moco studio --data photos/ --no-browser --port 8080`

// studioOptions are those of `moco studio`.
type studioOptions struct {
	source
	machine
	data, vectors, labels, run string
	port                       int
	noBrowser                  bool
	listen, token              string
}

func init() { register("", (*app).studioCommand) }

func (a *app) studioCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "studio --data PATH [--model DIR|FILE | --vectors FILE] [--labels FILE.csv]",
		Short:   "Look at pictures, search, label and clean them in the browser",
		Long:    studioHelp,
		Example: studioExample,
	}
	return subcommand(a, c, &studioOptions{}, runStudio)
}

func (o *studioOptions) bind(c *cobra.Command) {
	f := c.Flags()
	pathsFlag(c, &o.data, "data", "pictures to look at (required)")
	modelFlag(c, &o.model, "; or none")
	f.StringVar(&o.vectors, "vectors", "",
		"features of the pictures from a file that moco embed wrote, instead of encoding them")
	f.StringVar(&o.labels, "labels", "", "file of labels and decisions, made if it is not there (default PATH.labels.csv)")
	f.StringVar(&o.run, "run", "", "folder of a run that is training, to watch; that of --model if it is one")
	f.IntVar(&o.port, "port", 0, "port to answer on; 0 takes any that is free")
	f.BoolVar(&o.noBrowser, "no-browser", false, "do not open a browser")
	f.StringVar(&o.listen, "listen", "127.0.0.1", "address to answer on; another one than this machine's own needs --token")
	f.StringVar(&o.token, "token", "", "what whoever asks must know; random if not given")
	o.bindLayer(c)
	o.bindEncoding(c, 64)
	o.machine.bind(c)
	required(c, "data")
}

// minToken is the shortest token that is taken from a person.
const minToken = 16

func (o *studioOptions) parse(*cobra.Command, []string) error {
	ip := net.ParseIP(o.listen)
	if o.listen == "localhost" {
		ip, o.listen = net.IPv4(127, 0, 0, 1), "127.0.0.1"
	}
	switch {
	case ip == nil:
		return usagef("--listen %q: is an address such as 127.0.0.1 or 0.0.0.0", o.listen)
	case !ip.IsLoopback() && o.token == "":
		return usagef("--listen %s lets other machines open the page: whoever knows the token sees all pictures and can "+
			"change all labels, and nothing is encrypted on the way; give a --token of %d letters or more if you mean it",
			o.listen, minToken)
	case o.token != "" && len(o.token) < minToken:
		return usagef("--token has %d letters, and needs %d or more", len(o.token), minToken)
	case strings.Trim(o.token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		return usagef("--token is made of letters, digits, - and _")
	case o.port < 0 || o.port > 65535:
		return usagef("--port %d: is 0 to 65535", o.port)
	case o.labels != "" && filepath.Ext(o.labels) != ".csv":
		return usagef("--labels %s: the file is a .csv", o.labels)
	case o.model != "" && o.vectors != "" && !o.isEncoder():
		return usagef("give --model or --vectors, not both: vectors are features already")
	case o.model == string(pixels):
		return usagef("--model pixels: the studio needs an encoder, or none")
	}
	if o.vectors != "" {
		if err := vectors.Check(o.vectors); err != nil {
			return usagef("--vectors %w", err)
		}
	}
	if o.labels == "" {
		o.labels = labelsBeside(o.data)
	}
	return o.source.parse()
}

// labelsBeside is the file of labels of data for which none is named: beside a path that is there,
// else in the folder where the command is given.
func labelsBeside(path string) string {
	const ending, most = ".labels.csv", 100
	path = folderOf(path)
	if abs, err := filepath.Abs(path); err == nil {
		if _, err := os.Stat(abs); err == nil && filepath.Dir(abs) != abs {
			if clean := filepath.Clean(path); filepath.Base(clean) != "." && filepath.Base(clean) != ".." {
				return clean + ending
			}
			return abs + ending
		}
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|{},[]&=`, r) {
			return '-'
		}
		return r
	}, path)
	name = strings.Trim(name, "-.")
	return strings.ToValidUTF8(name[:min(len(name), most)], "") + ending
}

// folderOf is the folder of several files that all lie in one, such as a shell makes of photos/*.jpg;
// any other path stays. Names of images are the same in both.
func folderOf(path string) string {
	inside, several := strings.CutPrefix(path, "{")
	if !several {
		return path
	}
	all := strings.Split(strings.TrimSuffix(inside, "}"), ",")
	for _, p := range all {
		if filepath.Dir(p) != filepath.Dir(all[0]) || strings.ContainsAny(p, "{}*?[") {
			return path
		}
		if info, err := os.Stat(p); err != nil || info.IsDir() {
			return path
		}
	}
	return filepath.Dir(all[0])
}

// studioReady is the event of `moco studio` once it answers.
type studioReady struct {
	URL    string `json:"url"`    // with the token
	Labels string `json:"labels"` // the file of labels and decisions
	Images int    `json:"images"`
	// MemoryBytes is about what the pictures take at most: names, features, and what is made of them.
	MemoryBytes int64 `json:"memory_bytes"`
}

// studioDone is the last event of `moco studio`.
type studioDone struct {
	Labels   string `json:"labels"`
	Labelled int    `json:"labelled"` // pictures that have a label
}

func (studioReady) Kind() string { return "ready" }
func (studioDone) Kind() string  { return "done" }

func runStudio(ctx context.Context, a *app, o *studioOptions) (result, error) {
	e, err := o.engine(a)
	if err != nil {
		return nil, err
	}
	set, err := a.openOnce(ctx, o.data, data.Options{})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	watched, model := o.watched(), o.source
	if o.unfinished() {
		a.warn("%s has no encoder yet: it has one from its first checkpoint on. Until then the studio watches it; start the "+
			"studio again for the map and the search.", o.model)
		model.model = ""
	}
	from, err := model.open(ctx, a, e)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	s, err := studio.Open(ctx, studio.Options{
		Data: set, Name: filepath.Base(filepath.Clean(folderOf(o.data))), Labels: o.labels, Folder: studioFolder(o.labels),
		Engine: e, Encoder: from.encoder, Layer: o.layers[0], Model: model.model, Vectors: o.vectors, Run: watched,
		Advice: fmt.Sprintf("moco train --data %s --time 1h --out run, then moco studio --data %s --model run",
			word(o.data), word(o.data)),
		Token: o.token, Log: a.logger(),
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return nil, o.serve(ctx, a, s, set)
}

// serve answers until the command is interrupted.
func (o *studioOptions) serve(ctx context.Context, a *app, s *studio.Studio, set *data.Set) error {
	l, err := net.Listen("tcp", net.JoinHostPort(o.listen, strconv.Itoa(o.port)))
	if err != nil {
		return fmt.Errorf("--listen, --port: %w", err)
	}
	url := s.URL(l)
	ready := studioReady{URL: url, Labels: o.labels, Images: set.Len(), MemoryBytes: s.Memory()}
	err = a.tell(ready, func() {
		a.say("%d pictures; they take up to about %d MB of memory. Labels and decisions: %s",
			ready.Images, ready.MemoryBytes>>20, o.labels)
		a.say("%s", url)
		if ip := net.ParseIP(o.listen); !ip.IsLoopback() {
			a.warn("Other machines can open this page with the token in its address; nothing is encrypted on the way.")
		}
		a.say("Ctrl-C ends it; everything is saved.")
		if !o.noBrowser {
			if err := openBrowser(url); err != nil {
				a.warn("no browser opened (%v); open the address above in one", err)
			}
		}
	})
	if err != nil {
		l.Close()
		return err
	}
	if err := s.Serve(ctx, l); err != nil {
		return err
	}
	done := studioDone{Labels: o.labels, Labelled: s.Labelled()}
	return a.tell(done, func() { a.say("%d pictures are labelled, in %s", done.Labelled, o.labels) })
}

// watched is the folder of the run to watch, empty for none.
func (o *studioOptions) watched() string {
	if o.run != "" {
		return o.run
	}
	if o.model != "" && pretrain.IsRun(o.model) {
		return o.model
	}
	return ""
}

// unfinished tells whether the model is a run that has not saved an encoder yet.
func (o *studioOptions) unfinished() bool {
	if o.model == "" || !pretrain.IsRun(o.model) {
		return false
	}
	_, err := os.Stat(filepath.Join(o.model, encoder.File))
	return errors.Is(err, fs.ErrNotExist)
}

// studioFolder is where a studio keeps what it computes, beside its labels.
func studioFolder(labels string) string {
	base := strings.TrimSuffix(labels, ".csv")
	return strings.TrimSuffix(base, ".labels") + ".studio"
}

// openBrowser opens an address in the person's browser.
func openBrowser(url string) error {
	var c *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		c = exec.Command("open", url)
	case "windows":
		c = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	default:
		c = exec.Command("xdg-open", url)
	}
	if err := c.Start(); err != nil {
		return err
	}
	go c.Wait() // so that it leaves no zombie
	return nil
}

// word is a path as it is typed in a shell.
func word(path string) string {
	if strings.ContainsAny(path, " \t'\"$&|;*?()<>`\\") {
		return strconv.Quote(path)
	}
	return cmp.Or(path, ".")
}
