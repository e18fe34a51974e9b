package reference

import (
	"math"

	"moco/graph"
)

func init() {
	register(graph.Attention, with(func(a graph.AttentionAttr, in []*Value, y *Value) {
		eachHead(a.Heads, in[0], func(h head) {
			for i := range h.tokens {
				to := h.channels(y, i)
				for j, p := range h.weights(i) {
					for c, v := range h.value(in[0], j) {
						to[c] += p * v
					}
				}
			}
		})
	}))
	register(graph.AttentionGrad, with(func(a graph.AttentionAttr, in []*Value, dx *Value) {
		eachHead(a.Heads, in[1], func(h head) {
			for i := range h.tokens {
				h.backward(i, h.channels(in[0], i), h.channels(in[2], i), dx)
			}
		})
	}))
}

// head is one head of one example.
type head struct {
	qkv            *Value // [N,T,3C]
	example, index int
	tokens, size   int // T and D
	width          int // C
	scale          float64
}

// eachHead calls f for every head of every example.
func eachHead(heads int, qkv *Value, f func(h head)) {
	width := qkv.shape[2] / 3
	for n := range qkv.shape[0] {
		for i := range heads {
			size := width / heads
			f(head{
				qkv: qkv, example: n, index: i, tokens: qkv.shape[1], size: size, width: width,
				scale: 1 / math.Sqrt(float64(size)),
			})
		}
	}
}

// channels are the head's channels of token i of a value [N,T,C].
func (h head) channels(v *Value, i int) []float64 { return h.part(v, i, h.width, 0) }

// query, key and value are the head's channels of token i of a value [N,T,3C].
func (h head) query(v *Value, i int) []float64 { return h.part(v, i, 3*h.width, 0) }
func (h head) key(v *Value, i int) []float64   { return h.part(v, i, 3*h.width, h.width) }
func (h head) value(v *Value, i int) []float64 { return h.part(v, i, 3*h.width, 2*h.width) }

// part is the head's channels behind channel `from` of token i, of which each has `each` channels.
func (h head) part(v *Value, i, each, from int) []float64 {
	lo := (h.example*h.tokens+i)*each + from + h.index*h.size
	return v.x[lo : lo+h.size]
}

// weights are the softmax of query i over the keys.
func (h head) weights(i int) []float64 {
	p := make([]float64, h.tokens)
	for j := range p {
		p[j] = h.scale * dot(h.query(h.qkv, i), h.key(h.qkv, j))
	}
	all := logSum(p[0], p[1:])
	for j := range p {
		p[j] = math.Exp(p[j] - all)
	}
	return p
}

// backward adds to the gradient dx of qkv what comes by query i, whose result is y.
func (h head) backward(i int, dy, y []float64, dx *Value) {
	mean := dot(dy, y)
	q, dq := h.query(h.qkv, i), h.query(dx, i)
	for j, p := range h.weights(i) {
		k, dk, dv := h.key(h.qkv, j), h.key(dx, j), h.value(dx, j)
		ds := p * (dot(dy, h.value(h.qkv, j)) - mean) * h.scale
		for c := range dy {
			dv[c] += p * dy[c]
			dq[c] += ds * k[c]
			dk[c] += ds * q[c]
		}
	}
}
