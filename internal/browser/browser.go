// Package browser drives a chromium, for the studio's tests, its screenshots and its measurements.
//
// What a page must never do is watched all the time: write an error to the console, fail in a
// script, or ask anybody but the server that it came from.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

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
	if err := chromedp.Do(tab); err != nil {
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
