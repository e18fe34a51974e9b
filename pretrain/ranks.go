package pretrain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"moco/ranks"
	"moco/recipe"
)

// The processes of a run (Options.Ranks) make the same calls in the same order, since each of them may
// wait for all. Rank 0 leads: it alone reads and writes the run's folder, tells events and measures
// the monitor. What may fail on one rank alone is done together, so that all learn of it and none is
// left waiting.

func (r *run) leads() bool { return r.o.Ranks.Rank() == 0 }

// together runs f on every rank. Its outcome is the same on all: see ranks.Together.
func (r *run) together(f func() error) error { return ranks.Together(r.o.Ranks, f) }

// alike is an error that every rank has: rank 0 tells it.
func (r *run) alike(err error) error {
	if r.leads() || err == nil {
		return err
	}
	return &ranks.OtherError{Rank: 0, Text: err.Error()}
}

// DisagreementError is the error of a process that would compute something else than the others.
type DisagreementError struct {
	Rank        int
	Host        string // where it runs
	What        string // "other images"
	Its, Others string
}

func (e *DisagreementError) Error() string {
	return fmt.Sprintf("process %d on %s has %s than the others: %s, where they have %s; all must have the same",
		e.Rank, e.Host, e.What, e.Its, e.Others)
}

// agree holds all ranks to the same program, recipe, data and kernels, from which the same bits
// follow.
func (r *run) agree() error {
	if r.o.Ranks.Size() == 1 {
		return nil
	}
	for _, fact := range []struct{ what, value string }{
		{"another program", program()},
		{"another engine", r.o.Engine.Name()},
		{"another recipe", recipe.Write(*r.recipe)},
		{"other images", fmt.Sprintf("%d with the fingerprint %s", r.o.Data.Len(), r.o.Data.Fingerprint())},
		{"another number of steps", fmt.Sprint(r.last)},
	} {
		values, err := ranks.Strings(r.o.Ranks, fact.value)
		if err != nil {
			return err
		}
		usual, odd := oddOf(values)
		if odd < 0 {
			continue
		}
		e := &DisagreementError{Rank: odd, Host: r.hosts[odd], What: fact.what, Its: values[odd], Others: values[usual]}
		if fact.what == "another recipe" {
			e.Its, e.Others = recipesApart(e.Its, e.Others)
		}
		return r.alike(e)
	}
	return nil
}

// oddOf finds the first rank that has another value than most, and one of these. It is -1 if there is
// none.
func oddOf(values []string) (usual, odd int) {
	count := map[string]int{}
	for _, v := range values {
		count[v]++
	}
	for rank, v := range values {
		if count[v] > count[values[usual]] {
			usual = rank
		}
	}
	for rank, v := range values {
		if v != values[usual] {
			return usual, rank
		}
	}
	return usual, -1
}

// recipesApart says in which keys two recipes differ.
func recipesApart(its, others string) (a, b string) {
	x, err := recipe.Parse(its)
	y, other := recipe.Parse(others)
	if err != nil || other != nil {
		return its, others
	}
	changes := strings.Join(recipe.Differences(y, x), ", ")
	return strings.ReplaceAll(changes, " and was ", " there, not "), "the latter"
}

// program is the hash of the running program, empty if it cannot be read.
func program() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return "SHA-256 " + hex.EncodeToString(h.Sum(nil))[:16]
}

// findHosts learns on which machine each rank runs.
func (r *run) findHosts() error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	r.hosts, err = ranks.Strings(r.o.Ranks, host)
	return err
}

// neighbours is the number of ranks on this machine, which share its memory.
func (r *run) neighbours() int64 {
	n := int64(0)
	for _, host := range r.hosts {
		if host == r.hosts[r.o.Ranks.Rank()] {
			n++
		}
	}
	return max(1, n)
}

// follow gives all ranks what rank 0 has begun with: the step and every variable.
func (r *run) follow() error {
	if r.o.Ranks.Size() == 1 {
		return nil
	}
	if err := r.fromFirst(&r.step); err != nil {
		return err
	}
	for _, name := range r.state.Names() {
		t, err := r.state.Read(name)
		if err != nil {
			return err
		}
		if err := r.o.Ranks.Broadcast(t.Bytes()); err != nil {
			return err
		}
		if err := r.state.Write(name, t); err != nil {
			return err
		}
	}
	return nil
}

// fromFirst sets *v on all ranks to what it is on rank 0.
func (r *run) fromFirst(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if b, err = ranks.FromFirst(r.o.Ranks, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// shareUnreadable tells every rank which images others could not read.
func (r *run) shareUnreadable() error {
	if r.o.Ranks.Size() == 1 {
		return nil
	}
	mine, err := json.Marshal(r.loader.Unreadable())
	if err != nil {
		return err
	}
	lists, err := ranks.Strings(r.o.Ranks, string(mine))
	if err != nil {
		return err
	}
	all := map[int]string{}
	for _, list := range lists {
		if err := json.Unmarshal([]byte(list), &all); err != nil {
			return err
		}
	}
	return r.alike(r.loader.Learn(all))
}

// isInterrupted tells whether an error says that a context ended, on this rank or another.
func isInterrupted(ctx context.Context, err error) bool {
	return errors.Is(err, ranks.ErrStopped) || ctx.Err() != nil && errors.Is(err, ctx.Err())
}
