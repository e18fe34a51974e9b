package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"moco/vectors"
)

// indexedJob is what the manifest of a Kubernetes Job in docs/cluster.md may say. It is decoded
// strictly: a key that is not here, or at another place, fails.
type indexedJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		CompletionMode       string `yaml:"completionMode"`
		Completions          int    `yaml:"completions"`
		Parallelism          int    `yaml:"parallelism"`
		BackoffLimitPerIndex int    `yaml:"backoffLimitPerIndex"`
		Template             struct {
			Spec podSpec `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// podSpec is the part of a pod's specification that the manifest uses.
type podSpec struct {
	RestartPolicy string `yaml:"restartPolicy"`
	Containers    []struct {
		Name      string   `yaml:"name"`
		Image     string   `yaml:"image"`
		Command   []string `yaml:"command"`
		Args      []string `yaml:"args"`
		Resources struct {
			Requests map[string]string `yaml:"requests"`
			Limits   map[string]string `yaml:"limits"`
		} `yaml:"resources"`
		VolumeMounts []struct {
			Name      string `yaml:"name"`
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	} `yaml:"containers"`
	Volumes []struct {
		Name                  string `yaml:"name"`
		PersistentVolumeClaim struct {
			ClaimName string `yaml:"claimName"`
		} `yaml:"persistentVolumeClaim"`
	} `yaml:"volumes"`
}

// mpiJob is what the manifest of the MPI Operator's job may say.
type mpiJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		SlotsPerWorker         int    `yaml:"slotsPerWorker"`
		MPIImplementation      string `yaml:"mpiImplementation"`
		LauncherCreationPolicy string `yaml:"launcherCreationPolicy"`
		RunPolicy              struct {
			CleanPodPolicy string `yaml:"cleanPodPolicy"`
			BackoffLimit   int    `yaml:"backoffLimit"`
		} `yaml:"runPolicy"`
		MPIReplicaSpecs struct {
			Launcher mpiPods `yaml:"Launcher"`
			Worker   mpiPods `yaml:"Worker"`
		} `yaml:"mpiReplicaSpecs"`
	} `yaml:"spec"`
}

// mpiPods are the pods of one role.
type mpiPods struct {
	Replicas      int    `yaml:"replicas"`
	RestartPolicy string `yaml:"restartPolicy"`
	Template      struct {
		Spec podSpec `yaml:"spec"`
	} `yaml:"template"`
}

// embeddingBlocks are the blocks of one language in the part "Embedding" of docs/cluster.md.
func embeddingBlocks(t *testing.T, language string) []string {
	t.Helper()
	return clusterBlocks(t, "Embedding", language)
}

// clusterBlocks are the blocks of one language in a part of docs/cluster.md.
func clusterBlocks(t *testing.T, of, language string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(page), "\n## "+of+"\n")
	if !ok {
		t.Fatalf("docs/cluster.md has no part %s", of)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(part, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestIndexedJob: the manifest is a Job whose pods make all shards, with a command that moco takes.
func TestIndexedJob(t *testing.T) {
	t.Parallel()
	blocks := embeddingBlocks(t, "yaml")
	if len(blocks) != 1 {
		t.Fatalf("%d manifests", len(blocks))
	}
	var job indexedJob
	decode := func(manifest string) error {
		return yaml.NewDecoder(strings.NewReader(manifest), yaml.Strict()).Decode(&job)
	}
	if err := decode(strings.Replace(blocks[0], "restartPolicy", "restartPolitics", 1)); err == nil {
		t.Fatal("a key that does not exist is decoded")
	}
	job = indexedJob{}
	if err := decode(blocks[0]); err != nil {
		t.Fatal(err)
	}
	spec := job.Spec.Template.Spec
	if job.APIVersion != "batch/v1" || job.Kind != "Job" || job.Metadata.Name == "" || job.Spec.CompletionMode != "Indexed" ||
		job.Spec.BackoffLimitPerIndex < 1 || spec.RestartPolicy != "Never" || len(spec.Containers) != 1 {
		t.Errorf("the manifest says %+v", job)
	}
	c := spec.Containers[0]
	if c.Image == "" || len(c.VolumeMounts) != 1 || len(spec.Volumes) != 1 || c.VolumeMounts[0].Name != spec.Volumes[0].Name ||
		spec.Volumes[0].PersistentVolumeClaim.ClaimName == "" {
		t.Errorf("the container or its volume is %+v", c)
	}
	for i := range job.Spec.Completions {
		shard := commandShard(t, c.Args, map[string]string{kubernetesIndex: fmt.Sprint(i)})
		if shard != (vectors.Shard{Index: i + 1, Count: job.Spec.Completions}) {
			t.Errorf("pod %d makes shard %v", i, shard)
		}
	}
}

// TestMPIJob: the manifest is a job of the MPI Operator with a worker for each process, and a
// command that mpirun and moco take.
func TestMPIJob(t *testing.T) {
	t.Parallel()
	blocks := clusterBlocks(t, "Training", "yaml")
	if len(blocks) != 1 {
		t.Fatalf("%d manifests", len(blocks))
	}
	var job mpiJob
	if err := yaml.NewDecoder(strings.NewReader(blocks[0]), yaml.Strict()).Decode(&job); err != nil {
		t.Fatal(err)
	}
	launcher, worker := job.Spec.MPIReplicaSpecs.Launcher, job.Spec.MPIReplicaSpecs.Worker
	if job.APIVersion != "kubeflow.org/v2beta1" || job.Kind != "MPIJob" || job.Spec.MPIImplementation != "OpenMPI" ||
		job.Spec.SlotsPerWorker != 1 || launcher.Replicas != 1 || launcher.RestartPolicy != "OnFailure" {
		t.Errorf("the manifest says %+v", job)
	}
	for _, pods := range []mpiPods{launcher, worker} {
		c, volumes := pods.Template.Spec.Containers, pods.Template.Spec.Volumes
		if len(c) != 1 || len(volumes) != 1 || len(c[0].VolumeMounts) != 1 || c[0].VolumeMounts[0].Name != volumes[0].Name {
			t.Errorf("a container or its volume is %+v, %+v", c, volumes)
		}
	}
	script := launcher.Template.Spec.Containers[0].Args[0]
	_, mpirun, _ := strings.Cut(script, "exec mpirun ")
	options, command, ok := strings.Cut(mpirun, " moco train ")
	if processes := fmt.Sprintf("-n %d ", worker.Replicas); !ok || !strings.HasPrefix(options, processes) {
		t.Errorf("mpirun is called with %q for %d workers", options, worker.Replicas)
	}
	var o trainOptions
	if err := parsed(&o, strings.ReplaceAll(command, ` "$@"`, "")); err != nil {
		t.Fatal(err)
	}
	if o.learn.Replicas != worker.Replicas {
		t.Errorf("%d replicas for %d workers", o.learn.Replicas, worker.Replicas)
	}
}

// TestSlurmArray: the tasks of the script's array make all shards, with a command that moco takes.
func TestSlurmArray(t *testing.T) {
	t.Parallel()
	blocks := embeddingBlocks(t, "bash")
	if len(blocks) != 1 {
		t.Fatalf("%d scripts", len(blocks))
	}
	script := blocks[0]
	array := regexp.MustCompile(`(?m)^#SBATCH --array=1-([0-9]+)$`).FindStringSubmatch(script)
	_, line, ok := strings.Cut(script, "\nexec moco ")
	if array == nil || !ok || !strings.HasPrefix(script, "#!/bin/bash\n#SBATCH ") {
		t.Fatalf("the script is\n%s", script)
	}
	for i := 1; fmt.Sprint(i-1) != array[1]; i++ {
		env := map[string]string{slurmID: fmt.Sprint(i), slurmCount: array[1], slurmMin: "1", slurmMax: array[1], "SLURM_CPUS_PER_TASK": "8"}
		text := os.Expand(strings.ReplaceAll(line, "\\\n", " "), func(name string) string { return env[name] })
		shard := commandShard(t, strings.Fields(strings.ReplaceAll(text, `"`, "")), env)
		if shard.Index != i || fmt.Sprint(shard.Count) != array[1] {
			t.Errorf("task %d makes shard %v", i, shard)
		}
	}
}

// commandShard is the shard of a command line of embed.
func commandShard(t *testing.T, args []string, env map[string]string) vectors.Shard {
	t.Helper()
	if len(args) == 0 || args[0] != "embed" {
		t.Fatalf("the command is %q", args)
	}
	var o embedOptions
	if err := parsed(&o, strings.Join(args[1:], " ")); err != nil {
		t.Fatal(err)
	}
	s, _, err := o.shardFlags.parse(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return s
}
