package explore

import (
	"cmp"
	"math"
)

// The memory of a question is what it takes besides the features, in bytes, at most: for n rows of
// some length. What is found is not counted. Garbage that Go has not collected yet comes on top, up
// to a limit that the program sets (runtime/debug.SetMemoryLimit).

// tileMemory is what reading rows in tiles takes, and the engine for a tile of them: the tile where
// it is read, as bytes of the file, as the engine's variable and on its way there; some queries;
// and their products.
func tileMemory(dim int) int64 {
	const products = 24 << 20
	return int64(6*rowsAtOnce+queriesAtOnce)*int64(dim)*4 + products
}

// SearchMemory is the memory of Search, Near and Neighbours for lists of k neighbours.
func SearchMemory(dim, k int) int64 {
	const neighbourBytes, listBytes = 16, 24
	// A list grows to its length, and up to a quarter beyond it.
	return tileMemory(dim) + queriesAtOnce*(int64(k+1)*neighbourBytes*5/4+listBytes)
}

// OutliersMemory is the memory of Outliers, and at most that of LabelErrors.
func OutliersMemory(n, dim, k int) int64 {
	const rowBytes = 40 + shownNeighbours*16
	// The list of all rows is copied where it grows.
	return SearchMemory(dim, k) + int64(n)*rowBytes*9/4
}

// PairsMemory is the memory of Pairs.
func PairsMemory(n, dim int) int64 {
	if n <= pairsExactly {
		return tileMemory(dim)
	}
	const pairBytes, entryBytes = 24, 8
	return tileMemory(dim) + int64(mostSigns*dim)*16 + int64(n)*(mostSigns/8+entryBytes) + candidatesAtOnce*pairBytes
}

// OverlayMemory is the memory of Duplicates with images: their thumbnails, blurred ones as rows,
// and details of some. Images that are being decoded come on top.
func OverlayMemory(n, dim, candidates int) int64 {
	const thumbnailBytes = thumbEdge*thumbEdge + 24 + blurEdge*blurEdge*4
	return SearchMemory(dim, candidates) + int64(n)*thumbnailBytes + detailBytes
}

// Memory is the memory of Cluster.
func (m KMeans) Memory(n, dim int) int64 {
	k := int64(min(m.K, max(n, 1)))
	tries := int64(2 + math.Log(float64(k)))
	// The start keeps a distance for each row, and for each row and draw; the rounds an own
	// cluster, a similarity, twice, and the lists of clusters.
	start, rounds := 8*(1+tries), int64(4+4+4+4+8*9/4+4*9/4)
	return tileMemory(dim) + int64(n)*max(start, rounds) + k*int64(dim)*(4+8+4)
}

// Memory is the memory of Layout without neighbours that are given.
func (l Layout) Memory(n, dim int) int64 {
	k := int64(cmp.Or(l.Neighbours, 15))
	const neighbourBytes, edgeBytes, choiceBytes, pointBytes = 16, 12, 12, 8
	lists := k*neighbourBytes*5/4 + 24
	graph := 2 * k * (edgeBytes*9/4 + choiceBytes*9/4 + 4*9/4)
	return SearchMemory(dim, int(k)) + int64(n)*(lists+graph+2*pointBytes)
}
