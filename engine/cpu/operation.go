package cpu

import (
	"maps"

	"moco/graph"
)

// table has an entry for each node kind that the engine has kernels for. A new kind is an entry in
// its family's table, at the top of the family's file; until it has one, it runs by its definition.
var table operations

func init() { // not an initialiser: operations refer to each other through the table
	table = operations{graph.Input: inputOperation}
	for _, family := range []operations{
		convOperations, normOperations, elementOperations, poolOperations, matrixOperations, contrastOperations,
		rowOperations, shapeOperations, lossOperations, replicaOperations, layerNormOperations, adamOperations, muonOperations,
		attentionOperations,
	} {
		maps.Copy(table, family)
	}
}

// operationOf is what the engine does for a node kind; nil for a kind that nobody has defined.
func operationOf(op graph.Op) *operation {
	if o := table[op]; o != nil {
		return o
	}
	return defined(op)
}

// operationOf is what the engine does for a node.
func (e *Engine) operationOf(n *graph.Node) *operation {
	o := operationOf(n.Op)
	if _, together := n.Attr.(graph.ReplicasAttr); together {
		return o // its definition is for an engine that has all replicas
	}
	if e.byDefinition && n.Op != graph.Input || o != nil && o.fits != nil && !o.fits(n) {
		return defined(n.Op)
	}
	return o
}
