package cpu

import (
	"slices"

	"moco/graph"
)

// levelsOf is the nodes of a graph in the order in which they run. A graph of replicas is cut into
// levels, each of which ends with collectives: all replicas of this process run a level, one after
// the other, before any runs the next. What is the same on all replicas runs once, before them.
//
// A value that is made in one level and read in a later one takes memory for each replica. So a node
// runs as late as its readers let it, or beside what it reads where that is more: the queries' encoder,
// which no collective waits for, runs behind the one that gathers the keys, and its statistics with it.
func levelsOf(g *graph.Graph) [][]*graph.Node {
	if g.Replicas <= 1 {
		return [][]*graph.Node{g.Nodes}
	}
	level := latest(g)
	for i, n := range g.Nodes {
		if at, ok := besideOperands(n, level); ok {
			level[i] = at
		}
	}
	levels := make([][]*graph.Node, slices.Max(level)+1)
	for _, repeated := range []bool{false, true} {
		for i, n := range g.Nodes {
			if (n.Varies || graph.Collective(n.Op)) == repeated {
				levels[level[i]] = append(levels[level[i]], n)
			}
		}
	}
	return levels
}

// behind is the first level in which the value of a node of a level can be read.
func behind(n *graph.Node, level int) int {
	if graph.Collective(n.Op) {
		return level + 1
	}
	return level
}

// latest is for each node the last level in which it can run, which is the first one that reads it.
// What nobody reads, such as a variable's new value, can run behind the last collectives.
func latest(g *graph.Graph) []int {
	early, late := make([]int, len(g.Nodes)), make([]int, len(g.Nodes))
	last := 0
	for i, n := range g.Nodes {
		for _, in := range n.In {
			early[i] = max(early[i], behind(in, early[in.ID]))
		}
		if graph.Collective(n.Op) {
			last = max(last, early[i])
		}
		late[i] = -1
	}
	for i, n := range slices.Backward(g.Nodes) {
		switch {
		case late[i] >= 0:
		case graph.Collective(n.Op):
			late[i] = last
		default:
			late[i] = last + 1
		}
		for _, in := range n.In {
			if at := late[i] - behind(in, 0); late[in.ID] < 0 || late[in.ID] > at {
				late[in.ID] = at
			}
		}
	}
	return late
}

// besideOperands is the first level in which a node can run, where that is better: its result is no
// larger than what it reads of what replicas have computed before, each for itself, and which would
// have to wait for it. A collective's result takes no memory for each replica.
func besideOperands(n *graph.Node, level []int) (at int, better bool) {
	if n.Op == graph.Input || n.Op == graph.Variable {
		return 0, false
	}
	waiting := 0
	for _, in := range n.In {
		at = max(at, behind(in, level[in.ID]))
		if in.Varies && in.Op != graph.Input {
			waiting += in.Shape.Elements()
		}
	}
	return at, waiting > 0 && (graph.Collective(n.Op) || n.Shape.Elements() <= waiting)
}
