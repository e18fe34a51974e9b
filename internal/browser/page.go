package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long Wait waits: long, since a busy machine is no fault of the page.
const patience = 60 * time.Second

// A Page is a tab.
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
	p := &Page{origin: at.Scheme + "://" + at.Host}
	p.ctx, p.cancel = chromedp.NewContext(b.ctx, chromedp.WithListener(p.heard))

	if err := p.prepare(o); err != nil {
		p.Close()
		return nil, err
	}

	if err := p.Go(address); err != nil {
		p.Close()
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	return p, nil
}

func (p *Page) prepare(o Options) error {
	if o.Width == 0 || o.Height == 0 {
		o.Width, o.Height = 1280, 720
	}
	scheme := "light"
	if o.Dark {
		scheme = "dark"
	}
	if _, err := chromedp.Call(p.ctx, log.Enable, cdp.Empty{}); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
	}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	return p.do(chromedp.EmulateViewport(int64(o.Width), int64(o.Height)))
}

// do runs one action, within the page's patience.
func (p *Page) do(action chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Do(ctx, action)
}

// Close closes the tab.
func (p *Page) Close() { p.cancel() }

// Go opens another address in the tab.
func (p *Page) Go(address string) error { return p.do(chromedp.Navigate(address)) }

// Reload opens the page again.
func (p *Page) Reload() error { return p.do(chromedp.Reload()) }

// Eval gives what a JavaScript expression is; a promise is waited for.
func Eval[T any](p *Page, expression string) (T, error) {
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return value, fmt.Errorf("%s: %w", expression, err)
	}
	return value, nil
}

// Wait waits until a JavaScript expression is true.
func (p *Page) Wait(expression string) error {
	wait := chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingTimeout(patience),
		chromedp.WithPollingInterval(20*time.Millisecond))
	if _, err := chromedp.Run(p.ctx, wait); err != nil {
		return fmt.Errorf("waited for %s: %w (page: %s)", expression, err, strings.Join(p.Faults(), "; "))
	}
	return nil
}

// Click clicks on the first visible element of a CSS selector. An element that the page replaces
// after it was found is looked for again, and so is one that is replaced while the mouse is down on
// it: the page then hears of no click, or of one on what holds both.
func (p *Page) Click(selector string) error {
	const listen = `window.clicked = null;
		addEventListener("click", (e) => { window.clicked = e.target }, {capture: true, once: true}); true`
	// It is undefined on a page that the click has opened.
	heard := fmt.Sprintf("window.clicked === undefined || Boolean(window.clicked?.closest(%q))", selector)
	for began := time.Now(); ; {
		if _, err := Eval[bool](p, listen); err != nil {
			return err
		}
		if err := p.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)); err != nil && !gone(err) {
			return fmt.Errorf("click %s: %w", selector, err)
		}
		if done, err := Eval[bool](p, heard); done || err != nil {
			return err
		}
		if time.Since(began) > patience {
			return fmt.Errorf("click %s: the page hears of none on it", selector)
		}
	}
}

// gone tells whether a browser's error is about an element that is no longer on the page. They have
// no code of their own.
func gone(err error) bool {
	var failed *cdproto.Error
	return errors.As(err, &failed) && (strings.HasPrefix(failed.Message, "Could not find node") ||
		strings.HasPrefix(failed.Message, "No node with given id") || strings.HasPrefix(failed.Message, "Node is detached"))
}

// A Modifier is a key that is held while another one is pressed.
type Modifier = chromedp.Modifier

// Keys that are held.
const (
	ModifierCtrl  = chromedp.ModifierCtrl
	ModifierShift = chromedp.ModifierShift
)

// Press presses keys one after another, as chromedp/kb names them.
func (p *Page) Press(keys string, modifiers ...Modifier) error {
	return p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// Drag presses the mouse's button at the first place, moves over the others, and lets go at the
// last.
func (p *Page) Drag(places [][2]float64, modifiers ...Modifier) error {
	event := func(kind input.DispatchMouseEventType, at [2]float64) error {
		held := func(e *input.DispatchMouseEventParams) {
			for _, m := range modifiers {
				e.Modifiers |= int64(m)
			}
		}
		return p.do(chromedp.MouseEvent(kind, at[0], at[1], chromedp.ButtonLeft, held))
	}
	if err := event(chromedp.MousePressed, places[0]); err != nil {
		return err
	}
	for _, at := range places[1:] {
		if err := event(chromedp.MouseMoved, at); err != nil {
			return err
		}
	}
	return event(chromedp.MouseReleased, places[len(places)-1])
}

// WebP gives what the tab shows, as WebP of a quality of 0 to 100.
func (p *Page) WebP(quality int64) ([]byte, error) {
	shot, err := chromedp.Call(p.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatWebp, Quality: &quality,
	})
	return shot.Data, err
}

// Faults lists what the page did that it must not: errors on the console, requests that leave the
// origin.
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
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.fault("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			p.fault("console: %s", said(e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
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
		if len(v.Value) > 0 {
			parts = append(parts, string(v.Value))
		} else {
			parts = append(parts, v.Description)
		}
	}
	return strings.Join(parts, " ")
}
