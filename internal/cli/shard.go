package cli

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"moco/vectors"
)

// shardFlags say which part of the images a command is for.
type shardFlags struct {
	shard  string
	shards int
}

func (f *shardFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&f.shard, "shard", "", "embed only part I of N of the images: 3/7 is the third of seven")
	c.Flags().IntVar(&f.shards, "shards", 0,
		"the same with N here and I from Kubernetes' JOB_COMPLETION_INDEX or Slurm's array")
	c.MarkFlagsMutuallyExclusive("shard", "shards")
}

// The variables that tell a task of an array job who it is.
const (
	slurmID         = "SLURM_ARRAY_TASK_ID"
	slurmCount      = "SLURM_ARRAY_TASK_COUNT"
	slurmMin        = "SLURM_ARRAY_TASK_MIN"
	slurmMax        = "SLURM_ARRAY_TASK_MAX"
	kubernetesIndex = "JOB_COMPLETION_INDEX"
)

// parse finds the shard. From is the variable that it comes of, empty if the flag says it.
func (f *shardFlags) parse(getenv func(string) string) (s vectors.Shard, from string, err error) {
	switch {
	case f.shard != "":
		s, err = vectors.ParseShard(f.shard)
		if err != nil {
			err = usagef("--shard: %w", err)
		}
		return s, "", err
	case f.shards < 0:
		return s, "", usagef("--shards %d: must be at least 1", f.shards)
	case getenv(slurmID) != "":
		s, err = slurmShard(getenv, f.shards)
		return s, slurmID, err
	case f.shards == 0:
		return s, "", nil
	}
	index, err := number(getenv, kubernetesIndex)
	if err != nil {
		return s, "", usagef("--shards %d needs to know which of them this is: %w, and this is no task of a Slurm array; "+
			"give --shard I/%d", f.shards, err, f.shards)
	}
	s = vectors.Shard{Index: index + 1, Count: f.shards}
	if err := s.Check(); err != nil {
		return s, "", usagef("%s=%d with --shards %d: %w (the job's completions must be %d)", kubernetesIndex, index, f.shards, err, f.shards)
	}
	return s, kubernetesIndex, nil
}

// slurmShard is the shard of a task of a Slurm array whose numbers follow each other. An array with
// other numbers, or with fewer tasks than there are shards, is part of an array that was submitted
// again, and its tasks cannot know which shards are theirs.
func slurmShard(getenv func(string) string, shards int) (s vectors.Shard, err error) {
	id, err1 := number(getenv, slurmID)
	count, err2 := number(getenv, slurmCount)
	if err := cmp.Or(err1, err2); err != nil {
		return s, usagef("%w; give --shard I/N", err)
	}
	least, most := 0, count-1
	if getenv(slurmMin) != "" {
		least, err1 = number(getenv, slurmMin)
		most, err2 = number(getenv, slurmMax)
		if err := cmp.Or(err1, err2); err != nil {
			return s, usagef("%w; give --shard I/N", err)
		}
	}
	if most-least+1 != count || shards > 0 && shards != count || count == 1 && shards != 1 {
		return s, usagef("a Slurm array of %s with numbers from %d to %d does not tell which shard task %d is for; "+
			"say it with --shard I/N, for instance --shard $%s/7 in an array of 1-7, or --shard 1/1 for all images",
			plural(count, "task", "tasks"), least, most, id, slurmID)
	}
	s = vectors.Shard{Index: id - least + 1, Count: count}
	if err := s.Check(); err != nil {
		return s, usagef("%s=%d: %w", slurmID, id, err)
	}
	return s, nil
}

// number reads a variable that is a number.
func number(getenv func(string) string, name string) (int, error) {
	text := getenv(name)
	if text == "" {
		return 0, fmt.Errorf("%s is not set", name)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %q, which is no number", name, text)
	}
	return n, nil
}
