package cpu

import "moco/graph"

// bands cuts images into runs of rows of the output: parts of a pooling.
func bands(n *graph.Node, f func(image, y int)) phase {
	h := n.Shape[1]
	return cut(n.Shape[0]*h, max(1, 64/n.Shape[2]), func(_ *worker, lo, hi int) {
		for i := lo; i < hi; i++ {
			f(i/h, i%h)
		}
	})
}

func (c *compiler) maxPool(n *graph.Node) {
	window := n.Attr.(graph.PoolAttr).Window
	x := c.value(n.In[0])
	y := c.result(n)
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, phases: []phase{bands(n, func(image, oy int) {
		for ox := range n.Shape[2] {
			c.largest(y.row((image*n.Shape[1]+oy)*n.Shape[2]+ox), x, n.In[0].Shape, window, image, oy, ox)
		}
	})}})
}

// largest leaves the largest values of a window in dst.
func (c *compiler) largest(dst []float32, x *buffer, in []int, a graph.Window, image, oy, ox int) {
	first := true
	eachTap(a, in, oy, ox, func(iy, ix int) {
		src := x.row((image*in[1]+iy)*in[2] + ix)
		if first {
			copy(dst, src)
			first = false
			return
		}
		c.engine.path.Larger(dst, src)
	})
}

// eachTap calls f for the pixels of a window that lie inside of the image, row by row.
func eachTap(a graph.Window, in []int, oy, ox int, f func(iy, ix int)) {
	y, x := oy*a.Stride-a.Pad, ox*a.Stride-a.Pad
	for iy := max(y, 0); iy < min(y+a.Kernel, in[1]); iy++ {
		for ix := max(x, 0); ix < min(x+a.Kernel, in[2]); ix++ {
			f(iy, ix)
		}
	}
}

// maxPoolGrad looks for the largest again, which costs less than keeping where it was; the first of several equals gets the gradient. Windows overlap, so an image
// is one part.
func (c *compiler) maxPoolGrad(n *graph.Node) {
	dy, x := c.value(n.In[0]), c.value(n.In[1])
	out, in, a := n.In[0].Shape, n.Shape, n.Attr.(graph.PoolAttr).Window
	dx := c.result(n)
	size := in[1] * in[2] * dx.stride
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy, x}, writes: []*buffer{dx}, phases: []phase{cut(in[0], 1, func(w *worker, image, _ int) {
		clear(dx.f[image*size : (image+1)*size])
		best, g := w.floats(2 * dx.stride)[:dx.stride], w.floats(2 * dx.stride)[dx.stride:2*dx.stride]
		for oy := range out[1] {
			for ox := range out[2] {
				c.largest(best, x, in, a, image, oy, ox)
				copy(g, dy.row((image*out[1]+oy)*out[2]+ox))
				eachTap(a, in, oy, ox, func(iy, ix int) {
					p := (image*in[1]+iy)*in[2] + ix
					c.engine.path.Claim(dx.row(p), g, x.row(p), best)
				})
			}
		}
	})}})
}

func (c *compiler) averagePool(n *graph.Node) {
	x := c.stored(n.In[0])
	y := c.result(n)
	pixels := n.In[0].Shape[1] * n.In[0].Shape[2]
	size := pixels * x.stride
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{x}, writes: []*buffer{y}, phases: []phase{rowsPhase(n.Shape[0], size, func(_ *worker, r int) {
		sum := y.row(r)
		clear(sum)
		c.engine.path.Sums(x.values(r*size, (r+1)*size), x.stride, sum)
		c.engine.path.Scale(sum, sum, 1/float32(pixels))
	})}})
}

func (c *compiler) averagePoolGrad(n *graph.Node) {
	dy := c.value(n.In[0])
	dx := c.activations(n)
	pixels := n.Shape[1] * n.Shape[2]
	c.emit(&op{node: n, cost: n.Cost(), reads: []*buffer{dy}, writes: []*buffer{dx}, phases: []phase{rowsPhase(n.Shape[0], pixels*dx.stride, func(w *worker, r int) {
		if dx.half {
			row := w.floats(dx.stride)
			c.engine.path.Scale(row, dy.row(r), 1/float32(pixels))
			all := dx.h[r*pixels*dx.stride : (r+1)*pixels*dx.stride]
			c.engine.path.Narrow(all[:dx.stride], row)
			for p := 1; p < pixels; p++ {
				copy(all[p*dx.stride:], all[:dx.stride])
			}
			return
		}
		first := dx.row(r * pixels)
		c.engine.path.Scale(first, dy.row(r), 1/float32(pixels))
		for p := 1; p < pixels; p++ {
			copy(dx.row(r*pixels+p), first)
		}
	})}})
}
