package moco

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"moco/engine"
	"moco/graph"
)

// dictionary is one way to have keys to compare queries with: one of the three mechanisms of Fig. 2.
type dictionary struct {
	step       func(g *graph.Graph, r *Recipe, n int)      // builds a training step on batches of n images
	initialise func(r *Recipe, s engine.State) error       // writes what the dictionary starts with
	negatives  func(r *Recipe, batch int) (keys int)       // that a query is told apart from
	check      func(r *Recipe, wrong func(string, ...any)) // says what in a recipe makes no sense with it
}

// dictionaries are the mechanisms that there are.
var dictionaries = map[string]dictionary{
	"queue": {queueStep, initialiseQueue, func(r *Recipe, _ int) int { return r.Queue }, checkQueue},         // Fig. 2c: MoCo
	"batch": {batchStep, initialiseNothing, func(r *Recipe, batch int) int { return batch - 1 }, checkBatch}, // Fig. 2a: end-to-end, SimCLR
	"bank":  {bankStep, initialiseBank, bankNegatives, checkBank},                                            // Fig. 2b: memory bank, InstDisc
}

func initialiseNothing(*Recipe, engine.State) error { return nil }

// checkDictionary says what in the pair of dictionary and loss makes no sense, and why.
func (r *Recipe) checkDictionary() error {
	var errs []error
	wrong := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	d, known := dictionaries[r.Dictionary]
	if !known {
		wrong("dictionary: %q is not known; there are %s", r.Dictionary, names(dictionaries))
	}
	l, ok := losses[r.Loss]
	switch {
	case !ok:
		wrong("loss: %q is not known; there are %s", r.Loss, names(losses))
	case known && l.only != "" && l.only != r.Dictionary:
		wrong("loss: %s needs dictionary: %s, not %s: %s", r.Loss, l.only, r.Dictionary, l.why)
	case known:
		d.check(r, wrong)
	}
	return errors.Join(errs...)
}

func names[T any](table map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}
