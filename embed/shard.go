package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"moco/internal/atomicfile"
	"moco/internal/lock"
	"moco/vectors"
)

// errFinished is the error of a shard whose file is there.
var errFinished = errors.New("the shard is finished")

// finished is the end of a run whose shard an earlier one has finished. Rows are counted again, so
// that a damaged file is not taken for a finished one.
func (j *job) finished() (*Done, error) {
	r, err := vectors.Open(j.out)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	d := &Done{Out: j.out, Dim: j.dim, Features: j.o.Layer, BadNames: []string{}, Skipped: true}
	if d.Rows = r.Head().Rows; d.Rows < 0 {
		d.Rows = 0
		for _, err := range r.All() {
			if err != nil {
				return nil, err
			}
			d.Rows++
		}
	}
	// A process that was killed after it had saved the file has left its journal.
	if err := os.Remove(part(j.out)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d.BadImages = j.last - j.first - d.Rows
	d.Seconds = time.Since(j.began).Seconds()
	j.o.Events(*d)
	return d, nil
}

// shared is the path of the file with the terms of all shards of a set.
func shared(out string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + ".shards.json" }

// sharedTerms are what all shards of a set have in common.
type sharedTerms struct {
	terms
	Count int `json:"shards"`
}

// agree makes sure that all shards of a set are made alike: the first process writes down how, and
// others compare. A difference is an *OtherShardsError.
func (j *job) agree(ctx context.Context, t terms) error {
	if j.o.Shard.Whole() {
		return nil
	}
	t.Shard = ""
	path, mine := shared(j.o.Out), sharedTerms{terms: t, Count: j.o.Shard.Count}
	ok, err := compareShared(path, mine)
	if ok || err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	release, err := j.turn(ctx, path)
	if err != nil {
		return err
	}
	defer release()
	if ok, err = compareShared(path, mine); ok || err != nil { // somebody was faster
		return err
	}
	raw, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	_, err = atomicfile.Save(path, func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
	return err
}

// turn waits until no other process writes the shared terms. That takes each of them an instant,
// but hundreds may begin together.
func (j *job) turn(ctx context.Context, path string) (release func(), err error) {
	const tries = 60 // of a second each
	for range tries {
		_, release, err = lock.Path(ctx, path)
		if !errors.As(err, new(*lock.LockedError)) {
			break
		}
	}
	if errors.As(err, new(*lock.UnsupportedError)) {
		return func() {}, nil // the lock of the journal will warn
	}
	return release, err
}

// compareShared compares the terms of this process with those in the file. It is false without an
// error if there is no file.
func compareShared(path string, mine sharedTerms) (bool, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var theirs sharedTerms
	if err := json.Unmarshal(raw, &theirs); err != nil || theirs.Count == 0 {
		return false, fmt.Errorf("%s is not the file that tells how shards are made: %.80q", path, raw)
	}
	differences := theirs.differences(mine.terms)
	if theirs.Count != mine.Count {
		differences += fmt.Sprintf(", shards was %d and is %d", theirs.Count, mine.Count)
		differences = strings.TrimPrefix(differences, ", ")
	}
	if differences != "" {
		return false, &OtherShardsError{Path: path, Differences: differences}
	}
	return true, nil
}
