package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/encoder"
	"moco/internal/event"
	"moco/pretrain"
	"moco/weights"
)

// infoOptions are those of `moco info`.
type infoOptions struct {
	path    string
	tensors bool
}

func init() { register("", (*app).infoCommand) }

func (a *app) infoCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:   "info PATH",
		Short: "Tell what a run, a checkpoint or an encoder is",
		Long: `Tell what the folder of a run, a checkpoint or an encoder.safetensors holds: the encoder and how
it was trained, how far the run has come, the number of tensors and parameters, the file's
SHA-256. --tensors lists each tensor. Of a checkpoint that PyTorch has saved (nothing in it is
run), also what moco import would make of it.`,
		Example: `  moco info run
  moco info run/checkpoints/step-1950.safetensors
  moco info run/encoder.safetensors --tensors`,
		Args: cobra.ExactArgs(1),
	}, &infoOptions{}, runInfo)
}

func (o *infoOptions) bind(c *cobra.Command) {
	c.Flags().BoolVar(&o.tensors, "tensors", false, "list every tensor with its type and shape")
}

func (o *infoOptions) parse(_ *cobra.Command, args []string) error {
	o.path = args[0]
	return nil
}

// info is what was found in a file, or in the folder of a run.
type info struct {
	fileInfo
	file string // within the folder
}

func runInfo(ctx context.Context, _ *app, o *infoOptions) (result, error) {
	stat, err := os.Stat(o.path)
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	r := &info{fileInfo{Path: o.path}, o.path}
	if stat.IsDir() {
		if r.Run, err = readRun(o.path); err != nil {
			return nil, err
		}
		r.file = filepath.Join(o.path, encoder.File)
	}
	f, err := weights.Load(ctx, r.file)
	if stat.IsDir() && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("info: the run in %s has written no checkpoint yet", o.path)
	}
	if err != nil {
		return nil, err
	}
	r.SHA256, r.Tensors, r.Metadata = f.SHA256, len(f.Tensors), f.Metadata
	for _, n := range f.Tensors {
		if strings.HasPrefix(n.Tensor.Type.String(), "float") {
			r.Parameters += n.Tensor.Shape.Elements()
		}
		if o.tensors {
			shape := append([]int{}, n.Tensor.Shape...) // a scalar's is [], not null
			r.List = append(r.List, tensorInfo{Name: n.Name, Type: n.Tensor.Type.String(), Shape: shape})
		}
	}
	if encoder.Foreign(f) {
		if _, r.Import, err = encoder.Import(f, encoder.ImportOptions{}); err != nil {
			r.Problem = told(err)
		}
	}
	return r, nil
}

// readRun takes the last step and monitor from a run's log.
func readRun(dir string) (*runState, error) {
	log := pretrain.LogPath(dir)
	if _, err := os.Stat(log); err != nil {
		return nil, fmt.Errorf("info: %s is not the folder of a run: it holds no %s", dir, filepath.Base(log))
	}
	var run runState
	for e, err := range pretrain.ReadLog(log) {
		if err != nil {
			return nil, fmt.Errorf("info: %w", err)
		}
		switch e := e.(type) {
		case *pretrain.Step:
			run.Step, run.Epoch, run.Loss = e.Step, e.Epoch, e.Loss
		case *pretrain.Monitor:
			run.KNNTop1 = e.KNNTop1
		}
	}
	return &run, nil
}

func (r *info) event() event.Event { return r.fileInfo }

func (r *info) text(s *screen) error {
	if r.Run != nil {
		s.say("run %s: step %d, epoch %d, loss %.4f", r.Path, r.Run.Step, r.Run.Epoch, r.Run.Loss)
		if r.Run.KNNTop1 > 0 {
			s.say("  kNN accuracy %.2f%%", r.Run.KNNTop1)
		}
	}
	s.say("%s: %d tensors, %.2f million values, SHA-256 %s", r.file, r.Tensors, float64(r.Parameters)/1e6, r.SHA256)
	for _, k := range slices.Sorted(maps.Keys(r.Metadata)) {
		s.say("  %s: %s", k, multiline(strings.ReplaceAll(strings.TrimSpace(r.Metadata[k]), "\n", "\n    ")))
	}
	if r.Problem != "" {
		s.say("No encoder that moco can use as it is: %s", r.Problem)
	} else if r.Import != nil {
		s.say("An encoder that moco can use: --model %s, or `moco import`.", r.file)
		sayReport(s, r.Import)
	}
	for _, t := range r.List {
		s.say("  %-44s %-8s %v", t.Name, t.Type, t.Shape)
	}
	return nil
}
