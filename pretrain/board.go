package pretrain

import (
	"fmt"
	"path/filepath"
	"time"

	"moco/internal/atomicfile"
	"moco/internal/event"
	"moco/internal/tfevents"
)

// board writes a run's numbers for TensorBoard, into a new file for each process that works on the
// run. Like the log it must not stop the run, so errors of writing are dropped.
type board struct {
	file   atomicfile.File
	events *tfevents.Writer
	chance float64 // the loss of an encoder that tells nothing apart
}

// openBoard begins the file in a folder. A process that goes on after a step repeats what a killed
// one had written of the steps behind it; TensorBoard is told to forget that.
func openBoard(system files, folder string, step int) (*board, error) {
	path := tfevents.Name(folder, time.Now())
	file, err := system.Append(path)
	if err != nil {
		return nil, fmt.Errorf("open the file for TensorBoard: %w", err)
	}
	if err := system.SyncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open the file for TensorBoard: %w", err)
	}
	return &board{file: file, events: tfevents.NewWriter(file, step+1, time.Now)}, nil
}

// tell writes the numbers of an event. Accuracies are in percent.
func (b *board) tell(e event.Event) {
	switch e := e.(type) {
	case Start:
		b.chance = e.ChanceLoss
	case Step:
		scalars := []tfevents.Scalar{
			{Tag: "loss/train", Value: e.Loss}, {Tag: "loss/chance", Value: b.chance},
			{Tag: "accuracy/contrast", Value: 100 * e.Accuracy},
			{Tag: "learning rate", Value: e.LR}, {Tag: "images a second", Value: e.ImagesPerSecond},
		}
		if e.Spread != nil {
			scalars = append(scalars, tfevents.Scalar{Tag: "spread of features", Value: *e.Spread})
		}
		b.events.Write(e.Step, scalars...)
	case Monitor:
		b.events.Write(e.Step, tfevents.Scalar{Tag: "accuracy/kNN", Value: e.KNNTop1})
	}
}
