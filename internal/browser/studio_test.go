package browser_test

import (
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/internal/browser"
)

const (
	enter = "\r"
	esc   = "\x1b"
)

// asked is the picture that the page asks about.
const asked = `document.querySelector(".stage").dataset.image`

// answer labels pictures of the queue with what they are, and returns their numbers.
func (w *tab) answer(n int) []string {
	w.t.Helper()
	var done []string
	for range n {
		w.wait(asked)
		image := w.text(asked)
		var i int
		if _, err := fmt.Sscan(image, &i); err != nil {
			w.t.Fatal(err)
		}
		w.press(fmt.Sprint((i%drawnClasses + 1) % 10)) // the tenth class has the key 0
		w.wait(fmt.Sprintf(`%s !== "%s"`, asked, image))
		done = append(done, image)
	}
	return done
}

// TestLabel goes the way of a person who begins: label, see what was learned, take back, come
// again.
func TestLabel(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 400)...)
	w := s.open("explore", browser.Options{})
	w.wait(`document.querySelectorAll(".tile:not([hidden]) img[src]").length > 10`)
	w.press("g")
	w.wait(`!document.querySelector(".labelling").hidden`)
	w.answer(40)
	w.waitLabelled("40")
	w.wait(`document.querySelector(".labelling .expected .big")`)
	w.wait(`document.querySelector(".labelling .guess b")`) // it looks like something by now

	w.press("z", browser.ModifierCtrl)
	w.waitLabelled("39")
	w.press("z", browser.ModifierCtrl, browser.ModifierShift)
	w.waitLabelled("40")
	if rows := s.rows(); len(rows) != 40 {
		t.Errorf("the file has %d labels, not 40", len(rows))
	}
	for path, rest := range s.rows() {
		_, class, _ := strings.Cut(path, "-")
		if label, _, _ := strings.Cut(rest, ","); label != class {
			t.Errorf("%s was labelled %s", path, label)
		}
	}
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.ready()
	w.waitLabelled("40")
	w.clean()
}

// TestAccept takes a class's predictions but for one that the person rejects.
func TestAccept(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 400)...)
	w := s.open("label", browser.Options{})
	w.answer(40)
	w.waitLabelled("40")
	w.wait(`document.querySelector(".labelling .bulk:not([hidden]) button[data-review]")`)
	class := w.text(`document.querySelector(".labelling button[data-review]").dataset.review`)
	w.click(".labelling button[data-review]")
	w.wait(`!document.querySelector(".explore").hidden && document.querySelector(".tile.selected")`)
	many := w.text(`document.querySelector(".actions b").textContent.split(" ")[0]`)
	w.press("x") // the picture with the focus is not one
	w.wait(`document.querySelector(".tile.rejected")`)
	w.press("y")
	var n int
	if _, err := fmt.Sscan(many, &n); err != nil {
		t.Fatal(err)
	}
	w.waitLabelled(fmt.Sprint(40 + n - 1))
	for path, rest := range s.rows() {
		_, is, _ := strings.Cut(path, "-")
		if label, _, _ := strings.Cut(rest, ","); label == class && is != class {
			t.Errorf("%s was accepted as %s", path, label)
		}
	}
	w.clean()
}

// TestKilled kills the studio: what was labelled stays, and the page goes on when there is a studio
// again.
func TestKilled(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "labels.csv")
	args := append(drawn(t, 200), "--port", port(t), "--token", "a-token-of-more-than-16-letters")
	s := start(t, labels, args...)
	w := s.open("label", browser.Options{})
	w.answer(7)
	w.waitLabelled("7")
	w.clean()
	s.kill()
	w.wait(`!document.querySelector("#banner").hidden`)
	if rows := s.rows(); len(rows) != 7 {
		t.Errorf("%d labels are left of 7", len(rows))
	}
	s = start(t, labels, args...)
	w.wait(`document.querySelector("#banner").hidden`)
	w.waitLabelled("7")
	w.answer(1)
	w.waitLabelled("8")
	again := s.open("label", browser.Options{})
	again.waitLabelled("8")
	again.clean()
}

// TestTwo has two windows on one studio, and a second studio on the same file.
func TestTwo(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "labels.csv")
	args := drawn(t, 200)
	s, other := start(t, labels, args...), start(t, labels, args...)
	a, b := s.open("label", browser.Options{}), s.open("label", browser.Options{})
	c := other.open("label", browser.Options{})
	a.answer(3)
	for _, w := range []*tab{a, b, c} {
		w.waitLabelled("3")
	}
	c.answer(2)
	for _, w := range []*tab{a, b, c} {
		w.waitLabelled("5")
	}
	if rows := s.rows(); len(rows) != 5 {
		t.Errorf("the file has %d labels, not 5", len(rows))
	}
	for _, w := range []*tab{a, b, c} {
		w.clean()
	}
}

// TestMany scrolls through 50,000 pictures: only what is near the window is made.
func TestMany(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), "--data", "builtin:test?n=50000&size=16")
	w := s.open("explore", browser.Options{Width: 1280, Height: 720})
	w.wait(`document.querySelectorAll(".tile:not([hidden]) img[src]").length > 10`)
	grid := `document.querySelector(".grid")`
	for _, share := range []string{"0.3", "0.7", "1"} {
		w.text(fmt.Sprintf(`%s.scrollTop = %s * %s.scrollHeight`, grid, share, grid))
		w.wait(fmt.Sprintf(`(() => { const box = %s.getBoundingClientRect();
			const seen = [...document.querySelectorAll(".tile:not([hidden])")].filter((tile) => {
				const r = tile.getBoundingClientRect(); return r.bottom > box.top && r.top < box.bottom; });
			const there = (img) => img.complete && img.src;
			return seen.length > 8 && seen.every((tile) => there(tile.querySelector("img"))); })()`, grid))
	}
	w.wait(`document.querySelector(".tile:not([hidden])[aria-posinset='50000']")`)
	if n := w.text(`document.querySelectorAll(".tile").length`); len(n) > 3 {
		t.Errorf("%s tiles were made", n)
	}
	w.click(".grid")
	w.press(esc)
	w.press("a", browser.ModifierCtrl)
	w.wait(`document.querySelector(".actions b").textContent === "50,000 selected"`)
	w.press("3")
	w.waitLabelled("50,000")
	w.press("z", browser.ModifierCtrl)
	w.waitLabelled("0")
	w.press("/")
	w.press("049999-waves")
	w.wait(`document.querySelectorAll(".tile:not([hidden])").length === 1`)
	w.clean()
}

// TestBroken opens a folder in which some pictures cannot be read.
func TestBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "photos")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		path := filepath.Join(dir, fmt.Sprintf("p%02d.png", i))
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, image.NewGray(image.Rect(0, 0, 30+i, 20))); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			if err := os.Truncate(path, 50); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), "--data", dir)
	w := s.open("explore", browser.Options{Dark: true})
	w.wait(`[...document.querySelectorAll(".tile:not([hidden]) img")]
		.filter((i) => i.complete && i.naturalWidth).length === 12`)
	if text := w.text(`document.querySelector(".mapstate").textContent`); !strings.Contains(text, "moco train --data") {
		t.Errorf("without a model the map says %q", text)
	}
	w.press("c")
	w.press("blank" + enter) // a class, without any picture
	w.wait(`document.querySelector(".classes").textContent.includes("blank")`)
	w.press(" ") // the first picture is one
	w.press("1")
	w.waitLabelled("1")
	w.clean()
}

// TestSearch asks for pictures like some, by likeness and by name, with keys alone.
func TestSearch(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 300)...)
	w := s.open("explore", browser.Options{})
	w.wait(`document.querySelector(".tile:not([hidden]) img[src]")`)
	w.press(" ")
	w.press("m")
	w.wait(`document.querySelector(".title").textContent.startsWith("Like this")`)
	// Picture 0 is a checker: so are its nearest.
	w.wait(`[...document.querySelectorAll(".tile:not([hidden])")].filter((t) => t.getAttribute("aria-posinset") <= 8)
		.every((t) => t.title.endsWith("-checker"))`)
	w.press(esc)
	w.wait(`document.querySelector(".title").textContent.startsWith("All pictures")`)
	w.press("/")
	w.press("-star")
	w.wait(`document.querySelector(".title").textContent.includes("· 30")`)
	w.press(esc)
	w.press("?")
	w.wait(`document.querySelector("dialog.help[open]")`)
	w.press(esc)
	w.wait(`!document.querySelector("dialog")`)
	w.clean()
}

// TestLasso draws a lasso round the whole map, and labels what is inside with one key.
func TestLasso(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 300)...)
	w := s.open("explore", browser.Options{Width: 1920, Height: 1080})
	w.wait(`document.querySelector(".mapstate").hidden`)
	box, err := browser.Eval[[]float64](w.Page, `(() => { const b = document.querySelector(".map").getBoundingClientRect();
		return [b.left, b.top, b.right, b.bottom]; })()`)
	if err != nil {
		t.Fatal(err)
	}
	l, top, r, bottom := box[0]+3, box[1]+3, box[2]-3, box[3]-3
	round := [][2]float64{{l, top}, {r, top}, {r, bottom}, {l, bottom}, {l, top + 5}}
	if err := w.Drag(round, browser.ModifierShift); err != nil {
		t.Fatal(err)
	}
	w.wait(`document.querySelector(".actions b") && document.querySelector(".actions b").textContent === "300 selected"`)
	w.press("2")
	w.waitLabelled("300")
	w.clean()
}

// TestClean goes through outliers with the keyboard.
func TestClean(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 120)...)
	w := s.open("clean", browser.Options{})
	w.wait(`/to decide/.test(document.querySelector("[data-queue=outliers]").textContent)`)
	w.click("[data-queue=outliers]")
	for _, key := range []string{"d", enter} {
		image := w.text(`document.querySelector(".one").dataset.image`)
		w.press(key)
		w.wait(fmt.Sprintf(`document.querySelector(".one").dataset.image !== "%s"`, image))
	}
	w.wait(`document.querySelector("[data-queue=outliers]").textContent.includes("118 to decide")`)
	w.wait(`document.documentElement.dataset.pending === "0"`)
	var drop, ok int
	for _, rest := range s.rows() {
		if strings.HasSuffix(rest, "drop") {
			drop++
		}
		if strings.HasSuffix(rest, "ok") {
			ok++
		}
	}
	if drop != 1 || ok != 1 {
		t.Errorf("the file has %d dropped and %d that belong, not one each", drop, ok)
	}
	w.clean()
}

// TestExport fetches what the page offers.
func TestExport(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "labels.csv"), drawn(t, 200)...)
	w := s.open("label", browser.Options{})
	w.answer(30)
	w.waitLabelled("30")
	w.wait(`document.querySelector(".labelling .expected")`)
	w.text(`location.hash = "export"`)
	w.wait(`document.querySelectorAll(".leaving a[href^='/api/export/']").length >= 8`)
	for name, rows := range map[string]int{"labels.csv": 31, "predictions.csv": 171} {
		got, err := browser.Eval[int](w.Page, fmt.Sprintf(
			`fetch("/api/export/%s").then((r) => r.text()).then((t) => t.trim().split("\n").length)`, name))
		if err != nil || got != rows {
			t.Errorf("%s has %d lines, not %d (%v)", name, got, rows, err)
		}
	}
	w.clean()
}
