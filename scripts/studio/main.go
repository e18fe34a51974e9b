// Studio drives the page of a `moco studio` that runs, in a real browser.
//
//	studio label --url URL --count 500     label as a person would, whose answers are the folders' names,
//	                                       and compare what the page promised with what its CSV is worth
//	studio shots --url URL --out docs      take the pictures of docs/studio.md
//
// It needs chromium. A person's way is taken: keys and clicks, never the server's interface.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"moco/internal/browser"
)

type options struct {
	url    string
	count  int
	accept int
	out    string
	only   string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "studio:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var o options
	f := pflag.NewFlagSet("studio", pflag.ContinueOnError)
	f.StringVar(&o.url, "url", "", "the address that moco studio printed")
	f.IntVar(&o.count, "count", 500, "label: pictures to label")
	f.IntVar(&o.accept, "accept", 100, "label: how many of them are accepted in bulk")
	f.StringVar(&o.out, "out", ".", "shots: folder for the pictures")
	f.StringVar(&o.only, "only", "", "shots: only those whose names begin so")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.url == "" || f.NArg() != 1 {
		return errors.New("give label or shots, and --url")
	}
	b, err := browser.Start(context.Background())
	if err != nil {
		return err
	}
	defer b.Close()
	switch f.Arg(0) {
	case "label":
		return label(b, o)
	case "shots":
		return shots(b, o)
	}
	return fmt.Errorf("%q is neither label nor shots", f.Arg(0))
}

// open opens a page of the studio and waits until it is there.
func open(b *browser.Browser, o options, page string, look browser.Options) (*browser.Page, error) {
	p, err := b.Page(strings.TrimRight(o.url, "#")+"#"+page, look)
	if err != nil {
		return nil, err
	}
	return p, p.Wait(`document.documentElement.dataset.ready`)
}
