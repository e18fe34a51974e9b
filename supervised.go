package moco

import "moco/graph"

// supervisedStep trains the same encoder with labels: the baseline that the paper measures itself against. The head is the classifier: encoder.dim
// is the number of classes.
func supervisedStep(g *graph.Graph, r *Recipe, n int) {
	f := newEncoder(g, r, "encoder_q")
	labels := g.Input("labels", int32s, n)
	logits := f.forward(view(g, r, "x", n))
	loss := g.CrossEntropy(logits, labels)
	g.Output("accuracy", g.LabelAccuracy(logits, labels))
	g.Output("q", logits)
	f.update(r, loss)
}
