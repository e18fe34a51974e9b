package choose

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"moco"
)

// few is the number of pictures below which an encoder learns these and little about others.
const few = 500

// reasons are three lines: what is seen, what is learned from it, and for how long.
func (p *planner) reasons(c *candidate) []string {
	r := &c.recipe
	if p.options.Recipe != nil {
		return []string{p.lengthLine(c)}
	}
	return []string{p.viewsLine(r), p.batchLine(r), p.lengthLine(c)}
}

func (p *planner) viewsLine(r *moco.Recipe) string {
	f := p.facts
	size := fmt.Sprintf("%d px", f.Edge)
	if f.Smallest != f.Largest {
		size = fmt.Sprintf("%s to %d px, half below %d", thousands(f.Smallest), f.Largest, f.Edge)
	}
	colour := ""
	if f.Gray {
		colour = ", without colour"
	}
	return fmt.Sprintf("%s pictures (shorter side %s%s): %s (%s), %s, %s",
		thousands(f.Images), size, colour, views(r.Views), r.Views.Policy, r.Encoder.Describe(), r.Precision)
}

// views are the number and sizes of views in words: "4 views of 16, then 20, then 24 px, encoded at 32".
func views(v moco.Views) string {
	var sizes []string
	for _, size := range v.Sizes() {
		sizes = append(sizes, strconv.Itoa(size))
	}
	line := fmt.Sprintf("%d views of %s px", v.Count(), strings.Join(sizes, ", then "))
	if v.Largest() < v.Size {
		line += fmt.Sprintf(", encoded at %d", v.Size)
	}
	return line
}

func (p *planner) batchLine(r *moco.Recipe) string {
	perEpoch := stepsPerEpoch(p.facts.Images, r.Batch)
	line := fmt.Sprintf("batches of %d, so that an epoch has %s", r.Batch, count(perEpoch, "step"))
	if queues(r) {
		line += fmt.Sprintf("; a queue of %s (fewer keys than pictures) and m %v, so that its keys are of encoders much alike",
			thousands(r.Queue), r.Momentum)
	} else if m, err := r.Mechanism(); err == nil && m.Negatives(2*r.Batch) > m.Negatives(r.Batch) {
		line += fmt.Sprintf("; no queue: a view's negatives are the %s others of its batch", thousands(m.Negatives(r.Batch)))
	}
	if r.BNSplits == 1 {
		line += "; bn_splits 1, for one machine"
	}
	return line
}

func (p *planner) lengthLine(c *candidate) string {
	steps := c.recipe.Epochs.Steps(stepsPerEpoch(p.facts.Images, c.recipe.Batch))
	line := fmt.Sprintf("%v epochs, %s", c.recipe.Epochs, count(steps, "step"))
	if p.options.Budget == 0 {
		n := p.facts.Images
		took := c.pace.seconds(float64(c.recipe.Epochs), n, c.recipe.Batch, saveEvery(n, c.recipe.Batch))
		return line + fmt.Sprintf(": about %s on an ordinary machine with %s (nothing was measured)",
			roughly(took), count(p.options.Workers, "processor"))
	}
	b := float64(c.recipe.Batch)
	rate := b / (c.pace.Step + b*c.pace.Again)
	line += fmt.Sprintf(": at %.0f images/s what %s leaves after %s of looking and measuring", rate,
		plain(p.options.Budget), plain(p.spent()))
	if c.recipe.Epochs == mostEpochsInBudget {
		line += "; more epochs of so few pictures would teach nothing, so it will end before that"
	}
	return line
}

func (p *planner) warnings() []string {
	w := []string{} // not null in JSON
	f := p.facts
	if f.Images < few {
		w = append(w, fmt.Sprintf("%d pictures are few: the encoder will tell these apart and know little of others; "+
			"some thousand would teach it more", f.Images))
	}
	if f.Unreadable > 0 {
		w = append(w, fmt.Sprintf("%d of %d pictures looked at cannot be read", f.Unreadable, f.Looked))
	}
	return w
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	var parts []string
	for ; len(s) > 3; s = s[:len(s)-3] {
		parts = append([]string{s[len(s)-3:]}, parts...)
	}
	return strings.Join(append([]string{s}, parts...), ",")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// roughly is a number of seconds, guessed: "42s", "10m", "1h30m".
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d >= 10*time.Minute {
		return plain(d.Round(time.Minute))
	}
	if d >= time.Minute {
		return plain(d.Round(10 * time.Second))
	}
	return plain(d.Round(time.Second))
}

// plain is a duration for people: "10m", "1h30m", "42s".
func plain(d time.Duration) string {
	s := d.Round(time.Second).String()
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
