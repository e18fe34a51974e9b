package ranks

import (
	"errors"
	"sync"
)

// Local returns the groups of ranks that are goroutines of this process.
func Local(size int) []Group {
	m := &meeting{send: make([][]byte, size), receive: make([][]byte, size)}
	m.changed.L = &m.mu
	groups := make([]Group, size)
	for rank := range groups {
		groups[rank] = &local{m, rank}
	}
	return groups
}

// meeting is where ranks hand each other bytes: the last one to come does the copying.
type meeting struct {
	mu            sync.Mutex
	changed       sync.Cond
	here          int // ranks that have come
	round         int // meetings that are over
	send, receive [][]byte
	err           error // after Abort
}

type local struct {
	*meeting
	rank int
}

func (l *local) Rank() int { return l.rank }
func (l *local) Size() int { return len(l.send) }

func (l *local) AllToAll(send, receive []byte) error {
	return l.meet(send, receive, func(from, to int) {
		each := len(l.send[from]) / l.Size()
		copy(l.receive[to][from*each:(from+1)*each], l.send[from][to*each:])
	})
}

func (l *local) AllGather(send, receive []byte) error {
	return l.meet(send, receive, func(from, to int) {
		each := len(l.send[from])
		copy(l.receive[to][from*each:(from+1)*each], l.send[from])
	})
}

func (l *local) Broadcast(data []byte) error {
	return l.meet(data, data, func(from, to int) {
		if from == 0 && to != 0 {
			copy(l.receive[to], l.send[0])
		}
	})
}

func (l *local) Abort(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(errors.New("another rank has ended the job"), why)
	l.changed.Broadcast()
}

// meet waits for all ranks. The last one hands over what each has for each.
func (l *local) meet(send, receive []byte, hand func(from, to int)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.send[l.rank], l.receive[l.rank] = send, receive
	l.here++
	if l.here == l.Size() {
		for from := range l.Size() {
			for to := range l.Size() {
				hand(from, to)
			}
		}
		l.here = 0
		l.round++
		l.changed.Broadcast()
		return nil
	}
	for round := l.round; round == l.round && l.err == nil; {
		l.changed.Wait()
	}
	return l.err
}
