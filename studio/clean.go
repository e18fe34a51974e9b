package studio

import (
	"cmp"
	"net/http"
	"slices"

	"moco/evaluate"
)

// queueLimit is the most pictures of a queue to clean up with.
const queueLimit = 2000

func (s *Studio) getDuplicates(w http.ResponseWriter, _ *http.Request) error {
	a := struct {
		Groups []group `json:"groups"`
		State  string  `json:"state"`
	}{[]group{}, s.work.progress()["duplicates"].State}
	if g := s.work.duplicates.Load(); g != nil && *g != nil {
		a.Groups = *g
	}
	return send(w, a)
}

// getOutliers sends the pictures that are most unlike all others, the most unlike first.
func (s *Studio) getOutliers(w http.ResponseWriter, _ *http.Request) error {
	score := s.work.outliers.Load()
	if score == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	f := s.work.features()
	rows := make([]int, f.Len())
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare((*score)[b], (*score)[a]) })
	a := found{Images: []int{}, Scores: []float32{}}
	for _, row := range rows[:min(len(rows), queueLimit)] {
		a.Images, a.Scores = append(a.Images, f.Images[row]), append(a.Scores, (*score)[row])
	}
	return send(w, a)
}

// doubtful are pictures whose label their neighbours do not share, the widest margin first.
type doubtful struct {
	Images    []int     `json:"images"`
	Labels    []string  `json:"labels"`
	Suggested []string  `json:"suggested"`
	Scores    []float32 `json:"scores"` // share of the votes for the suggested class, less that for the label
}

func (s *Studio) getDoubtful(w http.ResponseWriter, _ *http.Request) error {
	if s.work.near.Load() == nil {
		return &refusal{http.StatusNotFound, errNotYet.Error()}
	}
	return send(w, s.doubtful())
}

// vote is how neighbours vote on a label, as `moco label-errors` does.
var vote = evaluate.KNN{K: neighbours, T: 0.1}

// doubtful finds labels that their neighbours vote against. A label is the person's, or that of the
// data where they gave none. Only neighbours with a label vote.
func (s *Studio) doubtful() doubtful {
	f, near, now := s.work.features(), s.work.near.Load(), s.board.snapshot()
	labels, classes := s.bestLabels(f, &now)
	type doubt struct {
		row, suggested int
		margin         float32
	}
	var all []doubt
	var voters []evaluate.Neighbour
	for row, label := range labels {
		if label < 0 {
			continue
		}
		voters = voters[:0]
		for _, n := range near.of(row, neighbours) {
			if labels[n.Row] >= 0 {
				voters = append(voters, n)
			}
		}
		votes := vote.Votes(voters, labels, len(classes))
		best, sum := 0, 0.0
		for c, v := range votes {
			if sum += v; v > votes[best] {
				best = c
			}
		}
		if votes[best] > votes[label] {
			all = append(all, doubt{row, best, float32((votes[best] - votes[label]) / sum)})
		}
	}
	slices.SortStableFunc(all, func(a, b doubt) int { return cmp.Compare(b.margin, a.margin) })
	d := doubtful{Images: []int{}, Labels: []string{}, Suggested: []string{}, Scores: []float32{}}
	for _, a := range all[:min(len(all), queueLimit)] {
		d.Images, d.Labels = append(d.Images, f.Images[a.row]), append(d.Labels, classes[labels[a.row]])
		d.Suggested, d.Scores = append(d.Suggested, classes[a.suggested]), append(d.Scores, a.margin)
	}
	return d
}

// bestLabels is the label of each row: the person's, else that of the data, else -1.
func (s *Studio) bestLabels(f *features, now *snapshot) (labels []int, classes []string) {
	classes = slices.Clone(now.classes)
	number := map[string]int{}
	for n, c := range classes {
		number[c] = n
	}
	truth := make([]int, len(s.o.Data.Classes()))
	for t, c := range s.o.Data.Classes() {
		n, ok := number[c]
		if !ok {
			n = len(classes)
			classes, number[c] = append(classes, c), n
		}
		truth[t] = n
	}
	labels = make([]int, f.Len())
	for row, i := range f.Images {
		labels[row] = int(now.marks[i].class)
		if t := s.o.Data.Label(i); labels[row] < 0 && t >= 0 {
			labels[row] = truth[t]
		}
	}
	return labels, classes
}
