// Package browser drives a chromium, for the studio's tests, its screenshots and its measurements.
//
// What a page must never do is watched all the time: write an error to the console, fail in a script,
// or ask anybody but the server that it came from.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// ErrNone says that there is no chromium on this machine.
var ErrNone = errors.New("no chromium found (Debian package chromium); MOCO_TEST_BROWSER=PATH names one elsewhere")

// Find gives the path of a chromium. MOCO_TEST_BROWSER may name one.
func Find() (string, error) {
	if named := os.Getenv("MOCO_TEST_BROWSER"); strings.ContainsAny(named, `/\`) {
		return named, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	return "", ErrNone
}

// A Browser is one process of chromium. Its pages share cookies and cache.
type Browser struct {
	ctx  context.Context
	stop []context.CancelFunc
}

// Start opens a browser without a window. Close ends it, and so does the end of ctx.
func Start(ctx context.Context) (*Browser, error) {
	found, err := Find()
	if err != nil {
		return nil, err
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(found),
		chromedp.Flag("no-sandbox", true), // a container's root cannot have one; the pages are our own
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("use-angle", "swiftshader"), // WebGL without a graphics card
		chromedp.Flag("enable-unsafe-swiftshader", true),
		chromedp.Flag("disable-gpu-sandbox", true),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(ctx, options...)
	quiet := func(string, ...any) {}
	tab, stopTab := chromedp.NewContext(allocator, chromedp.WithLogf(quiet), chromedp.WithErrorf(quiet))
	b := &Browser{ctx: tab, stop: []context.CancelFunc{stopTab, stopAllocator}}
	if err := chromedp.Run(tab); err != nil {
		b.Close()
		return nil, fmt.Errorf("start %s: %w", found, err)
	}
	return b, nil
}

// Close ends the browser.
func (b *Browser) Close() {
	for _, stop := range b.stop {
		stop()
	}
}

// A Page is a tab. Its context is for chromedp's actions.
type Page struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	origin string
	faults []string
}

// Options are how a page looks at the world.
type Options struct {
	Width, Height int  // pixels; 1280 x 720 where they are 0
	Dark          bool // whether the person likes dark pages
}

// Page opens a tab on an address.
func (b *Browser) Page(address string, o Options) (*Page, error) {
	at, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if o.Width == 0 || o.Height == 0 {
		o.Width, o.Height = 1280, 720
	}
	scheme := "light"
	if o.Dark {
		scheme = "dark"
	}
	p := &Page{origin: at.Scheme + "://" + at.Host}
	p.ctx, p.cancel = chromedp.NewContext(b.ctx)
	chromedp.ListenTarget(p.ctx, p.heard)
	err = p.Do(
		log.Enable(), network.Enable(),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
		}),
		chromedp.EmulateViewport(int64(o.Width), int64(o.Height)),
		chromedp.Navigate(address),
	)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	return p, nil
}

// Close closes the tab.
func (p *Page) Close() { p.cancel() }

// Do runs chromedp's actions one after another.
func (p *Page) Do(actions ...chromedp.Action) error { return chromedp.Run(p.ctx, actions...) }

// Faults lists what the page did that it must not: errors on the console, requests that leave the origin.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.faults)
}

func (p *Page) fault(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, arguments...))
}

func (p *Page) heard(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.fault("exception: %s", e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeAssert {
			p.fault("console: %s", said(e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError {
			p.fault("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !p.may(e.Request.URL) {
			p.fault("request to %s", e.Request.URL)
		}
	}
}

// may tells whether the page may ask for an address: of its own server, or of what it holds itself.
func (p *Page) may(address string) bool {
	for _, own := range []string{p.origin + "/", "blob:" + p.origin + "/", "data:", "about:"} {
		if strings.HasPrefix(address, own) {
			return true
		}
	}
	return false
}

func said(values []*runtime.RemoteObject) string {
	var parts []string
	for _, v := range values {
		if v.Value != nil {
			parts = append(parts, string(v.Value))
		} else {
			parts = append(parts, v.Description)
		}
	}
	return strings.Join(parts, " ")
}
