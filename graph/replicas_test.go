package graph

import (
	"strings"
	"testing"
)

// TestReplicas: what varies from replica to replica is known, and only what does not can be
// assigned.
func TestReplicas(t *testing.T) {
	for want, build := range map[string]func(g *Graph, x, w, d *Node){
		"": func(g *Graph, x, w, d *Node) {
			g.Assign(w, g.SumReplicas(d))
			g.Assign(g.Variable("keys", f32, 8, 3), g.GatherReplicas(x))
			g.Output("own", g.OwnRows(g.GatherReplicas(x)))
		},
		"it varies from replica to replica": func(g *Graph, _, w, d *Node) { g.Assign(w, d) },
		"SumReplicas(float32 5x3)":          func(g *Graph, _, w, _ *Node) { g.SumReplicas(w) },
		"GatherReplicas(float32 5x3)":       func(g *Graph, _, w, _ *Node) { g.GatherReplicas(w) },
		"the same on all replicas":          func(g *Graph, x, _, _ *Node) { g.OwnRows(x) },
		"5 rows cannot be shared among 4":   func(g *Graph, _, w, _ *Node) { g.OwnRows(w) },
		"or not for one":                    func(_ *Graph, _, _, d *Node) { d.Varies = false },
		"is for 3 replicas":                 func(g *Graph, x, _, _ *Node) { g.GatherReplicas(x).Attr = ReplicasAttr{3} },
		"is assigned to":                    func(g *Graph, _, w, d *Node) { g.Assignments = []Assignment{{w, d}} },
	} {
		g := New()
		g.Replicas = 4
		x, w := g.ShareInput("x", f32, 2, 3), g.Variable("w", f32, 5, 3)
		y := g.MatMul(x, w, false, true)
		d := g.Gradients(y, g.ShareInput("dy", f32, 2, 5), []*Node{w})[0]
		if w.Varies || !y.Varies || !d.Varies || g.Input("lr", f32).Varies {
			t.Fatal("the graph does not know what varies")
		}
		build(g, x, w, d)
		err := g.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("the error is %v, want one that says %q", err, want)
		}
	}
}

// TestOneReplica: a graph of one replica has no trace of replicas.
func TestOneReplica(t *testing.T) {
	for replicas := range 2 {
		g := New()
		g.Replicas = replicas
		x := g.ShareInput("x", f32, 2, 3)
		if g.SumReplicas(x) != x || g.GatherReplicas(x) != x || g.OwnRows(x) != x || x.Varies || len(g.Nodes) != 1 {
			t.Errorf("with Replicas %d, collectives are nodes", replicas)
		}
	}
}
