package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/evaluate"
	"moco/internal/report"
)

// labelErrorEvent is an image whose label its neighbours do not share; they come in order, the widest margin first.
type labelErrorEvent struct {
	Event string `json:"event"` // label_error
	Rank  int    `json:"rank"`
	imageRef
	Suggested string     `json:"suggested"`
	Margin    float64    `json:"margin"` // share of the votes for the suggested class, less that for the label
	Votes     float64    `json:"votes"`  // share of the votes for the label
	Nearest   []imageRef `json:"nearest"`
}

type labelErrorsSummary struct {
	K int     `json:"k"`
	T float64 `json:"t"`
}

func (a *app) labelErrors() *cobra.Command {
	var k evaluate.KNN
	c := &cobra.Command{
		Use:   "label-errors --model DIR|FILE --data PATH",
		Short: "Find labels that disagree with their neighbours",
		Long: `Let the k nearest images vote for the class of each image, as eval knn does but without the image's own vote, and list the images for which another
class gets more votes than the label, widest margin first. Many of them are merely hard; among the first, wrong labels are many times more
frequent than by chance (docs/use.md). The data must be labelled: a folder for each class.`,
		Example: `  moco label-errors --model run --data train/ --html doubtful.html
  moco label-errors --model run --data train/ --json | head -100`,
	}
	c.Flags().IntVar(&k.K, "k", 50, "neighbours that vote")
	c.Flags().Float64Var(&k.T, "t", 0.1, "temperature of the votes")
	return a.explorer(c, func() error { return k.Check() }, func(ctx context.Context, x *exploration, set *collection) (any, error) {
		all, err := x.explorer().LabelErrors(ctx, set.Embedded, k)
		if err != nil {
			return nil, err
		}
		x.begin([]string{"RANK", "MARGIN", "LABEL", "SUGGESTED", "IMAGE"}, "Labels that disagree with their neighbours", "Widest margin first",
			"The first picture of each strip carries the doubted label; those nearest to it follow. A solid frame marks the suggested class, a dashed one any other.")
		x.page.Lead = fmt.Sprintf("The neighbours of %d of %d images vote for another class.", len(all), set.Len())
		x.page.Facts = [][2]string{{"votes", fmt.Sprintf("%d neighbours, temperature %v", k.K, k.T)}}
		for i, l := range all {
			suggested := set.Classes[l.Suggested]
			row := []string{fmt.Sprint(i + 1), fmt.Sprintf("%.3f", l.Margin()), set.label(l.Row), suggested, set.name(l.Row)}
			err := x.finding(labelErrorEvent{"label_error", i + 1, set.ref(l.Row), suggested, l.Margin(), l.Given, set.refs(l.Nearest)}, [][]string{row}, func() (report.Strip, error) {
				query, err := set.picture(l.Row, set.label(l.Row), false)
				if err != nil {
					return report.Strip{}, err
				}
				return set.strip(fmt.Sprintf("%d. %s, or %s?", i+1, set.label(l.Row), suggested), set.name(l.Row), query, l.Nearest[:min(4, len(l.Nearest))],
					func(r int) bool { return set.Labels[r] == l.Suggested })
			})
			if err != nil {
				return nil, err
			}
		}
		x.table.Flush()
		a.say("%s", x.page.Lead)
		return labelErrorsSummary{k.K, k.T}, nil
	})
}
