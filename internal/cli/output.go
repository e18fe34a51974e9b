package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"moco/internal/atomicfile"
)

// output is a file that a command writes where one of its flags says.
type output struct {
	flag  string                 // such as "--out"
	path  string                 // empty: none is wanted
	force bool                   // what is there may be replaced, whatever it is
	own   func(path string) bool // finds what moco wrote, which may always be replaced; nil: nothing
}

// writer is options of a command that writes files where its flags say.
type writer interface{ outputs() []output }

// forceFlag declares --force.
func forceFlag(c *cobra.Command, force *bool) {
	c.Flags().BoolVar(force, "force", false, "replace a file that is there already, whatever it holds")
}

// check tells before the work whether the file can be written.
func (o output) check() error {
	if o.path == "" {
		return nil
	}
	if err := folderFor(o.flag, o.path); err != nil || o.force {
		return err
	}
	if err := atomicfile.Free(o.path, o.own); err != nil {
		return fmt.Errorf("%s: %w", o.flag, err)
	}
	return nil
}

// folderFor checks now, not after the work, that a file can be written where a flag says; "" is
// none.
func folderFor(flag, path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return fmt.Errorf("%s %s: there is no folder %s to write it in", flag, path, filepath.Dir(path))
	}
	return nil
}

// ready reads a command line into options, and checks the files that the command will write.
func ready(o options, c *cobra.Command, args []string) error {
	if err := o.parse(c, args); err != nil {
		return err
	}
	if w, ok := o.(writer); ok {
		for _, file := range w.outputs() {
			if err := file.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveWay keeps what the command says out of a file that it writes: if that is its standard output,
// people read on standard error, and programs cannot read events.
func (s *screen) giveWay(o options) error {
	w, ok := o.(writer)
	out, file := s.out.(*os.File)
	if !ok || !file {
		return nil
	}
	here, err := out.Stat()
	if err != nil {
		return nil
	}
	for _, o := range w.outputs() {
		if there, err := os.Stat(o.path); err != nil || o.path == os.DevNull || !os.SameFile(here, there) {
			continue
		}
		if s.json {
			return usagef("%s %s is standard output, where --json writes events; leave out one of them", o.flag, o.path)
		}
		s.out = s.err
	}
	return nil
}
