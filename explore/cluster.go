package explore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"moco/evaluate"
	"moco/internal/loader"
	"moco/internal/rng"
)

// KMeans is spherical k-means (Dhillon and Modha 2001, Concept decompositions for large sparse text
// data). A row of length one belongs to the centre with the largest cosine, and a centre is the
// mean of its rows scaled to length one. The start is k-means++ (Arthur and Vassilvitskii 2007): it
// tries several draws for each centre and keeps the best.
type KMeans struct {
	K          int    // number of clusters, at most that of images
	Seed       uint64 // of the random start
	Iterations int    // at most; 100 if 0
}

// Cluster is a group of similar images.
type Cluster struct {
	Rows       []int     // most typical first
	Similarity []float32 // of each row to the centre
}

// Clustering is all clusters, the largest first. Ties go to the one with the lowest row.
type Clustering struct {
	Clusters   []Cluster
	Iterations int
	Converged  bool    // the last iteration moved no image
	Similarity float64 // mean over all images
}

const clusterTag = 0x6b6d65616e73 // "kmeans": a stream of its own

// alike is the cosine from which rows count as copies: rounding cannot tell them apart.
const alike = 1 - 1e-6

// Cluster divides the images into clusters. There are fewer than K if there are fewer different
// images.
func (x Explorer) Cluster(ctx context.Context, set *evaluate.Embedded, m KMeans) (*Clustering, error) {
	if set.Len() == 0 {
		return nil, errEmpty
	}
	if m.K < 1 || m.Iterations < 0 {
		return nil, fmt.Errorf("k-means needs at least 1 cluster and a positive number of iterations, not %d and %d", m.K, m.Iterations)
	}
	n, limit := set.Len(), cmp.Or(m.Iterations, 100)
	centres, err := x.start(ctx, set, min(m.K, n), m.Seed)
	if err != nil {
		return nil, err
	}
	k := centres.Len() // fewer than K if there are fewer different rows
	result := &Clustering{}
	own, similarity := make([]int32, n), make([]float32, n)
	for i := range own {
		own[i] = -1
	}
	for result.Iterations = 0; ; {
		changed, err := x.assign(ctx, set, centres, own, similarity)
		if err != nil {
			return nil, err
		}
		members := membersOf(own, k)
		if changed == 0 {
			result.Converged = true
		}
		if result.Converged || result.Iterations == limit {
			result.finish(members, similarity)
			return result, nil
		}
		refill(members, own, similarity)
		if err := means(ctx, set, own, centres); err != nil {
			return nil, err
		}
		result.Iterations++
		x.progress("clusters", result.Iterations, limit)
	}
}

// start picks k rows as centres. The probability of a row is proportional to its squared distance
// to the nearest centre so far: 2 - 2 cosine. Of 2 + ln k draws, start takes the one that leaves
// the least total distance.
func (x Explorer) start(ctx context.Context, set *evaluate.Embedded, k int, seed uint64) (*evaluate.Embedded, error) {
	n, tries := set.Len(), 2+int(math.Log(float64(k)))
	r := rng.New(clusterTag, seed)
	centres := &evaluate.Embedded{Dim: set.Dim, Features: make([]float32, 0, k*set.Dim)}
	add := func(to *evaluate.Embedded, i int) error {
		at := len(to.Features)
		to.Features, to.Labels = append(to.Features, make([]float32, set.Dim)...), append(to.Labels, -1)
		return set.Read(i, to.Features[at:])
	}
	distance := make([]float64, n) // squared, to the nearest centre
	for i := range distance {
		distance[i] = math.Inf(1)
	}
	first := r.IntN(n)
	drawn := []int{first}
	for {
		// The distances with each of the drawn rows as the next centre.
		candidates := &evaluate.Embedded{Dim: set.Dim}
		for _, i := range drawn {
			if err := add(candidates, i); err != nil {
				return nil, err
			}
		}
		next := make([][]float64, len(drawn))
		for c := range next {
			next[c] = make([]float64, n)
		}
		err := evaluate.Similarities(ctx, x.Engine, candidates, set, func(q, lo int, similarity []float32) {
			for c, s := range similarity {
				next[lo+c][q] = min(distance[q], max(0, 2-2*float64(s)))
				if s >= alike {
					next[lo+c][q] = 0
				}
			}
		})
		if err != nil {
			return nil, err
		}
		best, least := 0, math.Inf(1)
		for c := range next {
			var sum float64
			for _, d := range next[c] {
				sum += d
			}
			if sum < least {
				best, least = c, sum
			}
		}
		if err := add(centres, drawn[best]); err != nil {
			return nil, err
		}
		distance = next[best]
		// No row differs from all centres, so there are no more clusters.
		if centres.Len() == k || least == 0 {
			x.progress("start", k, k)
			return centres, nil
		}
		x.progress("start", centres.Len(), k)
		drawn = drawn[:0]
		for range tries {
			drawn = append(drawn, drawFrom(distance, r.Float64()*least))
		}
	}
}

// drawFrom returns the place at which the running sum of weights passes a point.
func drawFrom(weights []float64, point float64) int {
	last := 0
	for i, w := range weights {
		if w == 0 {
			continue
		}
		if last = i; point < w {
			return i
		}
		point -= w
	}
	return last // rounding left a rest
}

// assign gives each row its nearest centre, the lower one on a tie, and counts the rows that
// changed centre.
func (x Explorer) assign(ctx context.Context, set, centres *evaluate.Embedded, own []int32,
	similarity []float32) (changed int, err error) {
	next, best := make([]int32, len(own)), make([]float32, len(own))
	err = evaluate.Similarities(ctx, x.Engine, centres, set, func(q, lo int, s []float32) {
		if lo == 0 {
			best[q] = float32(math.Inf(-1))
		}
		for c, v := range s {
			if v > best[q] {
				next[q], best[q] = int32(lo+c), v
			}
		}
	})
	for i := range own {
		if own[i] != next[i] {
			changed++
		}
	}
	copy(own, next)
	copy(similarity, best)
	return changed, err
}

// membersOf lists the rows of each of k clusters.
func membersOf(own []int32, k int) [][]int {
	members := make([][]int, k)
	for i, c := range own {
		members[c] = append(members[c], i)
	}
	return members
}

// refill gives each empty cluster the row that is least like its centre. It takes no row that is
// alone in its cluster, and none if all rows equal their centres.
func refill(members [][]int, own []int32, similarity []float32) {
	for c := range members {
		if len(members[c]) > 0 {
			continue
		}
		worst := -1
		for i, s := range similarity {
			if s < alike && len(members[own[i]]) > 1 && (worst < 0 || s < similarity[worst]) {
				worst = i
			}
		}
		if worst < 0 {
			return
		}
		from := own[worst]
		members[from] = slices.DeleteFunc(members[from], func(i int) bool { return i == worst })
		members[c] = []int{worst}
		own[worst], similarity[worst] = int32(c), 1
	}
}

// means sets each centre to the mean of its rows, scaled to length one. A centre stays if it has no
// rows or they cancel out. The rows are read once, and those of a cluster are added in order, so
// the number of workers does not change the sum.
func means(ctx context.Context, set *evaluate.Embedded, own []int32, centres *evaluate.Embedded) error {
	k, dim := centres.Len(), set.Dim
	sums := make([]float64, k*dim)
	err := eachTile(ctx, set, func(first int, tile []float32) error {
		rows := make([][]int, k) // of the tile, by cluster
		for i := range len(tile) / dim {
			c := own[first+i]
			rows[c] = append(rows[c], i)
		}
		return loader.Parallel(ctx, k, runtime.GOMAXPROCS(0), func(_, c int) error {
			sum := sums[c*dim : (c+1)*dim]
			for _, i := range rows[c] {
				for j, v := range tile[i*dim : (i+1)*dim] {
					sum[j] += float64(v)
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for c := range k {
		setMean(sums[c*dim:(c+1)*dim], row(centres, c))
	}
	return nil
}

// setMean sets a centre to the direction of a sum of rows.
func setMean(sum []float64, centre []float32) {
	var square float64
	for _, v := range sum {
		square += v * v
	}
	if square < 1e-12 {
		return
	}
	for j, v := range sum {
		centre[j] = float32(v / math.Sqrt(square))
	}
}

// finish puts rows and clusters in order.
func (r *Clustering) finish(members [][]int, similarity []float32) {
	for _, rows := range members {
		if len(rows) == 0 {
			continue
		}
		slices.SortFunc(rows, func(a, b int) int {
			return cmp.Or(cmp.Compare(similarity[b], similarity[a]), cmp.Compare(a, b))
		})
		c := Cluster{Rows: rows}
		for _, i := range rows {
			c.Similarity = append(c.Similarity, similarity[i])
		}
		r.Clusters = append(r.Clusters, c)
	}
	for _, s := range similarity {
		r.Similarity += float64(s) / float64(len(similarity))
	}
	slices.SortFunc(r.Clusters, func(a, b Cluster) int {
		return cmp.Or(cmp.Compare(len(b.Rows), len(a.Rows)), cmp.Compare(slices.Min(a.Rows), slices.Min(b.Rows)))
	})
}

// Purity is the share of images that carry their cluster's most frequent label (Manning et al.
// 2008, Introduction to information retrieval, Sec. 16.3). label and share are each cluster's most
// frequent label and its share.
func (r *Clustering) Purity(labels []int, classes int) (purity float64, label []int, share []float64) {
	all, right := 0, 0
	for _, c := range r.Clusters {
		count := make([]int, classes)
		best := 0
		for _, i := range c.Rows {
			l := labels[i]
			if count[l]++; count[l] > count[best] || count[l] == count[best] && l < best {
				best = l
			}
		}
		label, share = append(label, best), append(share, float64(count[best])/float64(len(c.Rows)))
		all, right = all+len(c.Rows), right+count[best]
	}
	return float64(right) / float64(all), label, share
}
