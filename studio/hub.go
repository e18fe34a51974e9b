package studio

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// hub sends events to all pages that listen.
type hub struct {
	mu     sync.Mutex
	pages  map[chan []byte]bool
	closed bool
}

// maxPages is how many may listen at once.
const maxPages = 64

// pageBuffer is how many events may wait for a page. One that reads no more is sent away, and comes
// again by itself: what it has missed it asks for by the version.
const pageBuffer = 64

func newHub() *hub { return &hub{pages: map[chan []byte]bool{}} }

// send sends an event to all pages. It never waits.
func (h *hub) send(kind string, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // a value of our own that cannot be written
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	event := fmt.Appendf(nil, "event: %s\ndata: %s\n\n", kind, raw)
	for page := range h.pages {
		select {
		case page <- event:
		default:
			delete(h.pages, page)
			close(page)
		}
	}
}

// join is a channel of events, nil where no more may listen.
func (h *hub) join() chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.pages) >= maxPages {
		return nil
	}
	page := make(chan []byte, pageBuffer)
	h.pages[page] = true
	return page
}

func (h *hub) leave(page chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pages[page] {
		delete(h.pages, page)
		close(page)
	}
}

// close sends all pages away.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for page := range h.pages {
		delete(h.pages, page)
		close(page)
	}
}

// beat is how often a page that hears nothing is told that the studio is there.
const beat = 15 * time.Second

// serve sends events to one page until it goes.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	page := h.join()
	if page == nil {
		fail(w, http.StatusServiceUnavailable, "too many pages listen to this studio; close some")
		return
	}
	defer h.leave(page)
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(beat)
	defer tick.Stop()
	next := []byte("retry: 1000\n\n")
	for ok := true; ok; {
		// A page that does not read for as long as this is gone.
		control.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if _, err := w.Write(next); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case next, ok = <-page:
		case <-tick.C:
			next = []byte(": beat\n\n")
		case <-r.Context().Done():
			return
		}
	}
}
