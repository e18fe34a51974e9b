package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/internal/report"
)

// outlierEvent is an image with its distance; they come in order, the farthest first.
type outlierEvent struct {
	Event string `json:"event"` // outlier
	Rank  int    `json:"rank"`
	imageRef
	Distance float64    `json:"distance"`
	Nearest  []imageRef `json:"nearest"`
}

type outliersSummary struct {
	K int `json:"k"`
}

func (a *app) outliers() *cobra.Command {
	var k int
	c := &cobra.Command{
		Use:   "outliers --model DIR|FILE --data PATH",
		Short: "Find the images that are unlike all others",
		Long: `Rank all images by how far they lie from the others: the mean of 1 - cosine over the features of the k nearest (Angiulli and Pizzuti 2002). What
comes first is worth a look: damaged images, screenshots among photographs, things that do not belong there.`,
		Example: `  moco outliers --model run --data photos/ --html odd.html
  moco outliers --model run --data photos/ --show 10`,
	}
	c.Flags().IntVar(&k, "k", 10, "nearest images that the distance is taken to")
	return a.explorer(c, atLeastOne("--k", &k), func(ctx context.Context, x *exploration, set *collection) (any, error) {
		all, err := x.explorer().Outliers(ctx, set.Embedded, k)
		if err != nil {
			return nil, err
		}
		x.begin([]string{"RANK", "DISTANCE", "LABEL", "IMAGE"}, "Images unlike all others", "Farthest first", "The first picture of each strip is the outlier; the images nearest to it follow, with their cosine.")
		x.page.Facts = [][2]string{{"distance", fmt.Sprintf("mean of 1 - cosine to the %d nearest", k)}}
		for i, o := range all {
			row := []string{fmt.Sprint(i + 1), fmt.Sprintf("%.4f", o.Distance), set.label(o.Row), set.name(o.Row)}
			err := x.finding(outlierEvent{"outlier", i + 1, set.ref(o.Row), o.Distance, set.refs(o.Nearest)}, [][]string{row}, func() (report.Strip, error) {
				query, err := set.picture(o.Row, fmt.Sprintf("%.3f", o.Distance), false)
				if err != nil {
					return report.Strip{}, err
				}
				return set.strip(fmt.Sprintf("%d. %s", i+1, set.name(o.Row)), "", query, o.Nearest[:min(4, len(o.Nearest))], nil)
			})
			if err != nil {
				return nil, err
			}
		}
		return outliersSummary{k}, nil
	})
}
