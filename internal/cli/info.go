package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/encoder"
	"moco/pretrain"
	"moco/weights"
)

// fileInfo is what `moco info` tells of a file of tensors.
type fileInfo struct {
	Event      string            `json:"event"`
	Path       string            `json:"path"`
	SHA256     string            `json:"sha256"`
	Tensors    int               `json:"tensors"`
	Parameters int               `json:"parameters"` // elements of float tensors
	Metadata   map[string]string `json:"metadata"`
	List       []tensorInfo      `json:"list,omitempty"`
	Run        *runInfo          `json:"run,omitempty"`

	Import  *encoder.ImportReport `json:"import,omitempty"`    // of weights that moco has not written
	Problem string                `json:"no_import,omitempty"` // why they cannot be imported
}

type tensorInfo struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
}

// runInfo is what a run's log says last.
type runInfo struct {
	Step    int     `json:"step"`
	Epoch   int     `json:"epoch"`
	Loss    float64 `json:"loss"`
	KNNTop1 float64 `json:"knn_top1,omitempty"`
}

func (a *app) info() *cobra.Command {
	var tensors bool
	c := &cobra.Command{
		Use:   "info PATH",
		Short: "Tell what a run, a checkpoint or an encoder is",
		Long: `Tell what the folder of a run, a checkpoint or an encoder.safetensors holds: the encoder and how it was trained, how far the run
has come, the number of tensors and parameters, the file's SHA-256. --tensors lists each tensor. Of a checkpoint that PyTorch has saved
(nothing in it is run), also what moco import would make of it.`,
		Example: `  moco info run
  moco info run/checkpoints/step-1950.safetensors
  moco info run/encoder.safetensors --tensors`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := args[0]
			stat, err := os.Stat(path)
			if err != nil {
				return fmt.Errorf("info: %w", err)
			}
			info := fileInfo{Event: "done", Path: path}
			if stat.IsDir() {
				if info.Run, err = readRun(path); err != nil {
					return err
				}
				path = filepath.Join(path, encoder.File)
			}
			f, err := weights.Load(c.Context(), path)
			if stat.IsDir() && errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("info: the run in %s has written no checkpoint yet", args[0])
			}
			if err != nil {
				return err
			}
			info.SHA256, info.Tensors, info.Metadata = f.SHA256, len(f.Tensors), f.Metadata
			for _, n := range f.Tensors {
				if strings.HasPrefix(n.Tensor.Type.String(), "float") {
					info.Parameters += n.Tensor.Shape.Elements()
				}
				if tensors {
					info.List = append(info.List, tensorInfo{n.Name, n.Tensor.Type.String(), append([]int{}, n.Tensor.Shape...)})
				}
			}
			if encoder.Foreign(f) {
				if _, info.Import, err = encoder.Import(f, encoder.ImportOptions{}); err != nil {
					info.Problem = err.Error()
				}
			}
			if a.json {
				return a.print(info)
			}
			if info.Run != nil {
				a.say("run %s: step %d, epoch %d, loss %.4f", args[0], info.Run.Step, info.Run.Epoch, info.Run.Loss)
				if info.Run.KNNTop1 > 0 {
					a.say("  kNN accuracy %.2f%%", info.Run.KNNTop1)
				}
			}
			a.say("%s: %d tensors, %.2f million values, SHA-256 %s", path, info.Tensors, float64(info.Parameters)/1e6, f.SHA256)
			var keys []string
			for k := range f.Metadata {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for _, k := range keys {
				a.say("  %s: %s", k, strings.ReplaceAll(strings.TrimSpace(f.Metadata[k]), "\n", "\n    "))
			}
			if info.Problem != "" {
				a.say("No encoder that moco can use as it is: %s", info.Problem)
			} else if info.Import != nil {
				a.say("An encoder that moco can use: --model %s, or `moco import`.", path)
				a.sayReport(info.Import)
			}
			for _, t := range info.List {
				a.say("  %-44s %-8s %v", t.Name, t.Type, t.Shape)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&tensors, "tensors", false, "list every tensor with its type and shape")
	return c
}

// readRun takes the last step and monitor from a run's log.
func readRun(dir string) (*runInfo, error) {
	log := pretrain.LogPath(dir)
	if _, err := os.Stat(log); err != nil {
		return nil, fmt.Errorf("info: %s is not the folder of a run: it holds no %s", dir, filepath.Base(log))
	}
	var run runInfo
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
