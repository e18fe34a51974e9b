package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/evaluate"
	"moco/internal/report"
)

// neighboursEvent is a query with what lies nearest to it.
type neighboursEvent struct {
	Event      string     `json:"event"` // neighbours
	Query      imageRef   `json:"query"`
	Neighbours []imageRef `json:"neighbours"`
}

func (a *app) search() *cobra.Command {
	var k int
	var queries []string
	c := &cobra.Command{
		Use:   "search --model DIR|FILE --data PATH [--query FILE]",
		Short: "Find the images nearest to an image, or to every image",
		Long: `Find the images whose features are most similar (by cosine) to those of a query, or, without --query, to those of each image. The search is
exact. A query is an image file, a folder or archive of images, or the name of an image in the data; an image is not its own neighbour.`,
		Example: `  moco search --model run --data photos/ --query holiday.jpg --k 20 --html found.html
  moco search --model run --data photos.tar --query 2019/beach.jpg
  moco search --model run --data photos/ --json > neighbours.jsonl
  moco search --vectors photos.parquet --data photos/ --query holiday.jpg --model run     # photos/ is not encoded again`,
	}
	c.Flags().IntVar(&k, "k", 10, "neighbours of each query")
	c.Flags().StringArrayVar(&queries, "query", nil, "an image file, or the name of an image in the data; may be given several times (default: all images)")
	return a.explorer(c, atLeastOne("--k", &k), func(ctx context.Context, x *exploration, set *collection) (any, error) {
		x.begin([]string{"QUERY", "RANK", "SIMILARITY", "LABEL", "IMAGE"}, "Nearest images", "Most similar first", "The first picture of each strip is the query. Under the others stands the cosine of their features with the query's. Where the query has a label, a solid frame marks the same one, a dashed frame another.")
		tell := func(from *collection, row int, list []evaluate.Neighbour) error {
			var rows [][]string
			for i, n := range list {
				rows = append(rows, []string{from.name(row), fmt.Sprint(i + 1), fmt.Sprintf("%.4f", n.Similarity), set.label(n.Row), set.name(n.Row)})
			}
			return x.finding(neighboursEvent{"neighbours", from.ref(row), set.refs(list)}, rows, func() (report.Strip, error) {
				query, err := from.picture(row, from.label(row), false)
				if err != nil {
					return report.Strip{}, err
				}
				var good func(int) bool
				if from == set && set.label(row) != "" {
					good = func(r int) bool { return set.Labels[r] == set.Labels[row] }
				}
				return set.strip(from.name(row), "", query, list, good)
			})
		}
		each := x.explorer()
		if len(queries) == 0 {
			err := each.Neighbours(ctx, set.Embedded, k, func(row int, list []evaluate.Neighbour) error { return tell(set, row, list) })
			return searchSummary{k}, err
		}
		for _, q := range queries {
			if err := x.query(ctx, set, q, k, tell); err != nil {
				return nil, err
			}
		}
		return searchSummary{k}, nil
	})
}

type searchSummary struct {
	K int `json:"k"`
}

// query answers one --query: from the disk, or else an image of the data.
func (x *exploration) query(ctx context.Context, set *collection, query string, k int, tell func(*collection, int, []evaluate.Neighbour) error) error {
	if exists(query) {
		from, err := x.collect(ctx, query)
		if err != nil {
			return fmt.Errorf("--query %s: %w", query, err)
		}
		defer from.Close()
		return x.explorer().Search(ctx, set.Embedded, from.Embedded, k, func(q int, list []evaluate.Neighbour) error { return tell(from, q, list) })
	}
	for row := range set.Len() {
		if set.name(row) != query {
			continue
		}
		one := &evaluate.Embedded{Dim: set.Dim, Labels: []int{-1}, Features: set.Features[row*set.Dim : (row+1)*set.Dim]}
		return x.explorer().Search(ctx, set.Embedded, one, k+1, func(_ int, list []evaluate.Neighbour) error {
			for i, n := range list {
				if n.Row == row {
					list = append(list[:i], list[i+1:]...)
					break
				}
			}
			return tell(set, row, list[:min(k, len(list))])
		})
	}
	return fmt.Errorf("--query %s: there is no such file, and no image of this name in %s", query, x.data)
}
