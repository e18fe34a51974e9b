package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/explore"
	"moco/internal/report"
)

// The ways to compare candidates for duplicates.
const (
	byOverlay  = "overlay"
	byFeatures = "features"
)

// printExtras is the value of --print.
const printExtras = "extras"

// dedupe is the question of which images are near-duplicates.
type dedupe struct {
	explore.Duplicates
	by, print string
}

func init() { register("", (*app).dedupeCommand) }

func (a *app) dedupeCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "dedupe --model DIR|FILE --data PATH",
		Short: "Find groups of near-duplicate images",
		Long: `Find images that are copies of each other but for size, compression, brightness, contrast or a
crop of up to an eighth of an edge. Nothing is deleted.

The features of the encoder (and blurred thumbnails) propose for each image its nearest
neighbours; each proposed pair is laid over each other as grey thumbnails, and counts if their
correlation at the best crop is at least --threshold: 0.95, which docs/use.md measures. Pairs that
share an image are joined to groups. With --by features the thumbnails are left out and a pair
counts by the cosine of its features alone, at 0.999 or above: the right threshold then depends on
the encoder.`,
		Example: `  moco dedupe --model run --data photos/ --html duplicates.html
  moco dedupe --model run --data photos/ --threshold 0.98 --json > groups.jsonl
  moco dedupe --model pixels --data photos/`,
	}, &dedupe{})
}

func (q *dedupe) bind(c *cobra.Command) {
	c.Flags().Float32Var(&q.Threshold, "threshold", 0,
		"similarity of a pair, above 0 and at most 1 (default 0.95; with --by features 0.999)")
	choiceFlag(c, &q.by, "by", []string{byOverlay, byFeatures}, byOverlay,
		"overlay: lay proposed pairs over each other; features: take the cosine of the features")
	choiceFlag(c, &q.print, "print", []string{printExtras}, "",
		"extras: print the images beside the best of each group, one a line, and nothing else")
	c.Flags().IntVar(&q.Candidates, "candidates", explore.Candidates, "neighbours of each image that are laid over it")
}

func (q *dedupe) parse(c *cobra.Command) error {
	if !c.Flags().Changed("threshold") {
		q.Threshold = map[string]float32{byOverlay: explore.OverlayThreshold, byFeatures: explore.CosineThreshold}[q.by]
	}
	if !(q.Threshold > 0 && q.Threshold <= 1) {
		return fmt.Errorf("--threshold must be above 0 and at most 1, and is %v", q.Threshold)
	}
	return atLeast1("--candidates", q.Candidates)
}

func (q *dedupe) memory(n, dim int) int64 {
	if q.by == byFeatures {
		return explore.PairsMemory(n, dim)
	}
	return explore.OverlayMemory(n, dim, q.Candidates)
}

func (q *dedupe) explore(ctx context.Context, x *exploration) (summary, error) {
	if q.by == byOverlay {
		q.Image = x.set.Read
	}
	q.Source = x.set.Source
	groups, err := x.Duplicates(ctx, x.set.Embedded, q.Duplicates)
	if err != nil {
		return nil, err
	}
	return q.tell(x, groups, copies{Collection: x.set})
}

// copies are the images that groups are of.
type copies struct {
	*explore.Collection
}

// tell tells of all groups.
func (q *dedupe) tell(x *exploration, groups []explore.Group, of copies) (summary, error) {
	if q.print == printExtras {
		return q.printAll(x, groups, of)
	}
	x.begin(heading{columns: []string{"GROUP", "SIMILARITY", "LABEL", "IMAGE"}, title: "Near-duplicates", sheet: "Groups",
		note: "The first picture of each group is its best copy. Under the others stands their similarity to it, the " +
			"weakest link last."})
	s := q.summary(groups)
	for i, g := range groups {
		if err := x.add(q.finding(of, i+1, g)); err != nil {
			return nil, err
		}
	}
	x.conclude("%s of near-duplicates among %d images: %d images beyond the best of each group.",
		plural(len(groups), "group", "groups"), x.set.Len(), s.Extra)
	x.page.Facts = [][2]string{{"compared by", q.by}, {"threshold", fmt.Sprint(q.Threshold)}}
	return s, nil
}

func (q *dedupe) summary(groups []explore.Group) dedupeSummary {
	s := dedupeSummary{By: q.by, Threshold: q.Threshold}
	for _, g := range groups {
		s.Pairs, s.Extra = s.Pairs+len(g.Pairs), s.Extra+len(g.Rows)-1
	}
	return s
}

// printAll prints the images beside the best ones, one a line, and nothing else.
func (q *dedupe) printAll(x *exploration, groups []explore.Group, of copies) (summary, error) {
	x.quiet = true
	for _, g := range groups {
		for _, r := range g.Extras() {
			name := of.Name(r)
			if strings.ContainsAny(name, "\r\n") {
				x.app.warn("%q has a line break in its name and is not printed.", name)
				continue
			}
			fmt.Fprintln(x.app.people(), name) // for scripts, which need every letter
		}
	}
	return q.summary(groups), nil
}

// finding is a group of near-duplicates: the best first.
func (q *dedupe) finding(of copies, number int, g explore.Group) finding {
	weakest := g.Weakest()
	e := duplicates{Best: of.Name(g.Best), Why: g.Why.String(), Reason: g.Why.Reason, Weakest: weakest.Similarity}
	for _, r := range g.Rows {
		e.Images = append(e.Images, duplicate{Ref: of.Ref(r)})
	}
	for _, r := range g.Extras() {
		e.Extras = append(e.Extras, of.Name(r))
	}
	rows := [][]string{{fmt.Sprint(number), "best", of.Label(g.Best), of.Name(g.Best) + "  (" + g.Why.String() + ")"}}
	for i, p := range g.Pairs {
		e.Pairs = append(e.Pairs, duplicatePair{A: e.Best, B: of.Name(p.B), Similarity: p.Similarity, Cosine: p.Cosine})
		name := of.Name(p.B)
		if i == len(g.Pairs)-1 && i > 0 {
			name += "  (weakest link)"
		}
		rows = append(rows, []string{fmt.Sprint(number), fmt.Sprintf("%.4f", p.Similarity), of.Label(p.B), name})
	}
	return finding{event: e, rows: rows, strip: func() (report.Strip, error) { return q.strip(of, g) }}
}

// strip is a group's pictures: the best, and the others by falling similarity. Of very many, the
// last is the weakest link.
func (q *dedupe) strip(of copies, g explore.Group) (report.Strip, error) {
	const most = 24
	strip := report.Strip{
		Title: fmt.Sprintf("%s, weakest link %.3f", plural(len(g.Rows), "image", "images"), g.Weakest().Similarity),
		Note:  "Best: " + g.Why.String(),
		Query: true,
	}
	best, err := of.picture(g.Best, "best: "+of.Name(g.Best))
	if err != nil {
		return strip, err
	}
	strip.Pictures = []report.Picture{best}
	pairs := g.Pairs
	if len(pairs) > most {
		pairs = append(slices.Clone(pairs[:most-1]), g.Weakest())
	}
	for _, p := range pairs {
		other, err := of.picture(p.B, fmt.Sprintf("%.3f %s", p.Similarity, of.Name(p.B)))
		if err != nil {
			return strip, err
		}
		strip.Pictures = append(strip.Pictures, other)
	}
	return strip, nil
}

func (c copies) picture(row int, caption string) (report.Picture, error) {
	return picture(c.Collection, row, caption, false)
}
