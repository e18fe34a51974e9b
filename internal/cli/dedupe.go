package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/explore"
	"moco/internal/report"
)

// groupEvent is images that are near-duplicates.
type groupEvent struct {
	Event  string      `json:"event"` // group
	Images []imageRef  `json:"images"`
	Pairs  []pairEvent `json:"pairs"`
}

type pairEvent struct {
	A          string  `json:"a"`
	B          string  `json:"b"`
	Similarity float32 `json:"similarity"` // what the threshold is for
	Cosine     float32 `json:"cosine"`     // of the features
}

type dedupeSummary struct {
	By        string  `json:"by"`
	Threshold float32 `json:"threshold"`
	Pairs     int     `json:"pairs"`
	Extra     int     `json:"extra_images"` // beyond one of each group
}

func (a *app) dedupe() *cobra.Command {
	var by string
	d := explore.Duplicates{}
	c := &cobra.Command{
		Use:   "dedupe --model DIR|FILE --data PATH",
		Short: "Find groups of near-duplicate images",
		Long: `Find images that are copies of each other but for size, compression, brightness, contrast or a crop of up to an eighth of an edge. Nothing is
deleted.

The features of the encoder (and blurred thumbnails) propose for each image its nearest neighbours; each proposed pair is laid over each
other as grey thumbnails, and counts if their correlation at the best crop is at least --threshold: 0.95, which docs/use.md measures. Pairs
that share an image are joined to groups. With --by features the thumbnails are left out and a pair counts by the cosine of its features alone, at
0.999 or above: the right threshold then depends on the encoder.`,
		Example: `  moco dedupe --model run --data photos/ --html duplicates.html
  moco dedupe --model run --data photos/ --threshold 0.98 --json > groups.jsonl
  moco dedupe --model pixels --data photos/`,
	}
	c.Flags().Float32Var(&d.Threshold, "threshold", 0, "similarity of a pair, above 0 and at most 1 (default 0.95; with --by features 0.999)")
	c.Flags().StringVar(&by, "by", "overlay", "overlay: lay proposed pairs over each other; features: take the cosine of the features")
	c.Flags().IntVar(&d.Candidates, "candidates", explore.Candidates, "neighbours of each image that are laid over it")
	check := func() error {
		threshold, known := map[string]float32{"overlay": explore.OverlayThreshold, "features": explore.CosineThreshold}[by]
		if !known {
			return fmt.Errorf("--by is overlay or features, not %q", by)
		}
		if !c.Flags().Changed("threshold") {
			d.Threshold = threshold
		}
		if !(d.Threshold > 0 && d.Threshold <= 1) {
			return fmt.Errorf("--threshold must be above 0 and at most 1, and is %v", d.Threshold)
		}
		return atLeastOne("--candidates", &d.Candidates)()
	}
	return a.explorer(c, check, func(ctx context.Context, x *exploration, set *collection) (any, error) {
		if by == "overlay" {
			d.Image = set.read
		}
		groups, err := x.explorer().Duplicates(ctx, set.Embedded, d)
		if err != nil {
			return nil, err
		}
		x.begin([]string{"GROUP", "SIMILARITY", "LABEL", "IMAGE"}, "Near-duplicates", "Groups", "Under each picture stands its highest similarity to another of its group.")
		s := dedupeSummary{By: by, Threshold: d.Threshold}
		for i, g := range groups {
			e := groupEvent{Event: "group"}
			best := map[int]float32{}
			for _, p := range g.Pairs {
				e.Pairs = append(e.Pairs, pairEvent{set.name(p.A), set.name(p.B), p.Similarity, p.Cosine})
				best[p.A], best[p.B] = max(best[p.A], p.Similarity), max(best[p.B], p.Similarity)
			}
			var rows [][]string
			for _, r := range g.Rows {
				e.Images = append(e.Images, set.ref(r))
				rows = append(rows, []string{fmt.Sprint(i + 1), fmt.Sprintf("%.4f", best[r]), set.label(r), set.name(r)})
			}
			s.Pairs, s.Extra = s.Pairs+len(g.Pairs), s.Extra+len(g.Rows)-1
			err := x.finding(e, rows, func() (report.Strip, error) {
				const most = 24
				strip := report.Strip{Title: plural(len(g.Rows), "image", "images")}
				for _, r := range g.Rows[:min(most, len(g.Rows))] {
					p, err := set.picture(r, fmt.Sprintf("%.3f %s", best[r], set.name(r)), false)
					if err != nil {
						return strip, err
					}
					strip.Pictures = append(strip.Pictures, p)
				}
				return strip, nil
			})
			if err != nil {
				return nil, err
			}
		}
		x.table.Flush()
		x.page.Lead = fmt.Sprintf("%s of near-duplicates among %d images: %d images more than one of each.", plural(len(groups), "group", "groups"), set.Len(), s.Extra)
		x.page.Facts = [][2]string{{"compared by", by}, {"threshold", fmt.Sprint(d.Threshold)}}
		a.say("%s", x.page.Lead)
		return s, nil
	})
}
