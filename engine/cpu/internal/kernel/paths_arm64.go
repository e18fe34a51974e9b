package kernel

// machinePaths returns the assembly paths that this processor runs, fastest first. Every arm64
// processor has NEON.
func machinePaths() []*Path {
	paths := []*Path{path("neon", neon(), neonTiles(), neonGrads())}
	if hasBF16() {
		paths = append([]*Path{neonBF16()}, paths...)
	}
	return paths
}

func neonTiles() []Tile { return []Tile{{6, 16, tile(tile6x16NEON)}} }

func neonGrads() []Grad { return []Grad{{6, 16, grad(grad6x16NEON)}, {4, 16, grad(grad4x16NEON)}} }

// neonBF16 is neon with the instructions of FEAT_BF16 for products and for rounding. Products are
// BFMMLA: twice those of BFDOT and four times those of FMLA in a cycle, on models of all processors
// that there are models of (scripts/mca). Each addition rounds to odd, not to nearest, and a
// denormal counts as zero, so results differ from those of AVX-512 in the last bits of float32. All
// arm64 processors give the same bits, since nobody sets the mode that would change them
// (FPCR.EBF).
func neonBF16() *Path {
	r := neon()
	r.normalise[1] = [2]func(*uintptr){normaliseHalf16NEONBF16}
	r.normaliseAdd[1] = [2]func(*uintptr){normaliseAddHalf16NEONBF16}
	r.gradInput[1] = [2]func(*uintptr){gradInputHalf16NEONBF16}
	r.gradInputSign[1] = [2]func(*uintptr){gradInputSignHalf16NEONBF16}
	r.gelu[1] = [2]func(*uintptr){geluHalf16NEONBF16}
	r.geluGrad[1] = [2]func(*uintptr){geluGradHalf16NEONBF16}
	r.layerNorm[1] = [2]func(*uintptr){layerNormHalf16NEONBF16}
	r.layerNormGrad[1] = [2]func(*uintptr){layerNormGradHalf16NEONBF16}
	r.layerNormGradAdd[1] = [2]func(*uintptr){layerNormGradAddHalf16NEONBF16}
	r.narrow = narrowNEONBF16
	r.attention.scaleRows[0][1] = scaleRowsToHalfNEONBF16
	p := path("neonbf16", r, neonTiles(), neonGrads())
	p.Pairs = []Tile{{6, 16, tile(tilePairs6x16NEONBF16)}}
	p.PairGrads = []Grad{{6, 16, grad(gradPairs6x16NEONBF16)}, {4, 16, grad(gradPairs4x16NEONBF16)}}
	p.usePairs(softmaxNEONBF16, softmaxGradPairsNEONBF16, scaleRowsHalfToHalfNEONBF16)
	p.useQuads(quadsNEONBF16, gatherQuadsNEON, transposePairs8NEON)
	return p
}

// neon are the routines of NEON.
func neon() routines {
	return routines{
		sums:          strips{{sums16NEON, nil}, {sumsHalf16NEON, nil}},
		squares:       strips{{squares16NEON, nil}, {squaresHalf16NEON, nil}},
		normalise:     strips{{normalise16NEON, nil}, {normaliseHalf16NEON, nil}},
		normaliseAdd:  strips{{normaliseAdd16NEON, nil}, {normaliseAddHalf16NEON, nil}},
		gradSums:      strips{{gradSums16NEON, nil}, {gradSumsHalf16NEON, nil}},
		gradSumsSign:  strips{{gradSumsSign16NEON, nil}, {gradSumsSignHalf16NEON, nil}},
		gradInput:     strips{{gradInput16NEON, nil}, {gradInputHalf16NEON, nil}},
		gradInputSign: strips{{gradInputSign16NEON, nil}, {gradInputSignHalf16NEON, nil}},
		relu:          reluNEON, reluGrad: reluGradNEON, reluGradBF16: reluGradHalfNEON, widen: widenNEON,
		narrow: narrowNEON, pair: pairNEON, larger: largerNEON, claim: claimNEON,
		weightedSum: [3]func(*uintptr){weightedSum1NEON, weightedSum2NEON, weightedSum3NEON},
		winograd: Winograd{
			Input:       transform(winogradInputNEON),
			Output:      transform(winogradOutputNEON),
			Weights:     transform(winogradWeightsNEON),
			OutputGrad:  transform(winogradOutputGradNEON),
			WeightsGrad: transform(winogradWeightsGradNEON),
		},
		transpose8: transpose8NEON, rowMax: rowMaxNEON, expSum: expSumNEON, dot: dotNEON,
		gather: gatherNEON, gatherHalf: gatherHalfNEON, gatherPairs: gatherPairsNEON,
		attention: attentionRoutines{
			softmax:      softmaxNEON,
			softmaxGrad:  softmaxGradNEON,
			prefetchRows: prefetchRowsNEON,
			scaleRows:    [2][2]func(*uintptr){{scaleRowsToNEON, scaleRowsToHalfNEON}, {scaleRowsHalfToNEON, nil}},
			dotRows:      [2]func(*uintptr){dotRowsNEON, dotRowsHalfNEON},
		},
		gelu:             strips{{gelu16NEON, nil}, {geluHalf16NEON, nil}},
		geluGrad:         strips{{geluGrad16NEON, nil}, {geluGradHalf16NEON, nil}},
		layerNorm:        strips{{layerNorm16NEON, nil}, {layerNormHalf16NEON, nil}},
		layerNormGrad:    strips{{layerNormGrad16NEON, nil}, {layerNormGradHalf16NEON, nil}},
		layerNormGradAdd: strips{{layerNormGradAdd16NEON, nil}, {layerNormGradAddHalf16NEON, nil}},
		adam:             adamNEON,
		peak:             peakNEON, peakFLOPs: 24 * 2 * 4,
	}
}
