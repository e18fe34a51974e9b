//go:build amd64 || arm64

package kernel

import (
	"math"
	"unsafe"
)

// attentionRoutines are what an instruction set has for attention in assembly; lists of two are for
// float32 and bfloat16.
type attentionRoutines struct {
	softmax, softmaxGrad func(*uintptr)
	prefetchRows         func(*uintptr)
	scaleRows            [2][2]func(*uintptr) // by source, then by target; nil: the plain one serves
	dotRows              [2]func(*uintptr)
}

// columnMasks holds 16 zeros, then 16 times minus infinity. The 16 floats from 16-n on leave n
// scores of a group as they are.
var columnMasks = func() (m [32]float32) {
	for i := range 16 {
		m[16+i] = float32(math.Inf(-1))
	}
	return m
}()

var one = [1]float32{1}

func index(bf16 bool) int {
	if bf16 {
		return 1
	}
	return 0
}

// softmaxOf is Path.Softmax by a routine.
func softmaxOf(routine func(*uintptr), a SoftmaxArgs) {
	// A score's distance from the maximum is multiplied by two floats that together are
	// scale*log2(e).
	exact := a.Scale * math.Log2E
	high := float32(exact)
	groups := (a.Columns + 15) / 16
	b := args{
		p: pointers{ptr(a.Scores), ptr(a.Max), ptr(a.Sum),
			unsafe.Pointer(&columnMasks[16*groups-a.Columns])},
		n:       [5]int{a.Rows, 4 * a.Pitch, groups},
		factors: [3]float32{high, float32(exact - float64(high)), float32(leastExponent / a.Scale)},
	}
	b.p[4] = unsafe.Pointer(&b.factors)
	b.call(routine)
}

// scaleRowsOf is Path.ScaleRows by a routine for groups of 16 columns.
func scaleRowsOf(routine func(*uintptr), a ScaleRowsArgs) {
	groups := a.Columns / 16
	if routine == nil {
		groups = 0
	}
	if groups > 0 {
		b := args{
			p: pointers{a.Dst.p, a.Src.p, unsafe.Pointer(&one)},
			n: [5]int{a.Rows, a.Dst.size() * a.DstPitch, a.Src.size() * a.SrcPitch, groups},
		}
		if a.Factors != nil {
			b.p[2], b.n[4] = ptr(a.Factors), 4
		}
		b.call(routine)
	}
	if 16*groups < a.Columns {
		a.columns(16 * groups)
	}
}

// usePairs adds the routines that leave bfloat16 for products of pairs.
func (p *Path) usePairs(softmaxPairs, gradPairs, copyPairs func(*uintptr)) {
	floats, rows := p.Softmax, p.ScaleRows
	p.Softmax = func(a SoftmaxArgs) {
		if a.BF16 {
			softmaxOf(softmaxPairs, a)
			return
		}
		floats(a)
	}
	p.ScaleRows = func(a ScaleRowsArgs) {
		if a.Src.bf16 && a.Dst.bf16 {
			scaleRowsOf(copyPairs, a)
			return
		}
		rows(a)
	}
	p.SoftmaxGradPairs = func(a SoftmaxGradArgs, rounded []uint16, pitch int) {
		b := args{
			p: pointers{ptr(a.Weights), ptr(a.Gradients), ptr(a.Inverse), ptr(a.Along), ptr16(rounded)},
			n: [5]int{a.Rows / 2, 4 * a.Pitch, a.Columns / 16, 2 * pitch},
		}
		b.call(gradPairs)
	}
}

// attention puts the routines together: groups of 16 columns in assembly, what is left in Go.
func (r *attentionRoutines) attention() Attention {
	return Attention{
		Softmax: func(a SoftmaxArgs) {
			if a.BF16 {
				softmax(a)
				return
			}
			softmaxOf(r.softmax, a)
		},
		SoftmaxGradPairs: softmaxGradPairs,
		PrefetchRows: func(x Values, pitch, rows, columns int) {
			if rows == 0 {
				return
			}
			b := args{p: pointers{x.p}, n: [5]int{rows, x.size() * pitch, (x.size()*columns + 63) / 64}}
			b.call(r.prefetchRows)
		},
		SoftmaxGrad: func(a SoftmaxGradArgs) {
			b := args{
				p: pointers{ptr(a.Weights), ptr(a.Gradients), ptr(a.Inverse), ptr(a.Along)},
				n: [5]int{a.Rows, 4 * a.Pitch, a.Columns / 16},
			}
			b.call(r.softmaxGrad)
		},
		ScaleRows: func(a ScaleRowsArgs) {
			scaleRowsOf(r.scaleRows[index(a.Src.bf16)][index(a.Dst.bf16)], a)
		},
		DotRows: func(a DotRowsArgs) {
			groups := a.Columns / 16
			if groups == 0 {
				dotRows(a)
				return
			}
			b := args{
				p: pointers{ptr(a.Sum), a.A.p, a.B.p},
				n: [5]int{a.Rows, a.A.size() * a.APitch, a.B.size() * a.BPitch, groups},
			}
			b.call(r.dotRows[index(a.A.bf16)])
			if 16*groups < a.Columns {
				a.columns(16 * groups)
			}
		},
	}
}
