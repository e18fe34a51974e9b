package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/report"
)

// labelErrors is the question of which labels disagree with their neighbours.
type labelErrors struct{ evaluate.KNN }

func init() { register("", (*app).labelErrorsCommand) }

func (a *app) labelErrorsCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "label-errors --model DIR|FILE --data PATH",
		Short: "Find labels that disagree with their neighbours",
		Long: `Let the k nearest images vote for the class of each image, as eval knn does but without the
image's own vote, and list the images for which another class gets more votes than the label,
widest margin first. Many of them are merely hard; among the first, wrong labels are many times
more frequent than by chance (docs/use.md). The data must be labelled: a folder for each class.

Where a class has fewer images than there are votes, others outvote it by number alone. Such
classes are named, and their images come last.`,
		Example: `  moco label-errors --model run --data train/ --html doubtful.html
  moco label-errors --model run --data train/ --json | head -100`,
	}, &labelErrors{})
}

func (q *labelErrors) bind(c *cobra.Command) {
	c.Flags().IntVar(&q.K, "k", 50, "neighbours that vote")
	c.Flags().Float64Var(&q.T, "t", 0.1, "temperature of the votes")
}

func (q *labelErrors) parse(*cobra.Command) error { return q.Check() }

func (q *labelErrors) memory(n, dim int) int64 { return explore.OutliersMemory(n, dim, q.K) }

func (q *labelErrors) explore(ctx context.Context, x *exploration) (summary, error) {
	set := x.set
	all, err := x.LabelErrors(ctx, set.Embedded, q.KNN)
	if err != nil {
		return nil, err
	}
	x.begin(heading{columns: []string{"RANK", "MARGIN", "LABEL", "SUGGESTED", "IMAGE"},
		title: "Labels that disagree with their neighbours", sheet: "Widest margin first",
		note: "The first picture of each strip carries the doubted label; those nearest to it follow. " +
			"A solid frame marks the suggested class, a dashed one any other."})
	s := labelErrorsSummary{K: q.K, T: q.T}
	sizes := map[string]string{} // of the classes that are outnumbered, for people
	for _, c := range explore.Outnumbered(set.Embedded, q.K) {
		name := set.Classes[c.Class]
		s.Outnumbered = append(s.Outnumbered, data.ClassCount{Name: name, Images: c.Images})
		sizes[name] = fmt.Sprintf(" (%s)", plural(c.Images, "image", "images"))
	}
	x.conclude("The neighbours of %d of %d images vote for another class.%s", len(all), set.Len(), s.few())
	x.page.Facts = [][2]string{{"votes", fmt.Sprintf("%d neighbours, temperature %v", q.K, q.T)}}
	for i, l := range all {
		e := labelError{Rank: i + 1, Ref: set.Ref(l.Row), Suggested: set.Classes[l.Suggested],
			Margin: l.Margin(), Votes: l.Given, Nearest: set.Refs(l.Nearest)}
		e.Outnumbered = l.Outnumbered
		label := e.Label + sizes[e.Label]
		row := []string{fmt.Sprint(e.Rank), fmt.Sprintf("%.3f", e.Margin), label, e.Suggested, e.Image}
		err := x.add(finding{event: e, rows: [][]string{row}, strip: func() (report.Strip, error) {
			query, err := picture(set, l.Row, e.Label, false)
			if err != nil {
				return report.Strip{}, err
			}
			s := report.Strip{Title: fmt.Sprintf("%d. %s, or %s?", e.Rank, label, e.Suggested), Note: e.Image,
				Pictures: []report.Picture{query}}
			return nearest(set, s, l.Nearest[:min(4, len(l.Nearest))], func(r int) bool { return set.Labels[r] == l.Suggested })
		}})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// few says of which classes the votes say little.
func (s labelErrorsSummary) few() string {
	n := len(s.Outnumbered)
	if n == 0 {
		return ""
	}
	const most = 5
	var names []string
	for _, c := range s.Outnumbered[:min(most, n)] {
		names = append(names, fmt.Sprintf("%s (%d)", c.Name, c.Images))
	}
	if n > most {
		names = append(names, fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf(" %s too few images for the %d neighbours that vote, so that others outvote them by number alone: %s. "+
		"Their images come last; --k takes fewer neighbours.", plural(n, "class has", "classes have"), s.K, strings.Join(names, ", "))
}
