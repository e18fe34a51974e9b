package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far something long is, on standard error: as a bar on a terminal, elsewhere as
// a line now and then, and beside --json not at all. The nil progress shows nothing.
type progress struct {
	screen *screen
	total  int
	noun   string // what is counted: "step"; empty: nothing that people count
	bar    *progressbar.ProgressBar
	began  time.Time
	last   time.Time // of the last line
}

// betweenLines is how often a line tells how far something is.
const betweenLines = 10 * time.Second

// progress begins to show how many of total things are done.
func (s *screen) progress(total int, noun string) *progress {
	if s.json {
		return nil
	}
	p := &progress{screen: s, total: total, noun: noun, began: time.Now(), last: time.Now()}
	if !s.onTerminal() {
		return p
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(s.err), progressbar.OptionSetWidth(24), progressbar.OptionSetPredictTime(false),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(),
	}
	if noun != "" {
		options = append(options, progressbar.OptionShowCount())
	}
	p.bar = progressbar.NewOptions(total, options...)
	return p
}

// at shows that so many are done, and what else is to be said.
func (p *progress) at(done int, status string) {
	switch {
	case p == nil:
	case p.bar != nil:
		p.bar.Describe(status)
		p.bar.Set(done)
	case time.Since(p.last) >= betweenLines:
		p.last = time.Now()
		if p.noun != "" {
			status = fmt.Sprintf("%s %d of %d  %s", p.noun, done, p.total, status)
		}
		p.screen.warn("%s", status)
	}
}

// pace is how fast the work goes and how long it will take, from how far it has come.
func (p *progress) pace(done int) string {
	if p == nil || done == 0 {
		return ""
	}
	each := time.Since(p.began).Seconds() / float64(done)
	return fmt.Sprintf("%.0f images/s  %s left", 1/each, left(each*float64(p.total-done)))
}

// clear takes the bar away for a line of text; the next at draws it again.
func (p *progress) clear() {
	if p != nil && p.bar != nil {
		p.bar.Clear()
	}
}

// images begins to show the progress of something that takes images one by one. done is nil where
// nothing is to be shown.
func (s *screen) images(total int, what string) (done func(int), clear func()) {
	p := s.progress(total, "image")
	if p == nil {
		return nil, func() {}
	}
	return func(n int) { p.at(n, what+"  "+p.pace(n)) }, p.clear
}

// unpacking tells now and then how far ffmpeg is with video files. It does so beside --json too: it
// may take minutes before the first event.
func (s *screen) unpacking() func(done, total int) {
	last := time.Now()
	return func(done, total int) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			s.warn("unpacking videos: %d of %d", done, total)
		}
	}
}

// left is a duration for people.
func left(seconds float64) string { return (time.Duration(seconds) * time.Second).String() }
