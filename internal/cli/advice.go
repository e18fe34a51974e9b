package cli

import (
	"errors"
	"fmt"
	"strings"

	"moco/encoder"
	"moco/pretrain"
)

// told is an error as a person reads it: its text, and what to do next in the command's own flags.
// Libraries know no flags.
func told(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if next := advice(err); next != "" {
		text += "; " + next
	}
	return text
}

// advice is what to do about an error, empty where its text says it.
func advice(err error) string {
	var (
		large *pretrain.MemoryError
		batch *pretrain.BatchError
		used  *pretrain.NotEmptyError
		start *pretrain.StartError
		save  *pretrain.SaveError
		other *encoder.ChoiceError
	)
	switch {
	case errors.As(err, &large) && large.Fits > 0:
		return fmt.Sprintf("use --batch %d or less", large.Fits)
	case errors.As(err, &batch):
		return fmt.Sprintf("use --batch %d or less", batch.Images)
	case errors.As(err, &used):
		return "give another --out, or --resume to go on with the run there"
	case errors.As(err, &start):
		return "give it with --init, or leave the key out"
	case errors.As(err, &save) && save.Kept > 0:
		return "go on with --resume"
	case errors.As(err, &other):
		return "`moco import` takes the one that --side or --strip names"
	case errors.Is(err, pretrain.ErrNoCheckpoint):
		return "leave --resume out to start anew in another folder"
	}
	return ""
}
