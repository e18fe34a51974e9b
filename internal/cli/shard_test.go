package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moco/vectors"
)

// TestShardOf: which shard a task is for, by flags and by what Slurm and Kubernetes tell it.
func TestShardOf(t *testing.T) {
	t.Parallel()
	slurm := func(id, count, least, most string) map[string]string {
		return map[string]string{slurmID: id, slurmCount: count, slurmMin: least, slurmMax: most}
	}
	for name, c := range map[string]struct {
		flags shardFlags
		env   map[string]string
		want  string // empty with an error
		err   string
	}{
		"nothing":                   {want: "whole"},
		"a flag":                    {flags: shardFlags{shard: "3/7"}, want: "3/7"},
		"a flag before variables":   {flags: shardFlags{shard: "3/7"}, env: slurm("1", "2", "0", "1"), want: "3/7"},
		"no shard":                  {flags: shardFlags{shard: "0/7"}, err: "counted from 1"},
		"Slurm from 0":              {env: slurm("2", "7", "0", "6"), want: "3/7"},
		"Slurm from 1":              {env: slurm("3", "7", "1", "7"), want: "3/7"},
		"Slurm from 100":            {env: slurm("106", "7", "100", "106"), want: "7/7"},
		"Slurm without ends":        {env: slurm("2", "7", "", ""), want: "3/7"},
		"Slurm and --shards":        {flags: shardFlags{shards: 7}, env: slurm("2", "7", "0", "6"), want: "3/7"},
		"Slurm with gaps":           {env: slurm("5", "3", "1", "9"), err: "--shard I/N"},
		"part of an array again":    {flags: shardFlags{shards: 7}, env: slurm("3", "2", "3", "4"), err: "--shard I/N"},
		"one task of an array":      {env: slurm("3", "1", "3", "3"), err: "--shard 1/1"},
		"an array of one":           {flags: shardFlags{shards: 1}, env: slurm("3", "1", "3", "3"), want: "1/1"},
		"Slurm beyond its end":      {env: slurm("7", "7", "", ""), err: slurmID},
		"Slurm without a count":     {env: slurm("7", "", "", ""), err: slurmCount},
		"Slurm with half an end":    {env: slurm("3", "7", "1", ""), err: slurmMax},
		"Slurm with text":           {env: slurm("three", "7", "1", "7"), err: "three"},
		"Kubernetes":                {flags: shardFlags{shards: 7}, env: map[string]string{kubernetesIndex: "2"}, want: "3/7"},
		"Kubernetes' last":          {flags: shardFlags{shards: 7}, env: map[string]string{kubernetesIndex: "6"}, want: "7/7"},
		"Kubernetes beyond its end": {flags: shardFlags{shards: 7}, env: map[string]string{kubernetesIndex: "7"}, err: "completions"},
		"Kubernetes with text":      {flags: shardFlags{shards: 7}, env: map[string]string{kubernetesIndex: "-1"}, err: kubernetesIndex},
		"Kubernetes without flag":   {env: map[string]string{kubernetesIndex: "2"}, want: "whole"},
		"no task":                   {flags: shardFlags{shards: 7}, err: kubernetesIndex},
		"negative":                  {flags: shardFlags{shards: -1}, err: "at least 1"},
	} {
		s, _, err := c.flags.parse(func(name string) string { return c.env[name] })
		got := s.String()
		if s.Whole() {
			got = "whole"
		}
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &usageError{})):
			t.Errorf("%s: the error is %v, want one of usage that says %q", name, err, c.err)
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s: shard %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// TestEmbedShards: tasks of an array make the rows of one run, and the folder of their files takes
// the place of its file.
func TestEmbedShards(t *testing.T) {
	t.Parallel()
	images := good(t, nil)
	run, dir := filepath.Join(t.TempDir(), "run"), t.TempDir()
	if code, _, stderr := command(train(images, run, "--steps", "1")...); code != 0 {
		t.Fatal(stderr)
	}
	embed := func(env map[string]string, more ...string) (code int, stdout, stderr string) {
		var out, err bytes.Buffer
		args := append([]string{"embed", "--model", run, "--data", images}, more...)
		code = Main(args, &out, &err, func(name string) string { return env[name] })
		return code, out.String(), err.String()
	}
	whole := filepath.Join(dir, "whole.jsonl")
	if code, _, stderr := embed(nil, "--out", whole); code != 0 {
		t.Fatal(stderr)
	}
	var lines []byte
	for task := range 3 {
		env := map[string]string{slurmID: fmt.Sprint(task), slurmCount: "3", slurmMin: "0", slurmMax: "2"}
		code, stdout, stderr := embed(env, "--out", filepath.Join(dir, "parts", "photos.jsonl"))
		if want := fmt.Sprintf("Shard %d of 3", task+1); code != 0 || !strings.Contains(stdout, want) {
			t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "parts", fmt.Sprintf("photos-%04d-of-0003.jsonl", task+1)))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, raw...)
	}
	if want, err := os.ReadFile(whole); err != nil || !bytes.Equal(lines, want) {
		t.Errorf("the shards are not the whole (%v)", err)
	}
	search := func(vectors string) string {
		t.Helper()
		code, stdout, stderr := command("search", "--vectors", vectors, "--data", images, "--k", "2")
		if code != 0 {
			t.Fatal(stderr)
		}
		return stdout
	}
	if search(filepath.Join(dir, "parts")) != search(whole) {
		t.Error("shards and the whole give other neighbours")
	}
	_, stdout, _ := embed(nil, "--out", filepath.Join(dir, "parts", "photos.jsonl"), "--shard", "2/3")
	if !strings.Contains(stdout, "photos-0002-of-0003.jsonl is finished") {
		t.Errorf("a finished shard says %s", stdout)
	}
	if code, _, stderr := embed(nil, "--out", filepath.Join(dir, "parts", "photos.jsonl"), "--shard", "2/4"); code != 1 ||
		!strings.Contains(stderr, "shards was 3 and is 4") {
		t.Errorf("another number of shards: exit code %d, %s", code, stderr)
	}
	if err := os.Remove(filepath.Join(dir, "parts", "photos-0002-of-0003.jsonl")); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command("search", "--vectors", filepath.Join(dir, "parts"), "--data", images)
	if code != 1 || !strings.Contains(stderr, "missing: photos-0002-of-0003.jsonl") || !strings.Contains(stderr, "--shard") {
		t.Errorf("a missing shard: exit code %d, %s", code, stderr)
	}
	oneSentence(t, stderr)

	for i := 1; i <= 2; i++ {
		code, _, stderr := embed(nil, "--out", filepath.Join(dir, "clip"), "--layout", "clip-retrieval", "--dtype", "float16",
			"--shard", fmt.Sprintf("%d/2", i))
		if code != 0 {
			t.Fatal(stderr)
		}
	}
	r, err := vectors.Open(filepath.Join(dir, "clip"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if h := r.Head(); h.Rows != 10 || h.Type != vectors.Float16 {
		t.Errorf("parts in clip-retrieval's layout: %+v", h)
	}
}
