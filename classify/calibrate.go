package classify

import "math"

// heldOut is the logits of rows that a fit has not seen, beside their labels.
type heldOut struct {
	logits  []float32 // [n,classes]
	labels  []int     // [n]
	at      []int     // [n], places of the rows in the set
	classes int
}

// newHeldOut has room for the logits of all rows.
func newHeldOut(r *rows) *heldOut {
	classes := len(r.classes)
	return &heldOut{logits: make([]float32, r.len()*classes), labels: r.labels, at: r.at, classes: classes}
}

// only keeps rows that are in a part.
func (h *heldOut) only(part []int) *heldOut {
	kept := &heldOut{classes: h.classes}
	for i, p := range part {
		if p >= 0 {
			kept.logits, kept.labels = append(kept.logits, h.row(i)...), append(kept.labels, h.labels[i])
			kept.at = append(kept.at, h.at[i])
		}
	}
	return kept
}

func (h *heldOut) row(i int) []float32 { return h.logits[i*h.classes : (i+1)*h.classes] }

// The temperatures that come into question.
const coldest, hottest = 1e-4, 1e3

// temperature is the one under which the held-out rows have the least cross-entropy (Guo et al.
// 2017, On Calibration of Modern Neural Networks), and that cross-entropy, a mean. Labels are
// smoothed as by Platt (1999): with n rows, the target of a label is (n+1)/(n+2). So a few rows
// that are all right do not make a classifier that is never in doubt.
func (h *heldOut) temperature() (t, loss float64) {
	low, high := 1/hottest, 1/coldest
	// The loss is convex in 1/t, so its slope has one zero; bisection by ratios finds it to 0.1%.
	for high/low > 1.001 {
		middle := math.Sqrt(low * high)
		if _, slope := h.loss(middle); slope > 0 {
			high = middle
		} else {
			low = middle
		}
	}
	beta := math.Sqrt(low * high)
	loss, _ = h.loss(beta)
	return 1 / beta, loss
}

// loss is the mean cross-entropy of the logits times beta with the smoothed labels, and its slope
// in beta.
func (h *heldOut) loss(beta float64) (loss, slope float64) {
	n := len(h.labels)
	right := float64(n+1) / float64(n+2)
	other := (1 - right) / float64(h.classes-1)
	for i, label := range h.labels {
		row := h.row(i)
		largest := row[0]
		for _, v := range row {
			largest = max(largest, v)
		}
		var sum, mean, target float64 // relative to the largest
		for c, v := range row {
			z := float64(v - largest)
			e := math.Exp(beta * z)
			sum += e
			mean += e * z
			if c == label {
				target += right * z
			} else {
				target += other * z
			}
		}
		loss += math.Log(sum) - beta*target
		slope += mean/sum - target
	}
	return loss / float64(n), slope / float64(n)
}
