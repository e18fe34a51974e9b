package kernel

// machinePaths returns the NEON path: every arm64 processor has it.
func machinePaths() []*Path {
	return []*Path{path("neon", routines{
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
	}, []Tile{
		{6, 16, tile(tile6x16NEON)},
	}, []Grad{
		{4, 16, grad(grad4x16NEON)},
	})}
}
