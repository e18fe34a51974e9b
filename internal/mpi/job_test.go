//go:build mpi && linux

package mpi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the program under the MPI libraries of this machine (Debian: mpich, openmpi-bin).
// MOCO_TEST_KILLS says how often TestKilled kills.

// program is what is tested, built by TestMain.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "moco-mpi")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "moco")
	if out, err := exec.Command("go", "build", "-tags", "mpi", "-o", program, "moco/cmd/moco").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// launchers are the libraries' own, by name.
var launchers = map[string]struct {
	command []string
	rank    string // the variable with a process's number
}{
	"mpich": {[]string{"mpirun.mpich"}, "PMI_RANK"},
	"openmpi": {[]string{"mpirun.openmpi", "--oversubscribe", "--bind-to", "none", "--mca", "btl_vader_single_copy_mechanism", "none"},
		"OMPI_COMM_WORLD_RANK"},
}

// needs skips a test where a launcher is not there.
func needs(t *testing.T, launcher string) {
	t.Helper()
	if _, err := exec.LookPath(launchers[launcher].command[0]); err != nil {
		t.Skipf("NOT TESTED: %v (Debian packages mpich, openmpi-bin)", err)
	}
}

// job is a run on processes.
type job struct {
	launcher  string
	processes int
	out       string
	args      []string
	env       []string
	pids      string // folder in which each process leaves its number, if that is wanted
}

// tiny is a recipe of which a step takes milliseconds: 200 images, four replicas.
var tiny = []string{"train", "--data", "builtin:train?n=200&size=16", "--recipe", "cifar", "--threads", "1", "--batch", "16",
	"--set", "encoder.width=0.0625", "--set", "queue=64", "--set", "views.size=16", "--set", "bn_splits=4", "--set", "replicas=4"}

func (j job) command() *exec.Cmd {
	line := append(append([]string{program}, tiny...), "--out", j.out)
	line = append(line, j.args...)
	if j.pids != "" {
		note := `echo $$ > "` + j.pids + `/$` + launchers[j.launcher].rank + `"; exec "$@"`
		line = append([]string{"sh", "-c", note, "sh"}, line...)
	}
	if j.processes > 1 {
		line = slices.Concat(launchers[j.launcher].command, []string{"-n", strconv.Itoa(j.processes)}, line)
	}
	c := exec.Command(line[0], line[1:]...)
	c.Env = append(os.Environ(), "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
	c.Env = append(c.Env, j.env...)
	c.WaitDelay = time.Minute
	return c
}

// run runs a job to its end and returns the hash of its last checkpoint.
func (j job) run(t *testing.T) string {
	t.Helper()
	c := j.command()
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s, %d processes: %v\n%s", j.launcher, j.processes, err, said)
	}
	return newest(t, j.out)
}

// newest is the hash of a run's newest checkpoint.
func newest(t *testing.T, out string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(out, "checkpoints", "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var latest struct{ SHA256 string }
	if err := json.Unmarshal(raw, &latest); err != nil || latest.SHA256 == "" {
		t.Fatalf("%s: %v", raw, err)
	}
	return latest.SHA256
}

// TestSameBits: the number of processes and the library change no bit.
func TestSameBits(t *testing.T) {
	for name, args := range map[string][]string{
		"queue":      nil,
		"end to end": {"--set", "dictionary=batch", "--set", "bn_splits=8"},
		"bank":       {"--set", "dictionary=bank"},
		"supervised": {"--set", "objective=supervised"},
	} {
		for _, precision := range []string{"fp32", "bf16"} {
			t.Run(name+" "+precision, func(t *testing.T) {
				args := append([]string{"--precision", precision, "--steps", "4"}, args...)
				want := job{processes: 1, out: filepath.Join(t.TempDir(), "run"), args: args}.run(t)
				for _, launcher := range slices.Sorted(maps.Keys(launchers)) {
					t.Run(launcher, func(t *testing.T) {
						needs(t, launcher)
						for _, processes := range []int{2, 4} {
							j := job{launcher: launcher, processes: processes, out: filepath.Join(t.TempDir(), "run"), args: args}
							if got := j.run(t); got != want {
								t.Errorf("%d processes: SHA-256 %s, want %s", processes, got, want)
							}
						}
					})
				}
			})
		}
	}
}

// running is a job that something is going to happen to.
type running struct {
	job
	*exec.Cmd
	said  bytes.Buffer
	began time.Time
	ended chan error
}

// startNoted starts a job whose processes leave their numbers.
func startNoted(t *testing.T, j job) *running {
	t.Helper()
	j.pids = t.TempDir()
	r := &running{job: j, Cmd: j.command(), began: time.Now(), ended: make(chan error, 1)}
	r.Stdout, r.Stderr = &r.said, &r.said
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.Wait() }()
	return r
}

// reach waits until the log tells of a step beyond those that it told before.
func (r *running) reach(t *testing.T, step int) (ended bool) {
	t.Helper()
	for {
		raw, _ := os.ReadFile(filepath.Join(r.out, "log.jsonl"))
		if bytes.Contains(raw, fmt.Appendf(nil, `"event":"step","step":%d,`, step)) {
			return false
		}
		select {
		case err := <-r.ended:
			r.ended <- err
			return true
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// signal sends a signal to a process of the job.
func (r *running) signal(t *testing.T, rank int, s syscall.Signal) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(r.pids, strconv.Itoa(rank)))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// end waits for the job's end, which must come within a time.
func (r *running) end(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(within):
		r.Process.Kill()
		t.Fatalf("%s has not ended after %v; it said\n%s", r.launcher, within, r.said.String())
		return nil
	}
}

// sentences are the lines that our program says for itself.
func (r *running) sentences() (all []string) {
	for line := range strings.Lines(r.said.String()) {
		if strings.HasPrefix(line, "moco: ") {
			all = append(all, line)
		}
	}
	return all
}

// TestKilled kills any process at any step, several times, and goes on with another number of them:
// the result is that of an undisturbed run.
func TestKilled(t *testing.T) {
	needs(t, "mpich")
	needs(t, "openmpi")
	kills, err := strconv.Atoi(os.Getenv("MOCO_TEST_KILLS"))
	if err != nil {
		kills = 2
	}
	const steps = 60
	args := []string{"--epochs", "5", "--set", "checkpoint_every=3"}
	want := job{processes: 1, out: filepath.Join(t.TempDir(), "run"), args: args}.run(t)
	out := filepath.Join(t.TempDir(), "run")
	random := rand.New(rand.NewPCG(1, 2))
	for k := range kills {
		j := job{launcher: []string{"mpich", "openmpi"}[k%2], processes: []int{4, 2}[k/2%2], out: out, args: args}
		if k > 0 {
			j.args = append(slices.Clone(args), "--resume")
		}
		r := startNoted(t, j)
		at := (k+1)*(steps-4)/kills - random.IntN(3)
		if r.reach(t, max(1, at)) {
			t.Fatalf("kill %d: the run ended by itself\n%s", k, r.said.String())
		}
		rank := random.IntN(j.processes)
		r.signal(t, rank, syscall.SIGKILL)
		killed := time.Now()
		if err := r.end(t, 30*time.Second); err == nil {
			t.Fatalf("kill %d: the job succeeded without its process %d", k, rank)
		}
		t.Logf("%s, process %d of %d killed about step %d: the job ended in %v", j.launcher, rank, j.processes, at,
			time.Since(killed).Round(100*time.Millisecond))
	}
	last := job{launcher: "mpich", processes: 2, out: out, args: append(slices.Clone(args), "--resume")}
	if got := last.run(t); got != want {
		t.Errorf("SHA-256 %s, want %s", got, want)
	}
}

// TestStopped: a process that hangs ends the job within the stated time, with one sentence.
func TestStopped(t *testing.T) {
	patience := regexp.MustCompile(`process 1 has waited [1-5]\ds for the others and ends the job`) // 5 s and its turn
	for name := range launchers {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			r := startNoted(t, job{launcher: name, processes: 4, out: filepath.Join(t.TempDir(), "run"), args: []string{"--epochs", "100"},
				env: []string{"MOCO_MPI_TIMEOUT=5s"}})
			r.reach(t, 3)
			r.signal(t, 0, syscall.SIGSTOP)
			stopped := time.Now()
			if err := r.end(t, time.Minute); err == nil {
				t.Error("the job succeeded")
			}
			t.Logf("ended in %v", time.Since(stopped).Round(100*time.Millisecond))
			if said := r.sentences(); len(said) != 1 || !patience.MatchString(said[0]) {
				t.Errorf("it said %q", r.said.String())
			}
		})
	}
}

// TestInterrupted: a signal to any process ends all of them behind the same step, saved once.
func TestInterrupted(t *testing.T) {
	for name := range launchers {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			out := filepath.Join(t.TempDir(), "run")
			r := startNoted(t, job{launcher: name, processes: 4, out: out, args: []string{"--epochs", "100"}})
			r.reach(t, 3)
			r.signal(t, 2, syscall.SIGTERM)
			err := r.end(t, time.Minute)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 130 {
				t.Errorf("it ended with %v\n%s", err, r.said.String())
			}
			if n := strings.Count(r.said.String(), "Stopped after step"); n != 1 || len(r.sentences()) > 0 {
				t.Errorf("it said\n%s", r.said.String())
			}
			files, err := filepath.Glob(filepath.Join(out, "checkpoints", "step-*"))
			if err != nil || len(files) != 1 {
				t.Errorf("there are %v (%v)", files, err)
			}
		})
	}
}

// TestFullDisk: what rank 0 cannot write ends the job with one sentence.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT TESTED here: cannot mount a small file system: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	for name := range launchers {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			r := startNoted(t, job{launcher: name, processes: 4, out: filepath.Join(dir, name), args: []string{"--epochs", "100",
				"--set", "checkpoint_every=1"}})
			if err := r.end(t, time.Minute); err == nil {
				t.Error("the job succeeded")
			}
			if said := r.sentences(); len(said) != 1 || !strings.Contains(said[0], "disk is full") {
				t.Errorf("it said %q", r.said.String())
			}
		})
	}
}

// TestOtherLibrary: under another library than the launcher's, every process would be the only one.
func TestOtherLibrary(t *testing.T) {
	needs(t, "mpich")
	needs(t, "openmpi")
	r := startNoted(t, job{launcher: "mpich", processes: 2, out: filepath.Join(t.TempDir(), "run"), env: []string{"MOCO_MPI=libmpi.so.40"}})
	if err := r.end(t, time.Minute); err == nil || !strings.Contains(r.said.String(), "announces 2 processes (PMI_SIZE), but libmpi.so.40 found 1") {
		t.Errorf("%v: it said %s", err, r.said.String())
	}
}
