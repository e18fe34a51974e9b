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

// clusterEvent is a cluster with all its images, the most typical first.
type clusterEvent struct {
	Event   string     `json:"event"` // cluster
	Cluster int        `json:"cluster"`
	Size    int        `json:"size"`
	Label   string     `json:"label,omitempty"` // the most frequent
	Share   float64    `json:"share,omitempty"` // of the images that carry it
	Images  []imageRef `json:"images"`
}

type clusterSummary struct {
	K          int     `json:"k"`
	Seed       uint64  `json:"seed"`
	Iterations int     `json:"iterations"`
	Converged  bool    `json:"converged"`
	Similarity float64 `json:"similarity"` // mean cosine of an image with its cluster's centre
	Purity     float64 `json:"purity,omitempty"`
}

func (a *app) cluster() *cobra.Command {
	var m explore.KMeans
	c := &cobra.Command{
		Use:   "cluster --model DIR|FILE --data PATH",
		Short: "Divide images into clusters by k-means",
		Long: `Divide the images into k clusters by spherical k-means on their features (Dhillon and Modha 2001), started by k-means++. The same seed gives the
same clusters. If there are labels, they are only used to tell what each cluster holds.`,
		Example: `  moco cluster --model run --data photos/ --k 20 --html clusters.html
  moco cluster --model run --data photos/ --k 100 --json > clusters.jsonl`,
	}
	c.Flags().IntVar(&m.K, "k", 10, "clusters")
	c.Flags().Uint64Var(&m.Seed, "seed", 0, "start of the clusters")
	c.Flags().IntVar(&m.Iterations, "iterations", 100, "at most so many; it stops when no image changes its cluster")
	check := func() error {
		return errors.Join(atLeastOne("--k", &m.K)(), atLeastOne("--iterations", &m.Iterations)())
	}
	return a.explorer(c, check, func(ctx context.Context, x *exploration, set *collection) (any, error) {
		r, err := x.explorer().Cluster(ctx, set.Embedded, m)
		if err != nil {
			return nil, err
		}
		s := clusterSummary{K: len(r.Clusters), Seed: m.Seed, Iterations: r.Iterations, Converged: r.Converged, Similarity: r.Similarity}
		var labels []int
		var shares []float64
		if set.Classes != nil {
			s.Purity, labels, shares = r.Purity(set.Labels, len(set.Classes))
		}
		note := "The most typical images of each cluster, with the cosine to its centre."
		if labels != nil {
			note += " A solid frame marks the cluster's most frequent label, a dashed one any other."
		}
		x.begin([]string{"CLUSTER", "SIZE", "LABEL", "SHARE", "MOST TYPICAL"}, "Clusters", "Largest first", note)
		for i, cl := range r.Clusters {
			list := make([]evaluate.Neighbour, len(cl.Rows))
			for j, row := range cl.Rows {
				list[j] = evaluate.Neighbour{Row: row, Similarity: cl.Similarity[j]}
			}
			e := clusterEvent{Event: "cluster", Cluster: i + 1, Size: len(cl.Rows), Images: set.refs(list)}
			line := []string{fmt.Sprint(i + 1), fmt.Sprint(e.Size), "", "", set.name(cl.Rows[0])}
			about := ""
			if labels != nil {
				e.Label, e.Share = set.Classes[labels[i]], shares[i]
				line[2], line[3] = e.Label, percent(100*e.Share)
				about = fmt.Sprintf("%s of them %s", line[3], e.Label)
			}
			err := x.finding(e, [][]string{line}, func() (report.Strip, error) {
				const most = 20
				strip := report.Strip{Title: fmt.Sprintf("Cluster %d: %s", i+1, plural(e.Size, "image", "images")), Note: about, Marked: labels != nil}
				for _, n := range list[:min(most, len(list))] {
					p, err := set.picture(n.Row, fmt.Sprintf("%.3f %s", n.Similarity, set.label(n.Row)), labels != nil && set.Labels[n.Row] == labels[i])
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
		x.page.Lead = fmt.Sprintf("%d images in %s after %d rounds; mean cosine to the centre %.3f.", set.Len(), plural(len(r.Clusters), "cluster", "clusters"), r.Iterations, r.Similarity)
		if labels != nil {
			x.page.Lead += fmt.Sprintf(" %s carry their cluster's most frequent label.", percent(100*s.Purity))
		}
		if !r.Converged {
			x.page.Lead += " It had not settled yet: --iterations takes more."
		}
		a.say("%s", x.page.Lead)
		return s, nil
	})
}
