package pretrain

// Event is something that happened in a run: one of the types below. As JSON each has its name under "event".
type Event interface{ kind() string }

// Start is the first event of a run.
type Start struct {
	Event         string  `json:"event"`
	Out           string  `json:"out"`
	Engine        string  `json:"engine"`
	Images        int     `json:"images"`
	Arch          string  `json:"arch"`
	Parameters    int     `json:"parameters"` // of one encoder
	Batch         int     `json:"batch"`
	Loss          string  `json:"objective"` // "info_nce with queue", ..., or "supervised"
	Keys          int     `json:"keys"`      // negatives of a query, K, or classes
	StepsPerEpoch int     `json:"steps_per_epoch"`
	Steps         int     `json:"steps"` // of the whole run
	FirstStep     int     `json:"first_step"`
	ChanceLoss    float64 `json:"chance_loss"` // of an encoder that tells nothing apart
	FLOPs         int64   `json:"flops_per_step"`
	PeakBytes     int64   `json:"peak_bytes"` // planned
}

// Step is one step done.
type Step struct {
	Event    string  `json:"event"`
	Step     int     `json:"step"`  // counted from 1
	Epoch    int     `json:"epoch"` // counted from 1
	Loss     float64 `json:"loss"`
	Accuracy float64 `json:"accuracy"` // share of queries nearest to their positive key
	LR       float64 `json:"lr"`
	// ImagesPerSecond is over the run so far, views included, without compilation, the first step, monitors and checkpoints.
	ImagesPerSecond float64 `json:"images_per_second"`
	SecondsLeft     float64 `json:"seconds_left"`
}

// Epoch is the end of an epoch.
type Epoch struct {
	Event           string  `json:"event"`
	Epoch           int     `json:"epoch"`
	Step            int     `json:"step"`
	Loss            float64 `json:"loss"`     // mean over the epoch's steps in this process
	Accuracy        float64 `json:"accuracy"` // likewise
	ImagesPerSecond float64 `json:"images_per_second"`
	BadImages       int     `json:"bad_images"`
}

// Monitor is a kNN evaluation; epoch 0 is the encoder before training.
type Monitor struct {
	Event   string  `json:"event"`
	Epoch   int     `json:"epoch"`
	Step    int     `json:"step"`
	KNNTop1 float64 `json:"knn_top1"` // percent
	K       int     `json:"k"`
	T       float64 `json:"t"`
	Seconds float64 `json:"seconds"`
}

// Consistency is how alike a dictionary's keys are to the same views encoded now: the mean cosine by age, in steps (0: the last step's).
type Consistency struct {
	Event  string    `json:"event"`
	Epoch  int       `json:"epoch"`
	Step   int       `json:"step"`
	Age    []int     `json:"age"`
	Cosine []float64 `json:"cosine"`
	Others float64   `json:"others"` // the mean cosine of keys of different images, encoded now: what a cosine says by itself
}

// Warning is something that the user should know; the run goes on.
type Warning struct {
	Event   string `json:"event"`
	Step    int    `json:"step"`
	Message string `json:"message"`
}

// Saved is a checkpoint written.
type Saved struct {
	Event string `json:"event"`
	Step  int    `json:"step"`
	File  string `json:"file"`
}

// Done is the last event.
type Done struct {
	Event           string  `json:"event"`
	Step            int     `json:"step"`
	Epoch           int     `json:"epoch"`
	Loss            float64 `json:"loss"`
	Accuracy        float64 `json:"accuracy"`
	ImagesPerSecond float64 `json:"images_per_second"`
	KNNTop1         float64 `json:"knn_top1,omitempty"` // of the last monitor
	BadImages       int     `json:"bad_images"`
	Seconds         float64 `json:"seconds"`
	Checkpoint      string  `json:"checkpoint"`
	SHA256          string  `json:"sha256"` // of the checkpoint
	Encoder         string  `json:"encoder"`
	Interrupted     bool    `json:"interrupted,omitempty"`
}

func (Start) kind() string       { return "start" }
func (Step) kind() string        { return "step" }
func (Epoch) kind() string       { return "epoch" }
func (Monitor) kind() string     { return "monitor" }
func (Warning) kind() string     { return "warning" }
func (Saved) kind() string       { return "checkpoint" }
func (Consistency) kind() string { return "consistency" }
func (Done) kind() string        { return "done" }
