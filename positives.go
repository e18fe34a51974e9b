package moco

// checkPositives holds the choice of positive pairs to what makes sense.
func (r *Recipe) checkPositives(wrong func(bad bool, format string, a ...any)) {
	switch r.Positives {
	case "views", "frames", "pairs":
	default:
		wrong(true, "positives: must be views, frames or pairs, is %q", r.Positives)
	}
	wrong(r.Objective == "supervised" && r.Grouped(), "positives: supervised training compares images with labels and not with each other; leave it at views")
	wrong(r.MaxGap < 0, "max_gap: must be at least 1 frame, or 0 for anywhere in the video, is %d", r.MaxGap)
	wrong(r.MaxGap > 0 && r.Positives != "frames", "max_gap: counts frames of a video, so it goes with positives: frames, not with %s", r.Positives)
	wrong(r.Dictionary == "bank" && r.Grouped(), "positives: a bank stores a feature for each image, and with %s a positive pair is of two images; use dictionary: queue", r.Positives)
}

// Grouped tells whether a positive pair is of two images of one group, a video or a group of pairs, rather than of two views of one image.
func (r *Recipe) Grouped() bool { return r.Positives == "frames" || r.Positives == "pairs" }

// Masks tells whether keys of the query's own image or, where positives are grouped, of its group are left out of the negatives. The latter are always: other frames of
// the video would be negatives that are no different.
func (r *Recipe) Masks() bool { return r.MaskSameImage || r.Grouped() }
