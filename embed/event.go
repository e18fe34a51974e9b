package embed

import (
	"moco/data"
	"moco/encoder"
	"moco/internal/event"
)

// Event is something that happened in a run: one of the types below.
type Event = event.Event

// Start is the first event of a run.
type Start struct {
	Images   int           `json:"images"`
	First    int           `json:"first_image"` // where the run begins: images before it were done earlier
	Features encoder.Layer `json:"features"`    // backbone or head
	Dim      int           `json:"dim"`         // numbers in a row
	Engine   string        `json:"engine"`
	Out      string        `json:"out"`
}

// Progress is a batch done.
type Progress struct {
	Done            int     `json:"done"` // images looked at
	Images          int     `json:"images"`
	BadImages       int     `json:"bad_images"`        // unreadable ones so far
	ImagesPerSecond float64 `json:"images_per_second"` // in this process, decoding included
	SecondsLeft     float64 `json:"seconds_left"`
}

// Bad is an image that cannot be read; the run goes on.
type Bad struct {
	Image string `json:"image"`
	Error string `json:"error"`
}

// Done is the last event of a run.
type Done struct {
	Out             string        `json:"out"`
	Rows            int           `json:"rows"`
	Dim             int           `json:"dim"`      // numbers in a row
	Features        encoder.Layer `json:"features"` // backbone or head
	BadImages       int           `json:"bad_images"`
	BadNames        []string      `json:"bad_names"`         // the first 20 of them
	ImagesPerSecond float64       `json:"images_per_second"` // in this process
	Seconds         float64       `json:"seconds"`
	Interrupted     bool          `json:"interrupted,omitempty"` // there is no output yet
}

// MaxBadNames is how many unreadable images Done names.
const MaxBadNames = data.MaxBadNames

// Kind is the event's name under "event", as for the other types.
func (Start) Kind() string    { return "start" }
func (Progress) Kind() string { return "progress" }  // see Start
func (Bad) Kind() string      { return "bad_image" } // see Start
func (Done) Kind() string     { return "done" }      // see Start
