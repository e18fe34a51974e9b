// Package engine says what an engine is: something that compiles a graph once and runs it many
// times. It holds no engine; engine/cpu is one, and package enginetest is what each must pass.
package engine

import (
	"time"

	"moco/graph"
	"moco/ranks"
	"moco/tensor"
)

// Engine compiles graphs for one kind of hardware.
type Engine interface {
	// Name is the engine with the instruction set it chose, for logs: "cpu/avx512".
	Name() string
	// NewState returns an empty set of variables.
	NewState() State
	// Share says which of so many replicas this process computes; the other ranks of its group compute
	// the others. It is an error if the replicas cannot be divided among them.
	Share(replicas int) (ranks.Share, error)
	// Compile checks and plans a graph whose variables live in s, which must come from this
	// engine's NewState. A variable that s has already is shared, and must have the same type and
	// shape; where Compile fails, s is as it was. Compiling takes little time and memory: buffers
	// are made at the first Run.
	Compile(g *graph.Graph, s State) (Program, error)
}

// State holds variables by name between runs. Programs compiled against one State share its
// variables and its working memory; they must not run at the same time.
type State interface {
	// Names lists the variables in the order in which programs first named them.
	Names() []string
	// Read returns a copy of a variable, in the graph's layout.
	Read(name string) (*tensor.Tensor, error)
	// Write sets a variable from t, which must have its type and shape.
	Write(name string, t *tensor.Tensor) error
}

// Program is a compiled graph. Of an input or output that varies from replica to replica, the tensor
// has the rows of each replica that this process computes, in their order.
type Program interface {
	// Input is the tensor to fill with a named input's value before Run; it stays the same tensor.
	Input(name string) *tensor.Tensor
	// Output is the tensor that holds a named output's value after Run; it stays the same tensor.
	Output(name string) *tensor.Tensor
	// Run executes the graph once and then applies its assignments. It allocates nothing after the
	// first time. A graph of replicas runs on all ranks together: Run returns when all have run it.
	Run() error
	// Cost is what one run takes.
	Cost() Cost
	// Profile makes later runs measure each node, until it is called with false, and returns what
	// was measured so far.
	Profile(on bool) []NodeTime
	// Close frees what only this program uses.
	Close() error
}

// Cost is the price of one run of a program.
type Cost struct {
	FLOPs         int64 // as graph.Cost counts them
	VariableBytes int64 // this program's variables
	WorkBytes     int64 // everything else that a run uses, at its planned peak
	SentBytes     int64 // what this process sends to other ranks
}

// HostShape is the shape of the tensor of an input or output: that of the node or, where it varies,
// that of the rows of all replicas that a process computes.
func HostShape(n *graph.Node, replicas int) tensor.Shape {
	switch {
	case !n.Varies:
		return n.Shape
	case len(n.Shape) == 0:
		return tensor.Shape{replicas}
	}
	return append(tensor.Shape{replicas * n.Shape[0]}, n.Shape[1:]...)
}

// PeakBytes is the memory that running the program takes.
func (c Cost) PeakBytes() int64 { return c.VariableBytes + c.WorkBytes }

// TrainingBytes is the memory that training with programs of one state takes: the variables, a copy
// of them while a checkpoint is written, and the largest plan, since the programs work in the same
// memory.
func TrainingBytes(costs ...Cost) int64 {
	var variables, work int64
	for _, c := range costs {
		variables, work = max(variables, c.VariableBytes), max(work, c.WorkBytes)
	}
	return 2*variables + work
}

// Kind says what sort of work an engine does for a node.
type Kind uint8

// The kinds of work. Work that was fused counts as the kind of the operation that it was fused
// into.
const (
	Other       Kind = iota
	Convolution      // a convolution or one of its gradients
	Product          // of matrices
	BatchNorm        // statistics, normalisation and their gradients
	Move             // copies, conversions, inputs and outputs
)

// NodeTime is the time spent on one node, or on several that the engine runs as one.
type NodeTime struct {
	Node  *graph.Node // the first of them
	Kind  Kind
	Label string // what the engine made of it, for people: "Normalise+ReLU"
	Runs  int
	Time  time.Duration // over all runs
	Cost  graph.Cost    // of one run
}
