package evaluate

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"moco/encoder"
	"moco/engine"
	"moco/engine/cpu"
	"moco/engine/enginetest"
)

// pseudo is the hash of testdata's make_reference.py (see the root package): n numbers between -1
// and 1.
func pseudo(seed, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		h := uint32(seed)*0x9E3779B9 + uint32(i)
		h ^= h >> 16
		h *= 0x85EBCA6B
		h ^= h >> 13
		h *= 0xC2B2AE35
		h ^= h >> 16
		x[i] = 2*float64(h)/(1<<32) - 1
	}
	return x
}

func rows(seed, n, dim int) *Embedded {
	e := &Embedded{Dim: dim, Labels: make([]int, n)}
	for _, v := range pseudo(seed, n*dim) {
		e.Features = append(e.Features, float32(v))
	}
	for _, row := range chunks(e.Features, dim) {
		encoder.Normalise(row)
	}
	return e
}

func engines(t *testing.T) []engine.Engine {
	e, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return []engine.Engine{enginetest.New(), e}
}

// TestKNNReference compares with PyTorch: testdata/knn.json, or the file of that name in
// MOCO_REFERENCE_DIR.
func TestKNNReference(t *testing.T) {
	dir := os.Getenv("MOCO_REFERENCE_DIR")
	if dir == "" {
		dir = "testdata"
	}
	raw, err := os.ReadFile(filepath.Join(dir, "knn.json"))
	if os.IsNotExist(err) && dir != "testdata" {
		t.Skip("no knn.json there")
	}
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Case struct {
			Bank, Dim, Classes, Queries, K int
			T                              float64
		}
		LabelsHead     []int     `json:"labels_head"`
		NeighboursRow0 []int     `json:"neighbours_row0"`
		Predicted      []int     `json:"predicted"`
		VotesRow0      []float64 `json:"votes_row0"`
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	c := want.Case
	bank, queries := rows(8300, c.Bank, c.Dim), rows(8302, c.Queries, c.Dim)
	bank.Classes = make([]string, c.Classes)
	for i, v := range pseudo(8301, c.Bank) {
		bank.Labels[i] = min(int((v+1)/2*float64(c.Classes)), c.Classes-1)
	}
	if !slices.Equal(bank.Labels[:len(want.LabelsHead)], want.LabelsHead) {
		t.Fatalf("labels are %v, want %v", bank.Labels[:8], want.LabelsHead)
	}
	for _, e := range engines(t) {
		t.Run(e.Name(), func(t *testing.T) {
			k := KNN{c.K, c.T}
			list, err := Neighbours(context.Background(), e, bank, queries, c.K)
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range list[0] {
				if n.Row != want.NeighboursRow0[i] {
					t.Errorf("neighbour %d of the first query is row %d, want %d", i, n.Row, want.NeighboursRow0[i])
				}
			}
			for class, v := range k.Votes(list[0], bank.Labels, c.Classes) {
				if math.Abs(v-want.VotesRow0[class]) > 1e-4*max(1, want.VotesRow0[class]) {
					t.Errorf("votes for class %d are %v, want %v", class, v, want.VotesRow0[class])
				}
			}
			r, err := k.Classify(context.Background(), e, bank, queries)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Predicted, want.Predicted) {
				t.Errorf("predicted %v, want %v", r.Predicted, want.Predicted)
			}
		})
	}
}

// TestNeighboursOverSeveralChunks compares the chunked search with sorting everything.
func TestNeighboursOverSeveralChunks(t *testing.T) {
	e := engines(t)[1]
	bank, queries := rows(1, 2*rowsAtOnce+37, 4), rows(2, queriesAtOnce+3, 4)
	list, err := Neighbours(context.Background(), e, bank, queries, 9)
	if err != nil {
		t.Fatal(err)
	}
	for q := 0; q < queries.Len(); q += 41 {
		var all []Neighbour
		for r := range bank.Len() {
			var s float32
			for j := range 4 {
				s += queries.Features[4*q+j] * bank.Features[4*r+j]
			}
			all = append(all, Neighbour{r, s})
		}
		slices.SortFunc(all, nearest)
		for i, n := range list[q] {
			if math.Abs(float64(n.Similarity-all[i].Similarity)) > 1e-6 {
				t.Fatalf("query %d: neighbour %d has similarity %v, want %v", q, i, n.Similarity, all[i].Similarity)
			}
		}
	}
}

func TestKNNCapsKAndRefusesNonsense(t *testing.T) {
	e := engines(t)[1]
	bank, queries := rows(1, 5, 4), rows(2, 3, 4)
	bank.Classes = []string{"a", "b"}
	bank.Labels = []int{0, 0, 1, 0, 0}
	r, err := KNN{200, 0.1}.Classify(context.Background(), e, bank, queries)
	if err != nil || r.K != 5 {
		t.Fatalf("k of 200 with a bank of 5: %+v, %v", r, err)
	}
	unlabelled := rows(2, 3, 4)
	unlabelled.Labels = []int{0, -1, 0}
	for name, c := range map[string]struct {
		k             KNN
		bank, queries *Embedded
	}{
		"no bank":    {KNN{1, 1}, rows(1, 0, 4), queries},
		"k of 0":     {KNN{0, 1}, bank, queries},
		"t of 0":     {KNN{1, 0}, bank, queries},
		"no labels":  {KNN{1, 1}, bank, unlabelled},
		"dimensions": {KNN{1, 1}, bank, rows(1, 3, 5)},
	} {
		if _, err := c.k.Classify(context.Background(), e, c.bank, c.queries); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// TestClassifyAll: several k and t from one search give what each gives alone, over several blocks
// of queries, and the counts are right.
func TestClassifyAll(t *testing.T) {
	e := engines(t)[1]
	bank, queries := rows(1, 300, 6), rows(2, votersAtOnce+5, 6)
	bank.Classes = []string{"a", "b", "c", "d", "e", "f", "g"}
	for i := range bank.Labels {
		bank.Labels[i] = i % 7
	}
	for i := range queries.Labels {
		queries.Labels[i] = i % 7
	}
	all := []KNN{{5, 0.1}, {200, 0.07}, {1, 1}, {999, 0.1}}
	var told []int
	got, err := ClassifyAll(context.Background(), e, all, bank, queries, func(done int) { told = append(told, done) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int{votersAtOnce, votersAtOnce + 5}) {
		t.Errorf("progress is told %v", told)
	}
	for i, k := range all {
		alone, err := k.Classify(context.Background(), e, bank, queries)
		if err != nil {
			t.Fatal(err)
		}
		r := got[i]
		if !slices.Equal(alone.Predicted, r.Predicted) || alone.Top1 != r.Top1 || alone.Top5 != r.Top5 ||
			r.K != min(k.K, 300) || r.T != k.T {
			t.Errorf("%+v among others has %v and %v, alone %v and %v", k, r.Top1, r.Top5, alone.Top1, alone.Top5)
		}
		right, counted := 0, 0
		for q, p := range r.Predicted {
			if p == queries.Labels[q] {
				right++
			}
		}
		for c, row := range r.Confusion {
			right -= row[c]
			for _, n := range row {
				counted += n
			}
		}
		if right != 0 || counted != queries.Len() || r.Top5 <= r.Top1 || r.Top5 > 100 {
			t.Errorf("%+v: the confusion matrix and the predictions differ by %d, it counts %d queries; top 1 %v, top 5 %v",
				k, right, counted, r.Top1, r.Top5)
		}
	}
	if _, err := ClassifyAll(context.Background(), e, nil, bank, queries, nil); err == nil {
		t.Error("no k is no error")
	}
}
