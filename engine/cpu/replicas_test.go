package cpu

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"moco/graph"
	"moco/ranks"
	"moco/tensor"
)

// replicated is a graph of replicas whose variables tell sums and gathered rows apart by their bits.
func replicated(replicas int) *graph.Graph {
	const images, ch = 2, 17
	g := graph.New()
	g.Replicas = replicas
	w, fc := g.Variable("w", tensor.Float32, ch, 3, 3, 3), g.Variable("fc", tensor.Float32, 5, ch)
	encode := func(name string) *graph.Node {
		y := g.ReLU(g.Conv(g.ShareInput(name, tensor.Float32, images, 6, 6, 3), w, 1, 1))
		return g.L2Normalise(g.MatMul(g.AveragePool(y), fc, false, true))
	}
	q := encode("x1")
	keys := g.Detach(g.GatherReplicas(encode("x2")))
	loss := g.InfoNCE(graph.Contrast{
		Positive: g.RowDot(q, g.OwnRows(keys)), Negatives: g.MatMul(q, keys, false, true), Temperature: 0.5,
	})
	for i, d := range g.Gradients(loss, g.Fill(1), []*graph.Node{w, fc}) {
		p := []*graph.Node{w, fc}[i]
		g.Assign(p, g.WeightedSum(graph.Term{Coefficient: 1, X: p}, graph.Term{Coefficient: -0.1, X: g.SumReplicas(d)}))
	}
	g.Assign(g.Variable("keys", tensor.Float32, replicas*images, 5), keys)
	g.Assign(g.Variable("ids", tensor.Int32, replicas), g.GatherReplicas(g.ShareInput("ids", tensor.Int32, 1)))
	g.Output("loss", g.SumReplicas(loss))
	return g
}

// hashOf runs a graph of replicas three times on ranks of this process, and returns the hash of all
// that is left on each.
func hashOf(t *testing.T, replicas, size int) string {
	t.Helper()
	hashes := make([]string, size)
	var wg sync.WaitGroup
	for rank, group := range ranks.Local(size) {
		wg.Go(func() {
			e := verified(t, Options{Workers: 1 + rank%2, Group: group})
			g, s := replicated(replicas), e.NewState()
			p, err := e.Compile(g, s)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if sent := p.Cost().SentBytes; (sent == 0) != (size == 1) {
				t.Errorf("%d ranks send %d bytes", size, sent)
			}
			h := sha256.New()
			for _, n := range g.Nodes {
				if n.Op == graph.Variable {
					v := tensor.New(n.Type, n.Shape...)
					fillFrom(v, 0)
					if err := s.Write(n.Name, v); err != nil {
						t.Error(err)
					}
				}
			}
			for range 3 {
				for _, n := range g.Nodes {
					if n.Op == graph.Input {
						in := p.Input(n.Name)
						fillFrom(in, rank*in.Shape.Elements())
					}
				}
				if err := p.Run(); err != nil {
					t.Error(err)
				}
				h.Write(p.Output("loss").Bytes())
			}
			for _, name := range s.Names() {
				v, err := s.Read(name)
				if err != nil {
					t.Error(err)
					return
				}
				h.Write(v.Bytes())
			}
			hashes[rank] = fmt.Sprintf("%x", h.Sum(nil))
		})
	}
	wg.Wait()
	for rank, h := range hashes {
		if h != hashes[0] {
			t.Errorf("%d replicas on %d ranks: rank %d has another result than rank 0", replicas, size, rank)
		}
	}
	return hashes[0]
}

// fillFrom gives a tensor numbers between -1 and 1 that follow from their place, counted from `first`.
func fillFrom(t *tensor.Tensor, first int) {
	for i := range t.Shape.Elements() {
		if h := uint32(first+i+1) * 2654435761; t.Type == tensor.Int32 {
			t.Int32s()[i] = int32(first + i)
		} else {
			t.Float32s()[i] = float32(int32(h)) / (1 << 31)
		}
	}
}

// TestRanks: where replicas run changes no bit.
func TestRanks(t *testing.T) {
	for replicas, sizes := range map[int][]int{2: {2}, 3: {3}, 4: {2, 4}, 6: {3, 6}, 8: {2, 4, 8}} {
		want := hashOf(t, replicas, 1)
		for _, size := range sizes {
			if got := hashOf(t, replicas, size); got != want {
				t.Errorf("%d replicas: %d ranks give other bits than one", replicas, size)
			}
		}
	}
}

// TestUndividedReplicas: the sum's tree must be whole branches of the ranks.
func TestUndividedReplicas(t *testing.T) {
	for _, c := range []struct{ replicas, size int }{{6, 2}, {4, 3}, {2, 4}} {
		e := verified(t, Options{Group: ranks.Local(c.size)[0]})
		if _, err := e.Compile(replicated(c.replicas), e.NewState()); err == nil {
			t.Errorf("%d replicas are divided among %d ranks", c.replicas, c.size)
		}
		g := graph.New() // of one replica, which each rank runs by itself
		g.Output("y", g.ReLU(g.Input("x", tensor.Float32, 3, 2)))
		if _, err := e.Compile(g, e.NewState()); err != nil {
			t.Errorf("a graph without replicas on %d ranks: %v", c.size, err)
		}
	}
}
