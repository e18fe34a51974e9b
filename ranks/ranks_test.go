package ranks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// everyRank runs f on each rank of a group of this process.
func everyRank(size int, f func(g Group)) {
	var wg sync.WaitGroup
	for _, g := range Local(size) {
		wg.Go(func() { f(g) })
	}
	wg.Wait()
}

// TestLocal: every byte comes to where it belongs, whatever came before it.
func TestLocal(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 3, 8} {
		everyRank(size, func(g Group) {
			rank := byte(g.Rank())
			for round := range byte(20) {
				send, receive := make([]byte, 2*size), make([]byte, 2*size)
				for i := range send {
					send[i] = 100*rank + byte(i) + round
				}
				if err := g.AllToAll(send, receive); err != nil {
					t.Error(err)
				}
				for i, b := range receive {
					if want := 100*byte(i/2) + 2*rank + byte(i%2) + round; b != want {
						t.Errorf("rank %d of %d: byte %d is %d, want %d", rank, size, i, b, want)
					}
				}
				every := make([]byte, size)
				if err := g.AllGather([]byte{rank + round}, every); err != nil || every[size-1] != byte(size-1)+round {
					t.Errorf("rank %d of %d gathers %v (%v)", rank, size, every, err)
				}
				data := []byte{rank, round}
				if err := g.Broadcast(data); err != nil || data[0] != 0 || data[1] != round {
					t.Errorf("rank %d of %d is given %v (%v)", rank, size, data, err)
				}
			}
			texts, err := Strings(g, strings.Repeat("x", g.Rank()))
			if err != nil || texts[size-1] != strings.Repeat("x", size-1) || texts[0] != "" {
				t.Errorf("rank %d of %d gathers %q (%v)", rank, size, texts, err)
			}
			long := bytes.Repeat([]byte{rank}, 100*(1+g.Rank()))
			if b, err := FromFirst(g, long); err != nil || !bytes.Equal(b, make([]byte, 100)) {
				t.Errorf("rank %d of %d is given %v (%v)", rank, size, b, err)
			}
		})
	}
}

// TestTogether: all ranks learn of a failure or an interruption anywhere.
func TestTogether(t *testing.T) {
	t.Parallel()
	bad := errors.New("no space left")
	for _, c := range []struct {
		of   []error // by rank
		want string
	}{
		{[]error{nil, nil, nil}, "<nil> <nil> <nil>"},
		{[]error{nil, bad, nil}, "process 1 failed: no space left, no space left, process 1 failed: no space left"},
		{[]error{context.Canceled, nil, nil}, "context canceled, another process was interrupted, another process was interrupted"},
		{[]error{context.Canceled, bad, nil}, "process 1 failed: no space left, no space left, process 1 failed: no space left"},
		{[]error{bad, nil, bad}, "no space left, process 0 failed: no space left, process 0 failed: no space left"},
	} {
		got := make([]error, len(c.of))
		everyRank(len(c.of), func(g Group) { got[g.Rank()] = Together(g, func() error { return c.of[g.Rank()] }) })
		if all := fmt.Sprintf("%v, %v, %v", got[0], got[1], got[2]); all != strings.ReplaceAll(c.want, "<nil> ", "<nil>, ") {
			t.Errorf("of %v the ranks make %q, want %q", c.of, all, c.want)
		}
	}
}

// TestAbort: nobody waits for a rank that has given up.
func TestAbort(t *testing.T) {
	t.Parallel()
	errs := make([]error, 3)
	everyRank(3, func(g Group) {
		if g.Rank() == 1 {
			g.Abort(errors.New("gone"))
			return
		}
		errs[g.Rank()] = g.AllGather([]byte{1}, make([]byte, 3))
	})
	for _, rank := range []int{0, 2} {
		if errs[rank] == nil || !strings.Contains(errs[rank].Error(), "gone") {
			t.Errorf("rank %d waited and was told %v", rank, errs[rank])
		}
	}
}

// TestShares: every replica is computed once, by a rank that has whole branches of the sum's tree.
func TestShares(t *testing.T) {
	t.Parallel()
	for replicas, sizes := range map[int][]int{1: {1}, 2: {1, 2}, 3: {1, 3}, 6: {1, 3, 6}, 8: {1, 2, 4, 8}, 12: {1, 3, 6, 12}} {
		for size := 1; size <= replicas; size++ {
			next := 0
			for _, g := range Local(size) {
				s, err := ShareOf(g, replicas)
				if (err == nil) != slices.Contains(sizes, size) {
					t.Fatalf("%d replicas on %d ranks: %v", replicas, size, err)
				}
				if err != nil {
					continue
				}
				lo, hi := s.Rows(10 * replicas)
				if s.First != next || lo != 10*next || hi != lo+10*s.Count {
					t.Errorf("%d replicas on %d ranks: a share is %+v, rows %d to %d", replicas, size, s, lo, hi)
				}
				next += s.Count
			}
			if next != 0 && next != replicas {
				t.Errorf("%d replicas on %d ranks: %d are computed", replicas, size, next)
			}
		}
	}
	if _, err := ShareOf(Local(4)[0], 6); err == nil || !strings.Contains(err.Error(), "take 1, 3, 6") {
		t.Errorf("the error is %v", err)
	}
}
