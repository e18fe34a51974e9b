package embed

import (
	"moco/data"
	"moco/encoder"
	"moco/internal/event"
)

// Event is one of the types below.
type Event = event.Event

// Start is the first event of a run.
type Start struct {
	Images int `json:"images"`
	// First is the first image that this process embeds. An earlier one has done those before.
	First    int           `json:"first_image"`
	Features encoder.Layer `json:"features"` // backbone or head
	Dim      int           `json:"dim"`      // numbers in a row
	Engine   string        `json:"engine"`
	Out      string        `json:"out"`
	Shard    string        `json:"shard,omitempty"` // "3/7": images counts those of this shard
}

// Progress is a finished batch.
type Progress struct {
	Done            int     `json:"done"` // images read
	Images          int     `json:"images"`
	BadImages       int     `json:"bad_images"`        // unreadable images so far
	ImagesPerSecond float64 `json:"images_per_second"` // in this process, with decoding
	SecondsLeft     float64 `json:"seconds_left"`
}

// Bad is an image that cannot be read. The run continues.
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
	Interrupted     bool          `json:"interrupted,omitempty"` // true: there is no output yet
	Skipped         bool          `json:"skipped,omitempty"`     // the shard was finished before
}

// MaxBadNames is the number of unreadable images that Done names.
const MaxBadNames = data.MaxBadNames

// Kind is the event's name in the field "event".
func (Start) Kind() string    { return "start" }
func (Progress) Kind() string { return "progress" }  // see Start
func (Bad) Kind() string      { return "bad_image" } // see Start
func (Done) Kind() string     { return "done" }      // see Start
