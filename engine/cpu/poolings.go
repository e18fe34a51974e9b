package cpu

import "moco/graph"

var poolOperations = operations{
	graph.MaxPool:         {operands: storedOperand, element: activation, emit: emitMaxPool},
	graph.MaxPoolGrad:     {operands: poolGradOperands, emit: emitMaxPoolGrad},
	graph.AveragePool:     {operands: storedOperand, emit: emitAveragePool},
	graph.AveragePoolGrad: {element: activation, emit: emitAveragePoolGrad},
}

// poolGradOperands: the gradient is read a pixel at a time, the images line by line.
func poolGradOperands(c *compiler, s *step) {
	c.want(s, 0, inRows, float32s)
	c.stored(s, 1)
}

// window is the pooling windows over images of a shape.
type window struct {
	graph.Window
	in []int // [N,H,W,C]
}

func windowOf(n *graph.Node, in []int) window { return window{n.Attr.(graph.PoolAttr).Window, in} }

// span is the rows, or columns, of an image of a size that the window of an output place covers.
func (p window) span(at, size int) (from, to int) {
	at = at*p.Stride - p.Pad
	return max(at, 0), min(at+p.Kernel, size)
}

// line is the values of a row of pixels of an image, widened to scratch if they are bfloat16.
func (p window) line(c *compiler, x *buffer, image, y int, scratch []float32) []float32 {
	size := p.in[2] * x.stride
	lo := (image*p.in[1] + y) * size
	if x.element == bfloat16s {
		c.engine.path.Widen(scratch[:size], x.bf16[lo:lo+size])
		return scratch[:size]
	}
	return x.f32[lo : lo+size]
}

// emitMaxPool takes the largest of a window's rows first, whole lines at a time, and then of its
// columns: a kernel is called for a line where it would be called for each pixel of each window.
func emitMaxPool(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	out, p := s.node.Shape, windowOf(s.node, s.node.In[0].Shape)
	h, w, ch := out[1], out[2], x.stride
	line := p.in[2] * ch
	o.needs(2*line + w*ch)
	o.then(cut(out[0]*h, max(1, 64/w), func(worker *worker, lo, hi int) {
		scratch := worker.floats(2*line + w*ch)
		tall, wide, row := scratch[:line], scratch[line:2*line], scratch[2*line:]
		for i := lo; i < hi; i++ {
			from, to := p.span(i%h, p.in[1])
			copy(tall, p.line(c, x, i/h, from, wide))
			for iy := from + 1; iy < to; iy++ {
				c.engine.path.Larger(tall, p.line(c, x, i/h, iy, wide))
			}
			if y.element != bfloat16s {
				row = y.f32[i*w*ch : (i+1)*w*ch]
			}
			for ox := range w {
				from, to := p.span(ox, p.in[2])
				dst := row[ox*ch : (ox+1)*ch]
				copy(dst, tall[from*ch:])
				for ix := from + 1; ix < to; ix++ {
					c.engine.path.Larger(dst, tall[ix*ch:(ix+1)*ch])
				}
			}
			if y.element == bfloat16s {
				c.engine.path.Narrow(y.bf16[i*w*ch:(i+1)*w*ch], row)
			}
		}
	}))
}

// emitMaxPoolGrad looks for the largest again, which costs less than keeping where it was; the
// first of several equals gets the gradient. Windows overlap, so an image is one part.
func emitMaxPoolGrad(c *compiler, s *step, o *op) {
	dy, x, dx := s.in[0].buffer, s.in[1].buffer, s.out[0].buffer
	out, in, p := s.node.In[0].Shape, s.node.Shape, windowOf(s.node, s.node.Shape)
	ch := dx.stride
	line := in[2] * ch
	o.needs((p.Kernel+1)*line + 2*ch)
	o.then(cut(in[0], 1, func(w *worker, image, _ int) {
		clear(dx.f32[image*in[1]*line : (image+1)*in[1]*line])
		scratch := w.floats((p.Kernel+1)*line + 2*ch)
		tall, wide, rest := scratch[:line], scratch[line:(p.Kernel+1)*line], scratch[(p.Kernel+1)*line:]
		best, g := rest[:ch], rest[ch:2*ch]
		for oy := range out[1] {
			top, bottom := p.span(oy, in[1])
			for iy := top; iy < bottom; iy++ {
				src := p.line(c, x, image, iy, wide[(iy-top)*line:])
				if iy == top {
					copy(tall, src)
				} else {
					c.engine.path.Larger(tall, src)
				}
			}
			for ox := range out[2] {
				left, right := p.span(ox, in[2])
				copy(best, tall[left*ch:])
				for ix := left + 1; ix < right; ix++ {
					c.engine.path.Larger(best, tall[ix*ch:(ix+1)*ch])
				}
				copy(g, dy.row((image*out[1]+oy)*out[2]+ox))
				for iy := top; iy < bottom; iy++ {
					src := wide[(iy-top)*line:]
					if x.element != bfloat16s {
						src = x.f32[(image*in[1]+iy)*line:]
					}
					for ix := left; ix < right; ix++ {
						c.engine.path.Claim(dx.row((image*in[1]+iy)*in[2]+ix), g, src[ix*ch:(ix+1)*ch], best)
					}
				}
			}
		}
	}))
}

func emitAveragePool(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	in := s.node.In[0].Shape
	pixels := in[1] * in[2]
	size := pixels * x.stride
	o.then(rowsPhase(in[0], size, func(_ *worker, r int) {
		sum := y.row(r)
		clear(sum)
		c.engine.path.Sums(x.values(r*size, (r+1)*size), x.stride, sum)
		c.engine.path.Scale(sum, sum, 1/float32(pixels))
	}))
}

func emitAveragePoolGrad(c *compiler, s *step, o *op) {
	dy, dx := s.in[0].buffer, s.out[0].buffer
	pixels, ch := s.node.Shape[1]*s.node.Shape[2], s.out[0].buffer.stride
	o.needs(ch)
	o.then(rowsPhase(s.node.Shape[0], pixels*ch, func(w *worker, r int) {
		if dx.element == bfloat16s {
			row := w.floats(ch)
			c.engine.path.Scale(row, dy.row(r), 1/float32(pixels))
			all := dx.bf16[r*pixels*ch : (r+1)*pixels*ch]
			c.engine.path.Narrow(all[:ch], row)
			for p := 1; p < pixels; p++ {
				copy(all[p*ch:], all[:ch])
			}
			return
		}
		first := dx.row(r * pixels)
		c.engine.path.Scale(first, dy.row(r), 1/float32(pixels))
		for p := 1; p < pixels; p++ {
			copy(dx.row(r*pixels+p), first)
		}
	}))
}
