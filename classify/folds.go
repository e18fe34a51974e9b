package classify

import "moco/internal/rng"

// foldStream is the random stream that deals rows to folds; it is always the same.
const foldStream = 0x666f6c6473 // "folds"

// deal deals rows to k parts of nearly the same number of each class. A row that is alone in its
// class is in no part (-1): without it a fit would not know the class.
func deal(labels []int, classes, k int) []int {
	order := make([]int, len(labels))
	random := rng.New(foldStream)
	random.Perm(order)
	counts := make([]int, classes)
	for _, l := range labels {
		counts[l]++
	}
	// Classes go on where the one before ended, so that the parts have the same size, too.
	next, at := make([]int, classes), 0
	for c, n := range counts {
		next[c] = at
		at += n
	}
	part := make([]int, len(labels))
	for _, i := range order {
		l := labels[i]
		if counts[l] == 1 {
			part[i] = -1
			continue
		}
		part[i] = next[l] % k
		next[l]++
	}
	return part
}

// split lists the rows that a part holds out, and the rest.
func split(part []int, held int) (rest, out []int) {
	for i, p := range part {
		if p == held {
			out = append(out, i)
		} else {
			rest = append(rest, i)
		}
	}
	return rest, out
}

// sample takes about n rows, the same share of each class but at least two of it where there are
// two.
func sample(labels []int, classes, n int) []int {
	counts := make([]int, classes)
	for _, l := range labels {
		counts[l]++
	}
	left := make([]int, classes)
	for c, count := range counts {
		left[c] = min(count, max(2, (count*n+len(labels)/2)/len(labels)))
	}
	order := make([]int, len(labels))
	random := rng.New(foldStream, 1)
	random.Perm(order)
	taken := make([]bool, len(labels))
	for _, i := range order {
		if left[labels[i]] > 0 {
			left[labels[i]]--
			taken[i] = true
		}
	}
	var list []int
	for i, t := range taken {
		if t {
			list = append(list, i)
		}
	}
	return list
}
