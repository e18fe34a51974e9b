package classify

import "context"

// problem is a convex function that minimise finds the lowest point of.
type problem interface {
	// gradient writes the gradient at w to out.
	gradient(ctx context.Context, w, out []float64) error
	// precondition writes to out roughly the inverse of the second derivatives times g.
	precondition(g, out []float64)
}

// memory is how many of the last steps L-BFGS remembers.
const memory = 10

// minimise moves w to the lowest point by L-BFGS (Liu and Nocedal 1989), until the step that is
// left promises to lower the function by less than tolerance, or after so many iterations. It looks
// at gradients only: the function is convex, so a step is good where the slope along it has fallen,
// and float32 losses, whose differences drown in rounding near the end, are not needed.
func minimise(ctx context.Context, p problem, w []float64, tolerance float64, iterations int) error {
	m := minimiser{problem: p, w: w, g: make([]float64, len(w)), next: make([]float64, len(w)),
		nextG: make([]float64, len(w)), d: make([]float64, len(w))}
	if err := p.gradient(ctx, w, m.g); err != nil {
		return err
	}
	for range iterations {
		m.direction()
		slope := dot(m.g, m.d)
		// -slope is twice what a parabola with these second derivatives would fall by.
		if !(-slope/2 > tolerance) {
			return nil
		}
		if err := m.step(ctx, slope); err != nil {
			return err
		}
	}
	return nil
}

// minimiser is the state of L-BFGS.
type minimiser struct {
	problem
	w, g        []float64 // where it is, and the gradient there
	next, nextG []float64 // where the step leads
	d           []float64 // the direction of the step
	moves       []move    // the last ones, oldest first
}

// move is a step that was taken, and the change of the gradient along it.
type move struct {
	s, y []float64
	rho  float64 // 1/(s.y)
}

// direction sets d to minus the inverse Hessian times g, as far as the moves tell that.
func (m *minimiser) direction() {
	q := append([]float64(nil), m.g...)
	alpha := make([]float64, len(m.moves))
	for i := len(m.moves) - 1; i >= 0; i-- {
		alpha[i] = m.moves[i].rho * dot(m.moves[i].s, q)
		add(q, -alpha[i], m.moves[i].y)
	}
	m.precondition(q, m.d)
	for i, v := range m.moves {
		add(m.d, alpha[i]-v.rho*dot(v.y, m.d), v.s)
	}
	for i := range m.d {
		m.d[i] = -m.d[i]
	}
}

// step goes along d until the slope has fallen far enough.
func (m *minimiser) step(ctx context.Context, slope float64) error {
	const tries = 20
	length := 1.0
	for range tries {
		for i := range m.next {
			m.next[i] = m.w[i] + length*m.d[i]
		}
		if err := m.gradient(ctx, m.next, m.nextG); err != nil {
			return err
		}
		now := dot(m.nextG, m.d)
		// The slope rises along d, from below zero. Where it would pass zero on a straight line is a
		// better length, if this one is far from there.
		if 0.9*slope <= now && now <= -0.5*slope {
			break
		}
		factor := 4.0
		if now > slope {
			factor = min(max(slope/(slope-now), 0.1), factor)
		}
		length *= factor
	}
	m.take()
	return nil
}

// take makes the step, and remembers it.
func (m *minimiser) take() {
	var v move
	if len(m.moves) == memory {
		v = m.moves[0]
		copy(m.moves, m.moves[1:])
		m.moves = m.moves[:memory-1]
	} else {
		v = move{s: make([]float64, len(m.w)), y: make([]float64, len(m.w))}
	}
	for i := range v.s {
		v.s[i], v.y[i] = m.next[i]-m.w[i], m.nextG[i]-m.g[i]
	}
	copy(m.w, m.next) // the caller holds w
	m.g, m.nextG = m.nextG, m.g
	along := dot(v.s, v.y)
	if !(along > 0) { // rounding
		return
	}
	v.rho = 1 / along
	m.moves = append(m.moves, v)
}

// dot is the product of two vectors, in four sums: one would wait for itself.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// add adds f times x to y.
func add(y []float64, f float64, x []float64) {
	for i, v := range x[:len(y)] {
		y[i] += f * v
	}
}
