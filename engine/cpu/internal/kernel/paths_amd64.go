package kernel

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// machinePaths returns the assembly paths that this processor runs, fastest first.
func machinePaths() []*Path {
	var paths []*Path
	x86 := &cpu.X86
	if x86.HasAVX512F && x86.HasAVX512DQ && x86.HasAVX512BW && x86.HasAVX512VL && x86.HasFMA {
		paths = append(paths, avx512())
		if x86.HasAVX512BF16 {
			paths = append(paths, avx512bf16())
			// Zen issues two VDPBF16PS in a cycle, twice the products of its multiply-adds. Intel's
			// cores issue one in two cycles (measured: half of the multiply-adds' speed).
			if vendor() == [12]byte([]byte("AuthenticAMD")) {
				slices.Reverse(paths)
			}
		}
	}
	if x86.HasAVX2 && x86.HasFMA {
		paths = append(paths, avx2())
	}
	return paths
}

func avx512() *Path {
	p := path("avx512", routines{
		sums:      strips{{sums16AVX512, sums64AVX512}, {sumsHalf16AVX512, sumsHalf64AVX512}},
		squares:   strips{{squares16AVX512, squares64AVX512}, {squaresHalf16AVX512, squaresHalf64AVX512}},
		normalise: strips{{normalise16AVX512, normalise64AVX512}, {normaliseHalf16AVX512, normaliseHalf64AVX512}},
		normaliseAdd: strips{{normaliseAdd16AVX512, normaliseAdd64AVX512},
			{normaliseAddHalf16AVX512, normaliseAddHalf64AVX512}},
		gradSums: strips{{gradSums16AVX512, gradSums64AVX512}, {gradSumsHalf16AVX512, gradSumsHalf64AVX512}},
		gradSumsSign: strips{{gradSumsSign16AVX512, gradSumsSign64AVX512},
			{gradSumsSignHalf16AVX512, gradSumsSignHalf64AVX512}},
		gradInput: strips{{gradInput16AVX512, gradInput64AVX512}, {gradInputHalf16AVX512, gradInputHalf64AVX512}},
		gradInputSign: strips{{gradInputSign16AVX512, gradInputSign64AVX512},
			{gradInputSignHalf16AVX512, gradInputSignHalf64AVX512}},
		relu: reluAVX512, reluGrad: reluGradAVX512, reluGradBF16: reluGradHalfAVX512, widen: widenAVX512,
		narrow: narrowAVX512, pair: pairAVX512, larger: largerAVX512, claim: claimAVX512,
		weightedSum: [3]func(*uintptr){weightedSum1AVX512, weightedSum2AVX512, weightedSum3AVX512},
		winograd: Winograd{
			Input:       transform(winogradInputAVX512),
			Output:      transform(winogradOutputAVX512),
			Weights:     transform(winogradWeightsAVX512),
			OutputGrad:  transform(winogradOutputGradAVX512),
			WeightsGrad: transform(winogradWeightsGradAVX512),
		},
		transpose8: transpose8, rowMax: rowMax, expSum: expSum, dot: dot,
		gather: gatherAVX512, gatherHalf: gatherHalfAVX512, gatherPairs: gatherPairsAVX512,
		gelu:      strips{{gelu16AVX512, gelu64AVX512}, {geluHalf16AVX512, geluHalf64AVX512}},
		geluGrad:  strips{{geluGrad16AVX512, geluGrad64AVX512}, {geluGradHalf16AVX512, geluGradHalf64AVX512}},
		layerNorm: strips{{layerNorm16AVX512, layerNorm64AVX512}, {layerNormHalf16AVX512, layerNormHalf64AVX512}},
		layerNormGrad: strips{{layerNormGrad16AVX512, layerNormGrad64AVX512},
			{layerNormGradHalf16AVX512, layerNormGradHalf64AVX512}},
		layerNormGradAdd: strips{{layerNormGradAdd16AVX512, layerNormGradAdd64AVX512},
			{layerNormGradAddHalf16AVX512, layerNormGradAddHalf64AVX512}},
		adam: adamAVX512,
		attention: attentionRoutines{
			softmax:      softmaxAVX512,
			softmaxGrad:  softmaxGradAVX512,
			prefetchRows: prefetchRows,
			scaleRows: [2][2]func(*uintptr){
				{scaleRowsToAVX512, scaleRowsToHalfAVX512}, {scaleRowsHalfToAVX512, nil},
			},
			dotRows: [2]func(*uintptr){dotRowsAVX512, dotRowsHalfAVX512},
		},
		peak: peakAVX512, peakFLOPs: 10 * 2 * 16,
	}, []Tile{
		{6, 64, tile(tile6x64AVX512)},
		{8, 48, tile(tile8x48AVX512)},
		{12, 32, tile(tile12x32AVX512)},
		{12, 16, tile(tile12x16AVX512)},
	},
		[]Grad{
			{6, 64, grad(grad6x64AVX512)},
			{4, 64, grad(grad4x64AVX512)},
			{8, 48, grad(grad8x48AVX512)},
			{4, 48, grad(grad4x48AVX512)},
			{12, 32, grad(grad12x32AVX512)},
			{4, 32, grad(grad4x32AVX512)},
			{16, 16, grad(grad16x16AVX512)},
			{4, 16, grad(grad4x16AVX512)},
		})
	p.Short = []Tile{
		{6, 32, tile(tile6x32AVX512)},
		{6, 16, tile(tile6x16AVX512)},
	}
	return p
}

// avx512bf16 is avx512 with instructions that multiply pairs of bfloat16.
func avx512bf16() *Path {
	p := avx512()
	p.Name = "avx512bf16"
	p.Pairs = []Tile{
		{6, 64, tile(tilePairs6x64AVX512)},
		{8, 48, tile(tilePairs8x48AVX512)},
		{12, 32, tile(tilePairs12x32AVX512)},
		{12, 16, tile(tilePairs12x16AVX512)},
	}
	p.ShortPairs = []Tile{
		{6, 32, tile(tilePairs6x32AVX512)},
		{6, 16, tile(tilePairs6x16AVX512)},
	}
	p.usePairs(softmaxPairsAVX512, softmaxGradPairsAVX512, scaleRowsHalfToHalfAVX512)
	p.PairGrads = []Grad{
		{6, 64, grad(gradPairs6x64AVX512)},
		{4, 64, grad(gradPairs4x64AVX512)},
		{8, 48, grad(gradPairs8x48AVX512)},
		{4, 48, grad(gradPairs4x48AVX512)},
		{12, 32, grad(gradPairs12x32AVX512)},
		{4, 32, grad(gradPairs4x32AVX512)},
		{16, 16, grad(gradPairs16x16AVX512)},
		{4, 16, grad(gradPairs4x16AVX512)},
	}
	return p
}

func avx2() *Path {
	return path("avx2", routines{
		sums:          strips{{sums16AVX2, nil}, {sumsHalf16AVX2, nil}},
		squares:       strips{{squares16AVX2, nil}, {squaresHalf16AVX2, nil}},
		normalise:     strips{{normalise16AVX2, nil}, {normaliseHalf16AVX2, nil}},
		normaliseAdd:  strips{{normaliseAdd16AVX2, nil}, {normaliseAddHalf16AVX2, nil}},
		gradSums:      strips{{gradSums16AVX2, nil}, {gradSumsHalf16AVX2, nil}},
		gradSumsSign:  strips{{gradSumsSign16AVX2, nil}, {gradSumsSignHalf16AVX2, nil}},
		gradInput:     strips{{gradInput16AVX2, nil}, {gradInputHalf16AVX2, nil}},
		gradInputSign: strips{{gradInputSign16AVX2, nil}, {gradInputSignHalf16AVX2, nil}},
		relu:          reluAVX2, reluGrad: reluGradAVX2, reluGradBF16: reluGradHalfAVX2, widen: widenAVX2,
		narrow: narrowAVX2, pair: pairAVX2, larger: largerAVX2, claim: claimAVX2,
		weightedSum: [3]func(*uintptr){weightedSum1AVX2, weightedSum2AVX2, weightedSum3AVX2},
		winograd: Winograd{
			Input:       transform(winogradInputAVX2),
			Output:      transform(winogradOutputAVX2),
			Weights:     transform(winogradWeightsAVX2),
			OutputGrad:  transform(winogradOutputGradAVX2),
			WeightsGrad: transform(winogradWeightsGradAVX2),
		},
		transpose8: transpose8, rowMax: rowMax, expSum: expSum, dot: dot,
		gather: gatherAVX2, gatherHalf: gatherHalfAVX2, gatherPairs: gatherPairsAVX2,
		gelu:             strips{{gelu16AVX2, nil}, {geluHalf16AVX2, nil}},
		geluGrad:         strips{{geluGrad16AVX2, nil}, {geluGradHalf16AVX2, nil}},
		layerNorm:        strips{{layerNorm16AVX2, nil}, {layerNormHalf16AVX2, nil}},
		layerNormGrad:    strips{{layerNormGrad16AVX2, nil}, {layerNormGradHalf16AVX2, nil}},
		layerNormGradAdd: strips{{layerNormGradAdd16AVX2, nil}, {layerNormGradAddHalf16AVX2, nil}},
		adam:             adamAVX2,
		attention: attentionRoutines{
			softmax:      softmaxAVX2,
			softmaxGrad:  softmaxGradAVX2,
			prefetchRows: prefetchRows,
			scaleRows: [2][2]func(*uintptr){
				{scaleRowsToAVX2, scaleRowsToHalfAVX2}, {scaleRowsHalfToAVX2, nil},
			},
			dotRows: [2]func(*uintptr){dotRowsAVX2, dotRowsHalfAVX2},
		},
		peak: peakAVX2, peakFLOPs: 10 * 2 * 8,
	}, []Tile{
		{6, 16, tile(tile6x16AVX2)},
	}, []Grad{
		{6, 16, grad(grad6x16AVX2)},
		{4, 16, grad(grad4x16AVX2)},
	})
}
