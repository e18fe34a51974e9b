package cli

import (
	"moco/classify"
	"moco/data"
	"moco/encoder"
	"moco/evaluate"
	"moco/exchange"
	"moco/explore"
	"moco/study"
	"moco/transfer"
)

// These are the events that commands print with --json beside those of packages pretrain, embed and
// internal/bench. docs/events.md is made of their fields and comments; a test keeps it so.

// knnDone is the result of `moco eval knn`: of the first features, k and t, and the rows of all.
type knnDone struct {
	*evaluate.Result
	KNNTop1  float64       `json:"knn_top1"` // percent, of the first row
	Features encoder.Layer `json:"features"` // of the first row: head, backbone, vectors or pixels
	Bad      int           `json:"bad_images"`
	Results  []knnRow      `json:"results"` // a row for each combination
}

// knnRow is one combination of features, k and t.
type knnRow struct {
	Features encoder.Layer `json:"features"`
	K        int           `json:"k"`
	T        float64       `json:"t"`
	Top1     float64       `json:"top1"`           // percent
	Top5     float64       `json:"top5,omitempty"` // percent; where there are more than five classes
}

// linearEpoch is an epoch of linear classifiers that is done.
type linearEpoch struct {
	Epoch       int     `json:"epoch"` // counted from 1
	Of          int     `json:"of"`    // epochs
	SecondsLeft float64 `json:"seconds_left"`
}

// linearDone is the result of `moco eval linear`.
type linearDone struct {
	*evaluate.LinearResult
	LinearTop1 float64       `json:"linear_top1"` // percent
	Features   encoder.Layer `json:"features"`    // head, backbone, vectors or pixels
	Bad        int           `json:"bad_images"`
	Saved      string        `json:"saved,omitempty"` // the file of the chosen classifier
}

// finetuneRun is a seed that begins.
type finetuneRun struct {
	Seed int `json:"seed"`
}

// finetuneSeed is a seed that is done, now or before.
type finetuneSeed struct{ transfer.Tuned }

// finetuneDone is the result of `moco eval finetune`.
type finetuneDone struct {
	Model  string           `json:"model"`
	Labels string           `json:"labels"` // the share
	Top1   evaluate.Summary `json:"finetune_top1"`
	Runs   []transfer.Tuned `json:"runs"`
}

// studyRun is a run of a study that begins.
type studyRun struct {
	Run         string  `json:"run"`
	Number      int     `json:"number"` // counted from 1, of those to do
	Of          int     `json:"of"`
	SecondsLeft float64 `json:"seconds_left"` // 0: not known yet
}

// studyRunDone is a run of a study that is done, or has failed.
type studyRunDone struct {
	Run             string  `json:"run"`
	Seed            uint64  `json:"seed"`
	KNNTop1         float64 `json:"knn_top1"` // percent
	Loss            float64 `json:"loss"`     // of the last step
	ImagesPerSecond float64 `json:"images_per_second"`
	Failed          string  `json:"failed,omitempty"` // why there is no accuracy
}

// studyDone is the result of `moco compare`.
type studyDone struct {
	Results []study.Result `json:"results"`
	Files   []string       `json:"files"` // that were written, within the folder
}

// transferPart is a part of a comparison that begins.
type transferPart struct {
	transfer.Part
	Number int `json:"number"` // counted from 1
	Of     int `json:"of"`
}

// transferPartDone is a part of a comparison that was measured, now or before.
type transferPartDone struct {
	transfer.Part
	Top1 float64 `json:"top1"` // percent
}

// transferDone is the result of `moco transfer`.
type transferDone struct {
	Labels []string       `json:"labels"` // the shares, in the order of finetune_top1
	Table  []transfer.Row `json:"table"`
	Files  []string       `json:"files"` // that were written
}

// demoDone is the result of `moco demo`.
type demoDone struct {
	Pixels    float64 `json:"knn_pixels"`    // percent
	Untrained float64 `json:"knn_untrained"` // percent
	Trained   float64 `json:"knn_top1"`      // percent
	Seconds   float64 `json:"seconds"`       // of training
	Report    string  `json:"report"`        // the page
	Run       string  `json:"run"`           // its folder
}

// neighbours is a query with what lies nearest to it.
type neighbours struct {
	Query      explore.Ref   `json:"query"`
	Neighbours []explore.Ref `json:"neighbours"` // most similar first
}

// duplicates is a group of near-duplicates: copies of its best.
type duplicates struct {
	Images  []duplicate     `json:"images"`
	Best    string          `json:"best"`    // the image to keep
	Why     string          `json:"why"`     // what makes it the best, such as "most pixels: 80 x 60, the next 40 x 30"
	Reason  explore.Reason  `json:"reason"`  // already there, most pixels, least compressed, oldest or first in order
	Extras  []string        `json:"extras"`  // all others
	Weakest float32         `json:"weakest"` // similarity of the best with the image that is least like it
	Pairs   []duplicatePair `json:"pairs"`   // the best with each of the others, most similar first
}

// duplicate is an image of a group.
type duplicate struct {
	explore.Ref
	Old bool `json:"old,omitempty"` // of --against
}

// duplicatePair is two images that are near-duplicates.
type duplicatePair struct {
	A          string  `json:"a"` // the group's best
	B          string  `json:"b"`
	Similarity float32 `json:"similarity"`       // what the threshold is for
	Cosine     float32 `json:"cosine,omitempty"` // of the features; absent if they were not compared
}

// outlier is an image with its distance; they come in order, the farthest first.
type outlier struct {
	Rank int `json:"rank"` // counted from 1
	explore.Ref
	Distance float64       `json:"distance"` // mean of 1 - cosine to the nearest images
	Nearest  []explore.Ref `json:"nearest"`
}

// labelError is an image whose label its neighbours do not share; they come in order, the widest
// margin first.
type labelError struct {
	Rank int `json:"rank"` // counted from 1
	explore.Ref
	Suggested string        `json:"suggested"` // the class with most votes
	Margin    float64       `json:"margin"`    // share of the votes for the suggested class, less that for the label
	Votes     float64       `json:"votes"`     // share of the votes for the label
	Nearest   []explore.Ref `json:"nearest"`
	// Outnumbered is true where the label has fewer other images than k. Such images come last.
	Outnumbered bool `json:"outnumbered,omitempty"`
}

// cluster is a cluster with all its images, the most typical first.
type cluster struct {
	Cluster int           `json:"cluster"` // counted from 1, the largest first
	Size    int           `json:"size"`
	Label   string        `json:"label,omitempty"` // the most frequent
	Share   float64       `json:"share,omitempty"` // of the images that carry it
	Images  []explore.Ref `json:"images"`
}

// exploreDone is the last event of search, dedupe, outliers, label-errors and cluster.
type exploreDone struct {
	Command  string        `json:"command"`
	Images   int           `json:"images"`
	Bad      int           `json:"bad_images"`
	Features encoder.Layer `json:"features"` // head, backbone, vectors or pixels
	Found    int           `json:"found"`    // events before this one
	Summary  summary       `json:"summary"`  // the command's own
	HTML     string        `json:"html,omitempty"`
	Seconds  float64       `json:"seconds"`
}

// summary is what a command that explores says of all its findings.
type summary interface{ ofFindings() }

// searchSummary is the summary of search.
type searchSummary struct {
	K int `json:"k"`
}

// dedupeSummary is the summary of dedupe.
type dedupeSummary struct {
	By        string  `json:"by"` // overlay or features
	Threshold float32 `json:"threshold"`
	Pairs     int     `json:"pairs"`
	Extra     int     `json:"extra_images"` // beyond the best of each group
}

// outliersSummary is the summary of outliers.
type outliersSummary struct {
	K int `json:"k"`
}

// labelErrorsSummary is the summary of label-errors.
type labelErrorsSummary struct {
	K           int               `json:"k"`
	T           float64           `json:"t"`
	Outnumbered []data.ClassCount `json:"outnumbered,omitempty"` // classes with fewer images than k and one
}

// clusterSummary is the summary of cluster.
type clusterSummary struct {
	K          int     `json:"k"` // clusters
	Seed       uint64  `json:"seed"`
	Iterations int     `json:"iterations"`
	Converged  bool    `json:"converged"`
	Similarity float64 `json:"similarity"`       // mean cosine of an image with its cluster's centre
	Purity     float64 `json:"purity,omitempty"` // share of the images that carry their cluster's most frequent label
}

func (searchSummary) ofFindings()      {}
func (dedupeSummary) ofFindings()      {}
func (outliersSummary) ofFindings()    {}
func (labelErrorsSummary) ofFindings() {}
func (clusterSummary) ofFindings()     {}

// expectation is what accuracy to expect of predictions.
type expectation struct {
	// Accuracy is a share from 0 to 1, from labelled pictures that were held out. If none could be, it
	// is the mean confidence, which is a guess then.
	Accuracy float64 `json:"expected_accuracy"`
	Low      float64 `json:"low"` // of the 95% interval
	High     float64 `json:"high"`
	Enough   bool    `json:"enough"`            // the labels are enough to say
	Lacking  string  `json:"lacking,omitempty"` // why they are not
	Labelled int     `json:"labelled"`          // pictures that it has learned from
	HeldOut  int     `json:"held_out"`          // of them, those that were held out, each in turn
}

// classifyExpected comes before anything is written.
type classifyExpected struct {
	expectation
	PerClass    []classify.ClassEstimate `json:"per_class"`   // on the pictures of each class
	Confusion   [][]int                  `json:"confusion"`   // [true class][predicted class], of pictures held out
	C           float64                  `json:"c"`           // weight of the losses beside the penalty
	Temperature float64                  `json:"temperature"` // that the logits were divided by
}

// classifyDone is the result of `moco classify`.
type classifyDone struct {
	expectation
	Images          int           `json:"images"` // of the data
	Bad             int           `json:"bad_images"`
	Predicted       int           `json:"predicted"`
	Unknown         int           `json:"unknown"`          // of the predicted, those below the least confidence
	Given           int           `json:"given"`            // images of the data that had a label
	MeanConfidence  float64       `json:"mean_confidence"`  // of the predicted
	KnownConfidence float64       `json:"known_confidence"` // of the predicted that are not unknown
	Classes         []string      `json:"classes"`
	Features        encoder.Layer `json:"features"` // head, backbone, vectors or pixels
	Out             string        `json:"out,omitempty"`
	HTML            string        `json:"html,omitempty"`
	Links           string        `json:"links,omitempty"` // the folder of links
	Saved           string        `json:"saved,omitempty"` // the file of the classifier
	Seconds         float64       `json:"seconds"`
}

// exported is the result of `moco export`.
type exported struct {
	Path    string          `json:"path"`
	Format  exchange.Format `json:"format"`  // safetensors, torch, detectron2 or onnx
	Tensors int             `json:"tensors"` // in the file
	SHA256  string          `json:"sha256"`  // of the file
	Encoder string          `json:"encoder"` // SHA-256 of the file that was exported
	Input   string          `json:"input,omitempty"`
	Output  exchange.Output `json:"output,omitempty"`
	Loader  []string        `json:"loader,omitempty"` // lines of Python
}

// imported is the result of `moco import`.
type imported struct {
	Path   string `json:"path"`
	Out    string `json:"out"`
	SHA256 string `json:"sha256"` // of out
	*encoder.ImportReport
}

// fileInfo is the result of `moco info`: what a file of tensors holds.
type fileInfo struct {
	Path       string            `json:"path"`
	SHA256     string            `json:"sha256"`
	Tensors    int               `json:"tensors"`
	Parameters int               `json:"parameters"` // elements of float tensors
	Metadata   map[string]string `json:"metadata"`
	List       []tensorInfo      `json:"list,omitempty"`
	Run        *runState         `json:"run,omitempty"` // of the folder of a run

	Import  *encoder.ImportReport `json:"import,omitempty"`    // of weights that moco has not written
	Problem string                `json:"no_import,omitempty"` // why they cannot be imported
}

// tensorInfo is one tensor of a file.
type tensorInfo struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
}

// runState is what a run's log says last.
type runState struct {
	Step    int     `json:"step"`
	Epoch   int     `json:"epoch"`
	Loss    float64 `json:"loss"`
	KNNTop1 float64 `json:"knn_top1,omitempty"` // percent, of the last monitor
}

// dataInfo is the result of `moco data info`.
type dataInfo struct{ data.Info }

// Kind is the event's name under "event", as for the other types.
func (knnDone) Kind() string          { return "done" }
func (linearEpoch) Kind() string      { return "epoch" }
func (linearDone) Kind() string       { return "done" }
func (finetuneRun) Kind() string      { return "run" }
func (finetuneSeed) Kind() string     { return "seed" }
func (finetuneDone) Kind() string     { return "done" }
func (studyRun) Kind() string         { return "run" }
func (studyRunDone) Kind() string     { return "run_done" }
func (studyDone) Kind() string        { return "done" }
func (transferPart) Kind() string     { return "part" }
func (transferPartDone) Kind() string { return "part_done" }
func (transferDone) Kind() string     { return "done" }
func (demoDone) Kind() string         { return "done" }
func (neighbours) Kind() string       { return "neighbours" }
func (duplicates) Kind() string       { return "group" }
func (outlier) Kind() string          { return "outlier" }
func (labelError) Kind() string       { return "label_error" }
func (cluster) Kind() string          { return "cluster" }
func (exploreDone) Kind() string      { return "done" }
func (classifyExpected) Kind() string { return "expected" }
func (classifyDone) Kind() string     { return "done" }
func (exported) Kind() string         { return "done" }
func (imported) Kind() string         { return "done" }
func (fileInfo) Kind() string         { return "done" }
func (dataInfo) Kind() string         { return "done" }
