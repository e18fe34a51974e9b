package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/explore"
	"moco/internal/report"
)

// outliers is the question of which images are unlike all others.
type outliers struct{ k int }

func init() { register("", (*app).outliersCommand) }

func (a *app) outliersCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "outliers --model DIR|FILE --data PATH",
		Short: "Find the images that are unlike all others",
		Long: `Rank all images by how far they lie from the others: the mean of 1 - cosine over the features of
the k nearest (Angiulli and Pizzuti 2002). What comes first is worth a look: damaged images,
screenshots among photographs, things that do not belong there.`,
		Example: `  moco outliers --model run --data photos/ --html odd.html
  moco outliers --model run --data photos/ --show 10`,
	}, &outliers{})
}

func (q *outliers) bind(c *cobra.Command) {
	c.Flags().IntVar(&q.k, "k", 10, "nearest images that the distance is taken to")
}

func (q *outliers) parse(*cobra.Command) error { return atLeast1("--k", q.k) }

func (q *outliers) memory(n, dim int) int64 { return explore.OutliersMemory(n, dim, q.k) }

func (q *outliers) explore(ctx context.Context, x *exploration) (summary, error) {
	set := x.set
	all, err := x.Outliers(ctx, set.Embedded, q.k)
	if err != nil {
		return nil, err
	}
	x.begin(heading{
		columns: []string{"RANK", "DISTANCE", "LABEL", "IMAGE"},
		title:   "Images unlike all others", sheet: "Farthest first",
		note: "The first picture of each strip is the outlier; the images nearest to it follow, with their cosine.",
	})
	x.page.Facts = [][2]string{{"distance", fmt.Sprintf("mean of 1 - cosine to the %d nearest", q.k)}}
	for i, o := range all {
		e := outlier{Rank: i + 1, Ref: set.Ref(o.Row), Distance: o.Distance, Nearest: set.Refs(o.Nearest)}
		row := []string{fmt.Sprint(e.Rank), fmt.Sprintf("%.4f", o.Distance), e.Label, e.Image}
		err := x.add(finding{event: e, rows: [][]string{row}, strip: func() (report.Strip, error) {
			query, err := picture(set, o.Row, fmt.Sprintf("%.3f", o.Distance), false)
			if err != nil {
				return report.Strip{}, err
			}
			s := report.Strip{Title: fmt.Sprintf("%d. %s", e.Rank, e.Image), Pictures: []report.Picture{query}}
			return nearest(set, s, o.Nearest[:min(4, len(o.Nearest))], nil)
		}})
		if err != nil {
			return nil, err
		}
	}
	return outliersSummary{q.k}, nil
}
