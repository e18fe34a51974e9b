package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/evaluate"
	"moco/explore"
	"moco/internal/report"
)

// search is the question of what lies nearest to some images, or to all.
type search struct {
	k       int
	queries []string
}

func init() { register("", (*app).searchCommand) }

func (a *app) searchCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "search --model DIR|FILE --data PATH [--query FILE]",
		Short: "Find the images nearest to an image, or to every image",
		Long: `Find the images whose features are most similar (by cosine) to those of a query, or, without
--query, to those of each image. The search is exact. A query is an image file, a folder or
archive of images, or the name of an image in the data; an image is not its own neighbour.`,
		Example: `  moco search --model run --data photos/ --query holiday.jpg --k 20 --html found.html
  moco search --model run --data photos.tar --query 2019/beach.jpg
  moco search --model run --data photos/ --json > neighbours.jsonl
  moco search --vectors photos.parquet --data photos/ --query holiday.jpg --model run
       # photos/ is not encoded again`,
	}, &search{})
}

func (q *search) bind(c *cobra.Command) {
	c.Flags().IntVar(&q.k, "k", 10, "neighbours of each query")
	c.Flags().StringArrayVar(&q.queries, "query", nil,
		"an image file, or the name of an image in the data; may be given several times (default: all images)")
	c.Flags().SetAnnotation("query", filesFlag, nil)
}

func (q *search) parse(*cobra.Command) error { return atLeast1("--k", q.k) }

func (q *search) memory(_, dim int) int64 { return explore.SearchMemory(dim, q.k) }

func (q *search) explore(ctx context.Context, x *exploration) (summary, error) {
	x.begin(heading{
		columns: []string{"QUERY", "RANK", "SIMILARITY", "LABEL", "IMAGE"},
		title:   "Nearest images", sheet: "Most similar first",
		note: "The first picture of each strip is the query. Under the others stands the cosine of their features " +
			"with the query's. Where the query has a label, a solid frame marks the same one, a dashed frame another.",
	})
	if len(q.queries) == 0 {
		err := x.Neighbours(ctx, x.set.Embedded, q.k, func(row int, list []evaluate.Neighbour) error {
			return q.tell(x, x.set, row, list)
		})
		return searchSummary{q.k}, err
	}
	for _, query := range q.queries {
		if err := q.answer(ctx, x, query); err != nil {
			return nil, err
		}
	}
	return searchSummary{q.k}, nil
}

// answer answers one --query: of files on the disk, or else of an image of the data.
func (q *search) answer(ctx context.Context, x *exploration, query string) error {
	if _, err := os.Stat(query); !errors.Is(err, fs.ErrNotExist) {
		from, err := x.collect(ctx, query, "")
		if err != nil {
			return fmt.Errorf("--query %s: %w", query, err)
		}
		defer from.Close()
		return x.Search(ctx, x.set.Embedded, from.Embedded, q.k, func(row int, list []evaluate.Neighbour) error {
			return q.tell(x, from, row, list)
		})
	}
	row, ok := x.set.Find(query)
	if !ok { // a name that is no text, as the file system has it
		row, ok = x.set.Find(data.Text(query))
	}
	if !ok {
		return fmt.Errorf("--query %s: there is no such file, and no image of this name in %s", query, short(x.o.data))
	}
	list, err := x.Near(ctx, x.set.Embedded, row, q.k)
	if err != nil {
		return err
	}
	return q.tell(x, x.set, row, list)
}

// tell tells what of the data lies nearest to an image.
func (q *search) tell(x *exploration, from *explore.Collection, row int, list []evaluate.Neighbour) error {
	set := x.set
	var rows [][]string
	for i, n := range list {
		similarity := fmt.Sprintf("%.4f", n.Similarity)
		rows = append(rows, []string{from.Name(row), fmt.Sprint(i + 1), similarity, set.Label(n.Row), set.Name(n.Row)})
	}
	e := neighbours{Query: from.Ref(row), Neighbours: set.Refs(list)}
	return x.add(finding{event: e, rows: rows, strip: func() (report.Strip, error) {
		query, err := picture(from, row, from.Label(row), false)
		if err != nil {
			return report.Strip{}, err
		}
		var good func(int) bool
		if from == set && set.Label(row) != "" {
			good = func(r int) bool { return set.Labels[r] == set.Labels[row] }
		}
		return nearest(set, report.Strip{Title: from.Name(row), Pictures: []report.Picture{query}}, list, good)
	}})
}
