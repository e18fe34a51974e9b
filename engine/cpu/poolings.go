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

// line is the values of a row of pixels of an image. Those of bfloat16 are what tall has left in
// wide, the first line of the window first.
func (p window) line(x *buffer, image, y, top int, wide []float32) []float32 {
	size := p.in[2] * x.stride
	if x.element == bfloat16s {
		return wide[(y-top)*size:][:size]
	}
	return x.f32[(image*p.in[1]+y)*size:][:size]
}

// tall leaves in dst the largest of the lines from top to bottom of an image, and in wide these lines
// where they are bfloat16.
func (c *compiler) tall(dst []float32, p window, x *buffer, image, top, bottom int, wide []float32) {
	size := p.in[2] * x.stride
	for y := top; y < bottom; y++ {
		src := p.line(x, image, y, top, wide)
		if x.element == bfloat16s {
			c.engine.path.Widen(src, x.bf16[(image*p.in[1]+y)*size:][:size])
		}
		if y == top {
			copy(dst, src)
		} else {
			c.engine.path.Larger(dst, src)
		}
	}
}

// largest leaves in dst the largest of the pixels from left to right of a line.
func (c *compiler) largest(dst, line []float32, left, right int) {
	ch := len(dst)
	copy(dst, line[left*ch:])
	for x := left + 1; x < right; x++ {
		c.engine.path.Larger(dst, line[x*ch:(x+1)*ch])
	}
}

// emitMaxPool takes the largest of a window's rows first, whole lines at a time, and then of its
// columns: a kernel is called for a line where it would be called for each pixel of each window.
func emitMaxPool(c *compiler, s *step, o *op) {
	x, y := s.in[0].buffer, s.out[0].buffer
	out, p := s.node.Shape, windowOf(s.node, s.node.In[0].Shape)
	h, w, ch := out[1], out[2], x.stride
	line := p.in[2] * ch
	o.needs((p.Kernel+1)*line + w*ch)
	o.then(cut(out[0]*h, max(1, 64/w), func(worker *worker, lo, hi int) {
		scratch := worker.floats((p.Kernel+1)*line + w*ch)
		tall, wide, row := scratch[:line], scratch[line:(p.Kernel+1)*line], scratch[(p.Kernel+1)*line:]
		for i := lo; i < hi; i++ {
			top, bottom := p.span(i%h, p.in[1])
			c.tall(tall, p, x, i/h, top, bottom, wide)
			if y.element != bfloat16s {
				row = y.f32[i*w*ch : (i+1)*w*ch]
			}
			for ox := range w {
				left, right := p.span(ox, p.in[2])
				c.largest(row[ox*ch:(ox+1)*ch], tall, left, right)
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
			c.tall(tall, p, x, image, top, bottom, wide)
			for ox := range out[2] {
				left, right := p.span(ox, in[2])
				c.largest(best, tall, left, right)
				copy(g, dy.row((image*out[1]+oy)*out[2]+ox))
				for iy := top; iy < bottom; iy++ {
					src := p.line(x, image, iy, top, wide)
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
