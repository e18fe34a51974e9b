package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"moco/encoder"
	"moco/exchange"
	"moco/internal/atomicfile"
)

// exported is what `moco export` tells of the file that it has written.
type exported struct {
	Event   string          `json:"event"`
	Path    string          `json:"path"`
	Format  exchange.Format `json:"format"`
	Tensors int             `json:"tensors"`
	SHA256  string          `json:"sha256"`
	Encoder string          `json:"encoder"` // SHA-256 of the file that was exported
	Input   string          `json:"input,omitempty"`
	Output  exchange.Output `json:"output,omitempty"`
	Loader  []string        `json:"loader,omitempty"` // lines of Python
}

func (a *app) exportCommand() *cobra.Command {
	var model, out, format, input, output, probe string
	var force bool
	c := &cobra.Command{
		Use:   "export --model DIR|FILE --out FILE.{safetensors,pth,pkl,onnx}",
		Short: "Write an encoder for PyTorch, detectron2 or ONNX runtimes",
		Long: `Write a trained encoder in a format that other tools read. The ending of --out picks it, unless --format does:

  safetensors  .safetensors  torchvision's names and shapes, with what the encoder is in the metadata
  torch        .pth, .pt     a PyTorch state dict of the same names, for torchvision's resnet; the lines that load it are printed
  detectron2   .pkl          weights of a ResNet-50, -101 or -152 of width 1 for an R-50 C4 detector, as the converter of MoCo's authors names them
  onnx         .onnx         the whole encoder as a program, opset 17, for batches of any size

An ONNX model takes "images", [N,3,S,S]: uint8 as they are (--input uint8), or float32 as torchvision's ToTensor and Normalize make them (--input float).
It gives "features", the rows of length one that moco embed writes (--output backbone, or head), or "logits": with --probe, those of the linear classifier
that moco eval linear --save wrote; without, what the head gives, which is a classifier in encoders that were trained with labels. The model computes in
float32; compare an encoder that was trained in bf16 with moco embed --precision fp32.`,
		Example: `  moco export --model run --out encoder.pth
  moco export --model run --out r50.pkl
  moco export --model run --out encoder.onnx
  moco export --model run --out classifier.onnx --probe probe.safetensors --input float`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o := exchange.Options{Format: exchange.Format(format)}
			if format == "" {
				var err error
				if o.Format, err = exchange.ByName(out); err != nil {
					return usageError{fmt.Errorf("--out %w; or give --format", err)}
				}
			} else if !slices.Contains(exchange.Formats, o.Format) {
				return usageError{fmt.Errorf("--format %q: there are safetensors, torch, detectron2 and onnx", format)}
			}
			if o.Format != exchange.ONNX {
				for _, name := range []string{"input", "output", "probe"} {
					if c.Flags().Changed(name) {
						return usageError{fmt.Errorf("--%s is for ONNX models; %s holds weights and no program", name, o.Format)}
					}
				}
			} else if err := onnxOptions(&o.ONNX, input, output, probe, c.Flags().Changed("output")); err != nil {
				return err
			}
			if _, err := os.Stat(out); err == nil && !force {
				return usageError{fmt.Errorf("--out %s is there already; give --force to replace it", out)}
			} else if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("export: %w", err)
			}
			t, err := encoder.Open(model)
			if err != nil {
				return err
			}
			a.warnImported(model, t.Imported)
			if err := exchange.Check(t, o); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			done := exported{Event: "done", Path: out, Format: o.Format, Encoder: t.SHA256, Loader: exchange.Loader(t.Recipe.Encoder, o.Format, out)}
			done.SHA256, err = atomicfile.Save(out, func(w io.Writer) (err error) {
				done.Tensors, err = exchange.Write(w, t, o)
				return err
			})
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			if o.Format == exchange.ONNX {
				done.Input, done.Output = input, o.ONNX.Output
				if o.ONNX.Output == exchange.Logits && o.ONNX.Probe == nil && t.Weights.Metadata["objective"] != "supervised" {
					a.warn("the logits are what this encoder's head gives; were it not trained with labels, they mean nothing, and --probe is what you want")
				}
			}
			if a.json {
				return a.print(done)
			}
			use, err := howToUse(t, done)
			a.say("%s: %s, %d tensors, SHA-256 %s", out, o.Format, done.Tensors, done.SHA256)
			a.say("%s", use)
			return err
		},
	}
	c.Flags().StringVar(&model, "model", "", "folder of a run, an encoder.safetensors, or a checkpoint of PyTorch (required)")
	c.Flags().StringVar(&out, "out", "", "file to write (required)")
	c.Flags().StringVar(&format, "format", "", "safetensors, torch, detectron2 or onnx, where the ending of --out does not say it")
	c.Flags().StringVar(&input, "input", "uint8", "ONNX: images as uint8, or float: normalised already")
	c.Flags().StringVar(&output, "output", string(exchange.Backbone), "ONNX: backbone or head features, or logits (the default with --probe)")
	c.Flags().StringVar(&probe, "probe", "", "ONNX: a linear classifier on the features, from `moco eval linear --save`")
	c.Flags().BoolVar(&force, "force", false, "replace the file if it is there already")
	for _, f := range []string{"model", "out"} {
		c.MarkFlagRequired(f)
	}
	return c
}

// onnxOptions reads the flags that only ONNX has.
func onnxOptions(o *exchange.ONNXOptions, input, output, probe string, chosen bool) (err error) {
	if input != "uint8" && input != "float" {
		return usageError{fmt.Errorf("--input %q: there are uint8 and float", input)}
	}
	o.Floats, o.Output = input == "float", exchange.Output(output)
	if probe == "" {
		if !slices.Contains([]exchange.Output{exchange.Head, exchange.Backbone, exchange.Logits}, o.Output) {
			return usageError{fmt.Errorf("--output %q: there are head, backbone and logits", output)}
		}
		return nil
	}
	if chosen && o.Output != exchange.Logits {
		return usageError{fmt.Errorf("--probe makes logits, and --output asks for %s; leave out one of them", output)}
	}
	o.Output = exchange.Logits
	o.Probe, err = encoder.LoadProbe(probe)
	return err
}

// howToUse tells what the other side has to do with the file.
func howToUse(t *encoder.Encoder, e exported) (string, error) {
	views := t.Recipe.Views
	p, err := views.Drawn()
	if err != nil {
		return "", err
	}
	normalised := fmt.Sprintf("RGB from 0 to 1, less (%s), divided by (%s)", triple(p.Mean, 1), triple(p.Std, 1))
	switch e.Format {
	case exchange.Detectron2:
		return fmt.Sprintf(`In the detector's config, for what the encoder was trained on: INPUT.FORMAT "RGB", MODEL.PIXEL_MEAN [%s], MODEL.PIXEL_STD [%s],
MODEL.RESNETS.STRIDE_IN_1X1 False.`, triple(p.Mean, 255), triple(p.Std, 255)), nil
	case exchange.ONNX:
		pixels, name := "RGB from 0 to 255", "features"
		if e.Input == "float" {
			pixels = normalised
		}
		if e.Output == exchange.Logits {
			name = "logits"
		}
		return fmt.Sprintf("Input \"images\": %s [N,3,%d,%d], %s. Output \"%s\" (%s).", e.Input, views.Size, views.Size, pixels, name, e.Output), nil
	}
	return "It takes " + normalised + ". In Python:\n\n" + strings.Join(e.Loader, "\n"), nil
}

// triple is three numbers as text, scaled: "123.675, 116.28, 103.53".
func triple(v [3]float32, scale float64) string {
	text := func(x float32) string { return strconv.FormatFloat(math.Round(1e6*scale*float64(x))/1e6, 'g', -1, 64) }
	return text(v[0]) + ", " + text(v[1]) + ", " + text(v[2])
}
