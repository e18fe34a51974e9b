package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"moco/internal/browser"
)

// A shot is a picture of a page after a person did something there. Each step is JavaScript that
// does it, and each is followed by a condition that is waited for.
type shot struct {
	name  string
	page  string
	steps [][2]string
}

const (
	mapThere = `document.querySelector(".mapstate").hidden`
	// settled: all pictures on the screen have come.
	settled = `[...document.querySelectorAll(".page:not([hidden]) img[src]")].every((i) => i.complete) &&
		document.documentElement.dataset.pending !== "1"`
)

// zoom turns the mouse's wheel over a place of the map, given in shares of its width and height.
func zoom(x, y, by float64) string {
	return fmt.Sprintf(`(() => { const over = document.querySelector("canvas.over");
		const b = over.getBoundingClientRect();
		over.dispatchEvent(new WheelEvent("wheel", { deltaY: -%g, bubbles: true, cancelable: true,
			clientX: b.left + %g * b.width, clientY: b.top + %g * b.height })); })()`, by, x, y)
}

func colour(by string) string {
	return fmt.Sprintf(`(() => { const s = document.querySelector("[aria-label=Colour]"); s.value = %q;
		s.dispatchEvent(new Event("change")); })()`, by)
}

var all = []shot{
	{"explore", "explore", [][2]string{
		{`0`, mapThere},
		{colour("truth"), `document.querySelector(".legend li")`},
		{zoom(0.22, 0.38, 700), settled},
	}},
	{"map", "explore", [][2]string{
		{`0`, mapThere},
		{colour("prediction"), `document.querySelector(".legend li")`},
		{`0`, settled},
	}},
	{"label", "label", [][2]string{{`0`, `document.querySelector(".labelling .expected")`}}},
	{"review", "label", [][2]string{
		{`0`, `document.querySelector(".labelling button[data-review]")`},
		{`[...document.querySelectorAll(".labelling button[data-review]")].at(-1).click()`,
			`document.querySelector(".tile.selected:not([hidden])")`},
		{`document.querySelector(".tile[aria-posinset=\"1\"]:not([hidden])").click()`, settled}, // an aeroplane
	}},
	{"duplicates", "clean", [][2]string{
		{`0`, `document.querySelector(".copy img")`},
		{`0`, settled},
	}},
	{"doubtful", "clean", [][2]string{
		{`document.querySelector("[data-queue=doubtful]").click()`, `document.querySelector(".near img")`},
		{`0`, settled},
	}},
	{"watch", "watch", [][2]string{{`0`, `document.querySelector(".chart svg")`}, {`0`, settled}}},
	{"export", "export", [][2]string{{`0`, `document.querySelector(".card")`}}},
}

// shots takes pictures of pages, light and dark.
func shots(b *browser.Browser, o options) error {
	for _, s := range all {
		if !strings.HasPrefix(s.name, o.only) {
			continue
		}
		for _, dark := range []bool{false, true} {
			name := s.name + "-light.webp"
			if dark {
				name = s.name + "-dark.webp"
			}
			if err := s.take(b, o, dark, filepath.Join(o.out, name)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (s shot) take(b *browser.Browser, o options, dark bool, to string) error {
	p, err := open(b, o, s.page, browser.Options{Dark: dark})
	if err != nil {
		return err
	}
	defer p.Close()
	for _, step := range s.steps {
		if _, err := browser.Eval[any](p, step[0]+"; 0"); err != nil {
			return err
		}
		if err := p.Wait(step[1]); err != nil {
			return err
		}
	}
	// Two frames after the last change everything is drawn; pictures on the map come a moment
	// later.
	const drawn = `new Promise((done) => setTimeout(() => requestAnimationFrame(() =>
		requestAnimationFrame(() => done(0))), 1500))`
	if _, err := browser.Eval[int](p, drawn); err != nil {
		return err
	}
	picture, err := p.WebP(80)
	if err != nil {
		return err
	}
	return os.WriteFile(to, picture, 0o666)
}
