package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"moco/embed"
	"moco/encoder"
	"moco/exchange"
	"moco/explore"
	"moco/internal/atomicfile"
	"moco/internal/bench"
	"moco/internal/job"
	"moco/labels"
	"moco/pack"
	"moco/pretrain"
	"moco/recipe"
	"moco/vectors"
)

// told is an error as a person reads it: its text, and what to do next in the command's own flags.
// Libraries know no flags.
func told(err error) string {
	text := visible(strings.ReplaceAll(err.Error(), "\n", "; "))
	if next := cmp.Or(advice(err), adviceOnUse(err)); next != "" {
		text += "; " + next
	}
	return text
}

// advice is what to do about an error of training, empty where its text says it.
func advice(err error) string {
	var (
		large   *pretrain.MemoryError
		batch   *pretrain.BatchError
		used    *pretrain.NotEmptyError
		start   *pretrain.StartError
		save    *pretrain.SaveError
		several *encoder.ChoiceError
		other   *pretrain.OtherError
		taken   *pretrain.LockedError
		set     *job.SetError
		theirs  *job.OccupiedError
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
	case errors.As(err, &several):
		return "`moco import` takes the one that --side or --strip names"
	case errors.As(err, &other):
		return "leave all as it was, give another --out, or remove that folder to run it anew"
	case errors.As(err, &taken):
		return "wait until it ends, or stop it; what it has saved by then can be gone on with"
	case errors.As(err, &theirs):
		return "give another --out"
	case errors.As(err, &set) && set.Key() == "seed":
		return "say how many runs with --seeds"
	case errors.As(err, &set):
		return fmt.Sprintf("leave --set %s out", set.Setting)
	case errors.Is(err, pretrain.ErrNoCheckpoint):
		return "leave --resume out to start anew in another folder"
	}
	return ""
}

// adviceOnUse is advice on recipes, and on encoders that are put to use.
func adviceOnUse(err error) string {
	var (
		setting    *recipe.SettingError
		stopped    *embed.StoppedError
		unfinished *embed.UnfinishedError
		exists     *atomicfile.ExistsError
		shards     *vectors.ShardsError
		much       *memoryError
		bad        *embed.BadImagesError
		head       *exchange.HeadError
		probe      *encoder.OtherProbeError
		maker      *explore.OtherEncoderError
		large      *bench.MemoryError
		packed     *pack.NotEmptyError
		halted     *pack.StoppedError
		broken     *pack.BadImagesError
		columns    *labels.ColumnsError
	)
	switch {
	case errors.As(err, &setting) && !strings.Contains(setting.Setting, "="):
		return "for instance --set encoder.width=0.25"
	case errors.As(err, &stopped) && stopped.Kept && stopped.Shard:
		return "the same command goes on"
	case errors.As(err, &stopped) && stopped.Kept:
		return "go on with --resume"
	case errors.As(err, &stopped):
		return "give the same command again to write all of them"
	case errors.As(err, &unfinished):
		return "--resume goes on with it, or remove it"
	case errors.As(err, &exists):
		return "give another name, or --force to replace it"
	case errors.As(err, &much):
		return "allow more with --memory, or embed with --dtype float16"
	case errors.As(err, &shards) && len(shards.Missing) > 0:
		return "make those that are missing with `moco embed --shard`"
	case errors.As(err, &bad) && bad.Kept:
		return "remove them or raise --max-bad, and go on with --resume"
	case errors.As(err, &bad):
		return "remove them or raise --max-bad"
	case errors.As(err, &head):
		return "give --probe the file that `moco classify --save` or `moco eval linear --save` writes"
	case errors.As(err, &probe):
		return "train one with `moco classify --save`, or `moco eval linear --save`, on this encoder"
	case errors.As(err, &maker):
		return "give the --model, and the --features, that made the vectors"
	case errors.As(err, &large):
		return "use a smaller --batch"
	case errors.As(err, &columns):
		return "give another file with --labels"
	case errors.As(err, &packed) && packed.Packed:
		return "give another --out, or --resume to go on with them"
	case errors.As(err, &packed):
		return "give another --out"
	case errors.As(err, &halted):
		return "go on with --resume"
	case errors.As(err, &broken):
		return "remove them or raise --max-bad, and go on with --resume"
	case errors.Is(err, encoder.ErrNoProbe):
		return "`moco classify --save` and `moco eval linear --save` write one"
	}
	return ""
}
