// Package gelu has the functions that GELU and its gradient consist of, for all instruction sets.
package gelu

// Function is 1/2 + c*Top(c*c)/Bottom(c*c), where c is x within -Limit..Limit. Both functions of GELU
// are a half and an odd function that is 1/2 and -1/2 far from zero. A quotient of polynomials
// follows such a function with a third of the terms that a polynomial needs. At the limit its value
// is 1/2 exactly, so that GELU ends in x and in 0.
//
// The coefficients are a minimax fit (Lawson's iteration) to the largest difference. They are
// rounded to float32, so all instruction sets have the same ones.
type Function struct {
	Limit       float64
	Top, Bottom []float64
}

// Cumulative is the normal distribution's Phi(x), off by 1.7e-7 at most in float32; GELU is x times
// it. Slope is GELU's derivative, Phi(x) + x*phi(x), off by 2.3e-7.
var (
	Cumulative = Function{
		Limit: 5.499800205230713,
		Top: []float64{
			0.398942232131958, 0.033851347863674164, 0.004677163902670145, 0.0001688101328909397,
			6.351806405291427e-06, 2.2749162553736824e-08,
		},
		Bottom: []float64{
			1, 0.2515186667442322, 0.02864508517086506, 0.0018843580037355423, 7.36414294806309e-05,
			1.1974748304055538e-06,
		},
	}
	Slope = Function{
		Limit: 5.999800205230713,
		Top: []float64{
			0.7978847622871399, -0.04151805862784386, 0.014530017971992493, -0.00014817563351243734,
			3.3007840102072805e-05, -1.0090192148481947e-07, 2.7852693484931024e-09, -1.5358799301812276e-11,
		},
		Bottom: []float64{
			1, 0.2813006043434143, 0.036971479654312134, 0.0029522310942411423, 0.00015020396676845849,
			5.556303221965209e-06,
		},
	}
)
