package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"moco/evaluate"
	"moco/explore"
	"moco/internal/report"
)

// clusters is the question of which images belong together.
type clusters struct{ explore.KMeans }

func init() { register("", (*app).clusterCommand) }

func (a *app) clusterCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "cluster --model DIR|FILE --data PATH",
		Short: "Divide images into clusters by k-means",
		Long: `Divide the images into k clusters by spherical k-means on their features (Dhillon and Modha 2001),
started by k-means++. The same seed gives the same clusters. If there are labels, they are only
used to tell what each cluster holds.`,
		Example: `  moco cluster --model run --data photos/ --k 20 --html clusters.html
  moco cluster --model run --data photos/ --k 100 --json > clusters.jsonl`,
	}, &clusters{})
}

func (q *clusters) bind(c *cobra.Command) {
	c.Flags().IntVar(&q.K, "k", 10, "clusters")
	c.Flags().Uint64Var(&q.Seed, "seed", 0, "start of the clusters")
	c.Flags().IntVar(&q.Iterations, "iterations", 100, "at most so many; it stops when no image changes its cluster")
}

func (q *clusters) parse(*cobra.Command) error {
	return errors.Join(atLeast1("--k", q.K), atLeast1("--iterations", q.Iterations))
}

func (q *clusters) memory(n, dim int) int64 { return q.KMeans.Memory(n, dim) }

func (q *clusters) explore(ctx context.Context, x *exploration) (summary, error) {
	r, err := x.Cluster(ctx, x.set.Embedded, q.KMeans)
	if err != nil {
		return nil, err
	}
	s := clusterSummary{K: len(r.Clusters), Seed: q.Seed,
		Iterations: r.Iterations, Converged: r.Converged, Similarity: r.Similarity}
	var held labelsHeld
	note := "The most typical images of each cluster, with the cosine to its centre."
	if x.set.Classes != nil {
		s.Purity, held.labels, held.shares = r.Purity(x.set.Labels, len(x.set.Classes))
	}
	if held.labels != nil {
		note += " A solid frame marks the cluster's most frequent label, a dashed one any other."
	}
	x.begin(heading{
		columns: []string{"CLUSTER", "SIZE", "LABEL", "SHARE", "MOST TYPICAL"},
		title:   "Clusters", sheet: "Largest first", note: note,
	})
	for i, c := range r.Clusters {
		if err := x.add(held.finding(x.set, i, c)); err != nil {
			return nil, err
		}
	}
	lead := fmt.Sprintf("%d images in %s after %d rounds; mean cosine to the centre %.3f.",
		x.set.Len(), plural(len(r.Clusters), "cluster", "clusters"), r.Iterations, r.Similarity)
	if held.labels != nil {
		lead += fmt.Sprintf(" %s carry their cluster's most frequent label.", percent(100*s.Purity))
	}
	if !r.Converged {
		lead += " It had not settled yet: --iterations takes more."
	}
	x.conclude("%s", lead)
	return s, nil
}

// labelsHeld is the most frequent label of each cluster, and its share; nil without labels.
type labelsHeld struct {
	labels []int
	shares []float64
}

// finding is cluster number i.
func (h labelsHeld) finding(set *explore.Collection, i int, c explore.Cluster) finding {
	list := make([]evaluate.Neighbour, len(c.Rows))
	for j, row := range c.Rows {
		list[j] = evaluate.Neighbour{Row: row, Similarity: c.Similarity[j]}
	}
	e := cluster{Cluster: i + 1, Size: len(c.Rows), Images: set.Refs(list)}
	row := []string{fmt.Sprint(e.Cluster), fmt.Sprint(e.Size), "", "", set.Name(c.Rows[0])}
	about := ""
	if h.labels != nil {
		e.Label, e.Share = set.Classes[h.labels[i]], h.shares[i]
		row[2], row[3] = e.Label, percent(100*e.Share)
		about = fmt.Sprintf("%s of them %s", row[3], e.Label)
	}
	return finding{event: e, rows: [][]string{row}, strip: func() (report.Strip, error) {
		const most = 20
		strip := report.Strip{Note: about, Marked: h.labels != nil}
		strip.Title = fmt.Sprintf("Cluster %d: %s", e.Cluster, plural(e.Size, "image", "images"))
		for _, n := range list[:min(most, len(list))] {
			good := h.labels != nil && set.Labels[n.Row] == h.labels[i]
			p, err := picture(set, n.Row, fmt.Sprintf("%.3f %s", n.Similarity, set.Label(n.Row)), good)
			if err != nil {
				return strip, err
			}
			strip.Pictures = append(strip.Pictures, p)
		}
		return strip, nil
	}}
}
