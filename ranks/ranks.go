// Package ranks says how processes that compute one thing together talk to each other. A process has
// a rank, 0 to Size-1. Every rank makes the same calls in the same order; a call returns when all
// ranks have made it.
//
// Alone is one process. Local connects goroutines of one process, for tests. MPI connects processes,
// on one machine or several.
package ranks

import "fmt"

// Group is the ranks of one job, as one of them sees it. It is not safe for concurrent use.
type Group interface {
	Rank() int
	Size() int
	// AllToAll cuts send into Size equal pieces and gives piece i to rank i. What rank i has for this
	// one becomes piece i of receive, which is as long as send. The two must not overlap.
	AllToAll(send, receive []byte) error
	// AllGather gives send to all ranks. What rank i sends becomes piece i of receive, which is Size
	// times as long. The two must not overlap.
	AllGather(send, receive []byte) error
	// Broadcast gives rank 0's data to all ranks, which have room for as much.
	Broadcast(data []byte) error
	// Abort ends all ranks, whatever they are doing. Calls that wait return an error, or the process
	// ends.
	Abort(why error)
}

// Alone is the group of a process that has no others.
type Alone struct{}

// Rank is 0.
func (Alone) Rank() int { return 0 }

// Size is 1.
func (Alone) Size() int { return 1 }

// AllToAll copies.
func (Alone) AllToAll(send, receive []byte) error { return Alone{}.AllGather(send, receive) }

// AllGather copies.
func (Alone) AllGather(send, receive []byte) error {
	copy(receive, send)
	return nil
}

// Broadcast does nothing.
func (Alone) Broadcast([]byte) error { return nil }

// Abort does nothing: there is nobody to tell.
func (Alone) Abort(error) {}

// Share is the replicas that one rank computes: Count of them, from First on, of Of in all.
type Share struct {
	First, Count, Of int
}

// ShareOf divides replicas among the ranks of a group. The sum over replicas is a binary tree, of
// which each rank must have whole branches, so a rank computes a power of two of them, or all.
func ShareOf(g Group, replicas int) (Share, error) {
	size := g.Size()
	each := replicas / size
	if size > 1 && (replicas%size != 0 || each&(each-1) != 0) {
		return Share{}, &SizeError{Replicas: replicas, Size: size}
	}
	return Share{First: g.Rank() * each, Count: each, Of: replicas}, nil
}

// Rows is the share of rows, of which each replica has the same number.
func (s Share) Rows(all int) (lo, hi int) {
	each := all / s.Of
	return s.First * each, (s.First + s.Count) * each
}

// SizeError is the error of a number of processes that replicas cannot be divided among.
type SizeError struct{ Replicas, Size int }

func (e *SizeError) Error() string {
	fits := "1"
	for size := 2; size <= e.Replicas; size++ {
		if each := e.Replicas / size; e.Replicas%size == 0 && each&(each-1) == 0 {
			fits += fmt.Sprintf(", %d", size)
		}
	}
	return fmt.Sprintf("%d replicas cannot be divided among %d processes; take %s", e.Replicas, e.Size, fits)
}
