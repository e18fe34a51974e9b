package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/explore"
	"moco/internal/report"
)

// The ways to compare candidates for duplicates.
const (
	byOverlay  = "overlay"
	byFeatures = "features"
)

// dedupe is the question of which images are near-duplicates.
type dedupe struct {
	explore.Duplicates
	by string
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
	groups, err := x.Duplicates(ctx, x.set.Embedded, q.Duplicates)
	if err != nil {
		return nil, err
	}
	x.begin(heading{columns: []string{"GROUP", "SIMILARITY", "LABEL", "IMAGE"}, title: "Near-duplicates", sheet: "Groups",
		note: "Under each picture stands its highest similarity to another of its group."})
	s := dedupeSummary{By: q.by, Threshold: q.Threshold}
	for i, g := range groups {
		s.Pairs, s.Extra = s.Pairs+len(g.Pairs), s.Extra+len(g.Rows)-1
		if err := x.add(q.finding(x.set, i+1, g)); err != nil {
			return nil, err
		}
	}
	x.conclude("%s of near-duplicates among %d images: %d images more than one of each.",
		plural(len(groups), "group", "groups"), x.set.Len(), s.Extra)
	x.page.Facts = [][2]string{{"compared by", q.by}, {"threshold", fmt.Sprint(q.Threshold)}}
	return s, nil
}

// finding is a group of near-duplicates.
func (q *dedupe) finding(set *explore.Collection, number int, g explore.Group) finding {
	var e duplicates
	best := map[int]float32{} // of each row, its highest similarity to another
	for _, p := range g.Pairs {
		e.Pairs = append(e.Pairs, duplicatePair{
			A: set.Name(p.A), B: set.Name(p.B), Similarity: p.Similarity, Cosine: p.Cosine,
		})
		best[p.A], best[p.B] = max(best[p.A], p.Similarity), max(best[p.B], p.Similarity)
	}
	var rows [][]string
	for _, r := range g.Rows {
		e.Images = append(e.Images, set.Ref(r))
		rows = append(rows, []string{fmt.Sprint(number), fmt.Sprintf("%.4f", best[r]), set.Label(r), set.Name(r)})
	}
	return finding{event: e, rows: rows, strip: func() (report.Strip, error) {
		const most = 24
		strip := report.Strip{Title: plural(len(g.Rows), "image", "images")}
		for _, r := range g.Rows[:min(most, len(g.Rows))] {
			p, err := picture(set, r, fmt.Sprintf("%.3f %s", best[r], set.Name(r)), false)
			if err != nil {
				return strip, err
			}
			strip.Pictures = append(strip.Pictures, p)
		}
		return strip, nil
	}}
}
