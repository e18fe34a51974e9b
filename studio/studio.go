// Package studio is a server for one person on their own machine: a page in the browser to look at
// a set of pictures, search it, label it and decide what to keep.
//
// What the person says stands in a file of package labels. What is computed (features, neighbours,
// a layout, clusters, near-duplicates) is made in the background, one after another, and kept in a
// folder, so that a second start has it at once. Pictures are only ever read.
//
// The page asks by numbers of pictures, never by paths. Who may ask is decided in guard.go.
package studio

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"moco/data"
	"moco/encoder"
	"moco/engine"
	"moco/vectors"
)

// Options say what a studio shows. Data, Labels, Folder and Engine are needed.
type Options struct {
	Data   *data.Set
	Name   string        // of the data, as the page shows it
	Labels string        // the file of labels, which is made if it is not there
	Folder string        // where thumbnails and what is computed are kept
	Engine engine.Engine // computes in the background
	// Encoder makes the features, if they are not kept yet, and those of pictures that are dropped
	// into the page. It may be nil: then a person can look, search by name and label. Its Close is
	// the caller's.
	Encoder *encoder.Encoder
	Layer   encoder.Layer // the features of Encoder that are used; empty: its own
	Model   string        // its name, as the page shows it
	Vectors string        // a file of package vectors with the features; empty: they are made
	Run     string        // the folder of a training run that the page watches; empty: none
	Advice  string        // what the page says where there are no features: how to get a model
	Token   string        // who asks must know it; empty: a random one
	Log     *slog.Logger  // may be nil
}

// Studio is an open studio. It is safe for concurrent use.
type Studio struct {
	o      Options
	log    *slog.Logger
	epoch  string // a hash of the set: a page that was made of another one must be made anew
	names  []string
	folded func() []string // names without their case, made with the first search
	order  []int           // all pictures in a random order, the same at each start
	board  *board
	hub    *hub
	thumb  *thumbnails
	work   *work
	page   page
	watch  *watcher // nil: no run is watched

	linking   sync.Mutex // held while folders of links are made
	comparing sync.Mutex // held while the encoder is compared with the features
	compared  bool       // it made them

	decoding chan struct{} // held while a picture is decoded for somebody who waits

	ctx     context.Context // ends with the studio
	cancel  context.CancelFunc
	closing sync.Once
	waiting sync.WaitGroup // for what runs in the background
}

// Open opens a studio and begins its work in the background, until Close or until ctx ends.
func Open(ctx context.Context, o Options) (*Studio, error) {
	if o.Data == nil || o.Labels == "" || o.Folder == "" || o.Engine == nil {
		return nil, errors.New("studio: data, labels, folder and engine are needed")
	}
	if o.Token == "" {
		o.Token = rand.Text()
	}
	s := &Studio{o: o, log: o.Log, decoding: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.names = make([]string, o.Data.Len())
	for i := range s.names {
		s.names[i] = o.Data.Name(i)
	}
	sum := sha256.Sum256([]byte(o.Data.Fingerprint()))
	s.epoch = hex.EncodeToString(sum[:8])
	s.order = mathrand.New(mathrand.NewChaCha8(sum)).Perm(len(s.names))
	s.folded = sync.OnceValue(s.foldAll)
	s.hub = newHub()
	s.ctx, s.cancel = context.WithCancel(ctx)
	var err error
	if s.page, err = newPage(embedded, "page"); err != nil {
		s.cancel()
		return nil, err
	}
	if s.thumb, err = openThumbnails(o.Folder, o.Data); err != nil {
		s.cancel()
		return nil, err
	}
	if s.board, err = openBoard(ctx, o.Labels, s.names, o.Data.Classes()); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.thumb.close())
	}
	s.work = newWork(s)
	if o.Run != "" {
		s.watch = &watcher{s: s}
		s.background(s.watch.run)
	}
	s.background(s.follow)
	s.background(s.work.run)
	return s, nil
}

// background runs something until the studio is closed.
func (s *Studio) background(f func(ctx context.Context)) {
	s.waiting.Go(func() { f(s.ctx) })
}

// followEvery is how often the file of labels is looked at for the rows of others.
const followEvery = 500 * time.Millisecond

// follow takes in what other studios write.
func (s *Studio) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := s.board.follow()
		if err != nil && !failed {
			s.log.Warn("the file of labels cannot be read", "error", err)
		}
		failed = err != nil
		if changed {
			s.changed()
		}
	}
}

// changed tells everybody that labels or decisions have changed.
func (s *Studio) changed() {
	s.hub.send("changed", map[string]int64{"version": s.board.now()})
	s.work.labelsChanged()
}

// Token is what who asks must know.
func (s *Studio) Token() string { return s.o.Token }

// URL is the address of the page at a listener.
func (s *Studio) URL(l net.Listener) string {
	return "http://" + shownAddress(l.Addr()) + "/?token=" + s.o.Token
}

// Serve answers at a listener, which it closes, until ctx ends. The error is nil then.
func (s *Studio) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.handler(l.Addr()),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("studio: %w", err)
	case <-ctx.Done():
	}
	s.hub.close() // which ends the events, that would go on for ever
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	if server.Shutdown(last) != nil {
		server.Close()
	}
	<-done
	return nil
}

// Close ends the work in the background and closes the file of labels. What was labelled is safe
// without it.
func (s *Studio) Close() (err error) {
	s.closing.Do(func() {
		s.cancel()
		s.hub.close()
		s.waiting.Wait()
		err = errors.Join(s.board.close(), s.thumb.close())
	})
	return err
}

// Memory is about how many bytes the pictures take at most: their names, their features, and all
// that is computed of them. It is what grows with the set, beside what the program takes without
// one. Go's collector lets memory grow to twice what is in use, which is counted.
func (s *Studio) Memory() int64 {
	const each = 100 // for a picture: labels, places on the map, predictions, heads of strings
	bytes := int64(len(s.names)) * each
	for _, name := range s.names {
		bytes += 2 * int64(len(name)) // and without its case
	}
	if dim := s.dim(); dim > 0 {
		// A neighbour takes 8 bytes, and while the map is made 16 more; a picture that is compared
		// with others to find copies about 2 KB.
		bytes += int64(len(s.names)) * int64(4*dim+8*neighbours+16*layoutNeighbours+2048)
	}
	return 2 * bytes
}

// dim is the length of the features, 0 where there are none.
func (s *Studio) dim() int {
	if s.o.Vectors != "" {
		r, err := vectors.Open(s.o.Vectors)
		if err != nil {
			return 0
		}
		defer r.Close()
		return r.Head().Dim
	}
	if s.o.Encoder == nil {
		return 0
	}
	dim, err := s.o.Encoder.DimOf(s.layer())
	if err != nil {
		return 0
	}
	return dim
}

// Labelled is how many pictures have a label.
func (s *Studio) Labelled() int { return s.board.tally().Labelled }
