package pack

// Start is the first event of a run.
type Start struct {
	Images int    `json:"images"`
	First  int    `json:"first_image"` // where the run begins: images before it were packed earlier
	Out    string `json:"out"`
}

// Bad is an image that cannot be read; the run goes on.
type Bad struct {
	Image string `json:"image"`
	Error string `json:"error"`
}

// Shard is a shard done.
type Shard struct {
	Name            string  `json:"name"`
	Images          int     `json:"images"` // in the shard
	Bytes           int64   `json:"bytes"`
	Done            int     `json:"done"` // images looked at so far
	ImagesPerSecond float64 `json:"images_per_second"`
}

// Done is the last event of a run.
type Done struct {
	Out       string   `json:"out"`
	Images    int      `json:"images"`
	Shards    int      `json:"shards"`
	Bytes     int64    `json:"bytes"`
	BadImages int      `json:"bad_images"`
	BadNames  []string `json:"bad_names"` // the first 20 of them
}

// Kind is the event's name under "event", as for the other types.
func (Start) Kind() string { return "start" }
func (Bad) Kind() string   { return "bad_image" } // see Start
func (Shard) Kind() string { return "shard" }     // see Start
func (Done) Kind() string  { return "done" }      // see Start
