package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"moco/internal/browser"
)

// A person labels pictures of known classes in the page.
type person struct {
	*browser.Page
	names   []string // of all pictures
	classes []string // in the order of their keys
	wrong   int      // predictions that were looked at and rejected
}

// asked is the picture that the page asks about.
const asked = `document.querySelector(".stage").dataset.image`

// allNames asks for the names of all pictures, a thousand at a time.
const allNames = `(async () => {
	const all = [];
	for (;;) {
		const { names } = await fetch("/api/names?count=1000&from=" + all.length).then((r) => r.json());
		if (!names.length) return all;
		all.push(...names);
	}
})()`

// label labels as many pictures as asked for, most of them as the page asks for them, the rest in
// bulk, and compares the accuracy that the page promises for the others with that of the CSV that
// it gives.
func label(b *browser.Browser, o options) error {
	page, err := open(b, o, "explore", browser.Options{})
	if err != nil {
		return err
	}
	p := &person{Page: page}
	if err := p.Wait(`document.querySelector(".mapstate").hidden`); err != nil { // a person looks at the map first
		return err
	}
	if err := p.goTo("label"); err != nil {
		return err
	}
	p.names, err = browser.Eval[[]string](page, allNames)
	if err != nil {
		return err
	}
	if err := p.answer(o.count - o.accept); err != nil {
		return err
	}
	if err := p.acceptInBulk(o.accept); err != nil {
		return err
	}
	promised, err := p.promise()
	if err != nil {
		return err
	}
	if err := p.tell(promised); err != nil {
		return err
	}
	for _, fault := range p.Faults() {
		fmt.Fprintln(os.Stderr, "fault of the page:", fault)
	}
	return nil
}

// learned is true when the page shows what the classifier made of the last label.
const learned = `document.documentElement.dataset.pending === "0" &&
	document.documentElement.dataset.learned === document.documentElement.dataset.version`

// class is what a picture is: the name of its folder.
func (p *person) class(image int) string { return path.Base(path.Dir(p.names[image])) }

// answer labels n pictures as the page asks: the first of a class by typing its name, later ones by
// its key.
func (p *person) answer(n int) error {
	for done := 0; done < n; done++ {
		if err := p.Wait(asked); err != nil {
			return err
		}
		image, err := browser.Eval[int](p.Page, "Number("+asked+")")
		if err != nil {
			return err
		}
		if err := p.give(p.class(image)); err != nil {
			return err
		}
		if err := p.Wait(fmt.Sprintf("Number(%s) !== %d", asked, image)); err != nil {
			return err
		}
		if done%5 == 4 { // a person takes a second a picture, in which the classifier follows
			if err := p.Wait(learned); err != nil {
				return err
			}
		}
		if (done+1)%100 == 0 {
			if err := p.progress(done + 1); err != nil {
				return err
			}
		}
	}
	return p.saved()
}

func (p *person) give(class string) error {
	keys, err := browser.Eval[[]string](p.Page,
		`[...document.querySelectorAll(".options .option[data-class]")].map((o) => o.dataset.class)`)
	if err != nil {
		return err
	}
	p.classes = keys
	at := slices.Index(keys, class)
	if at < 0 || at > 9 {
		return p.Press(class + "\r")
	}
	return p.Press(fmt.Sprint((at + 1) % 10))
}

// saved waits until the server has every change.
func (p *person) saved() error { return p.Wait(`document.documentElement.dataset.pending === "0"`) }

// acceptInBulk goes through the classes, and accepts the surest predictions of each but for those
// that are wrong.
func (p *person) acceptInBulk(n int) error {
	each := (n + len(p.classes) - 1) / len(p.classes)
	for _, class := range p.classes {
		if n <= 0 {
			break
		}
		if err := p.goTo("label"); err != nil {
			return err
		}
		button := fmt.Sprintf(`.labelling button[data-review="%s"]`, class)
		sure, err := browser.Eval[bool](p.Page, fmt.Sprintf(`document.querySelector('%s') !== null`, button))
		if err != nil {
			return err
		}
		if !sure {
			continue
		}
		if err := p.Click(button); err != nil {
			return err
		}
		accepted, err := p.acceptSome(class, min(each, n))
		if err != nil {
			return err
		}
		n -= accepted
	}
	if err := p.goTo("label"); err != nil {
		return err
	}
	return p.answer(n) // what was rejected or not sure enough is made up for
}

// acceptSome selects the first pictures under review, takes out those that are wrong, and accepts
// the others.
func (p *person) acceptSome(class string, n int) (int, error) {
	if err := p.Wait(`document.querySelector(".tile.selected:not([hidden])")`); err != nil {
		return 0, err
	}
	if err := p.Press("\x1b"); err != nil { // not all of them: only those that were looked at
		return 0, err
	}
	if err := p.Wait(`!document.querySelector(".tile.selected:not([hidden])")`); err != nil {
		return 0, err
	}
	shown, err := browser.Eval[[]int](p.Page, fmt.Sprintf(`[...document.querySelectorAll(".tile:not([hidden])")]
		.filter((t) => Number(t.getAttribute("aria-posinset")) <= %d)
		.sort((a, b) => a.getAttribute("aria-posinset") - b.getAttribute("aria-posinset"))
		.map((t) => Number(t.dataset.image))`, n))
	if err != nil {
		return 0, err
	}
	accepted := 0
	for _, image := range shown {
		if p.class(image) != class {
			p.wrong++
			continue
		}
		if err := p.Click(fmt.Sprintf(`.tile[data-image="%d"]`, image)); err != nil {
			return 0, err
		}
		accepted++
	}
	if accepted == 0 {
		return 0, nil
	}
	if err := p.Press("y"); err != nil {
		return 0, err
	}
	return accepted, p.saved()
}

func (p *person) goTo(page string) error {
	if _, err := browser.Eval[string](p.Page, fmt.Sprintf("location.hash = %q", page)); err != nil {
		return err
	}
	return p.Wait(fmt.Sprintf(`document.querySelector("nav [aria-current=page]").getAttribute("href") === "#%s"`, page))
}

// accuracy is what the page says of the pictures without a label.
type accuracy struct {
	Accuracy, Low, High float64
	Enough              bool
}

// promise reads the page's promise when the classifier has seen the last label.
func (p *person) promise() (accuracy, error) {
	if err := p.Wait(learned); err != nil {
		return accuracy{}, err
	}
	// The page shows whole percents of this answer; it is read here with all its digits.
	a, err := browser.Eval[accuracy](p.Page, `fetch("/api/classifier").then((r) => r.json())
		.then((c) => ({ Accuracy: c.accuracy, Low: c.low, High: c.high, Enough: c.enough }))`)
	if err != nil {
		return a, err
	}
	return a, p.Wait(fmt.Sprintf(`document.querySelector(".labelling .big").textContent === "%.0f%%"`, 100*a.Accuracy))
}

func (p *person) progress(done int) error {
	a, err := browser.Eval[string](p.Page,
		`(document.querySelector(".labelling .expected") || { textContent: "no promise yet" }).textContent`)
	fmt.Printf("%d labelled: %s\n", done, a)
	return err
}

// tell compares the promise with the predictions that the page exports.
func (p *person) tell(promised accuracy) error {
	text, err := browser.Eval[string](p.Page, `fetch("/api/export/predictions.csv").then((r) => r.text())`)
	if err != nil {
		return err
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return err
	}
	right := 0
	for _, row := range rows[1:] {
		if path.Base(path.Dir(row[0])) == row[1] {
			right++
		}
	}
	n := len(rows) - 1
	fmt.Printf("promised: %.1f%% (%.1f to %.1f, enough labels: %v)\nthe CSV:  %.1f%% of %d predictions are right; "+
		"%d predictions under review were wrong\n", 100*promised.Accuracy, 100*promised.Low, 100*promised.High,
		promised.Enough, 100*float64(right)/float64(n), n, p.wrong)
	return nil
}
