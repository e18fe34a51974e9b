package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"moco/augment"
	"moco/encoder"
	"moco/exchange"
	"moco/internal/atomicfile"
	"moco/internal/event"
)

const exportHelp = `Write a trained encoder in a format that other tools read. The ending of --out picks it, unless
--format does:

  safetensors  .safetensors  torchvision's names and shapes of a ResNet, and timm's of a
                             transformer (or torchvision's: --names), with what the encoder is
                             in the metadata
  torch        .pth, .pt     a PyTorch state dict of the same names; the lines that load it are
                             printed
  detectron2   .pkl          weights of a ResNet-50, -101 or -152 of width 1 for an R-50 C4
                             detector, as the converter of MoCo's authors names them
  onnx         .onnx         the whole encoder as a program, opset 17, for batches of any size

An ONNX model takes "images", [N,3,S,S]: uint8 as they are (--input uint8), or float32 as
torchvision's ToTensor and Normalize make them (--input float). It gives "features", the rows of
length one that moco embed writes (--output backbone, or head), or "logits": with --probe, those
of the linear classifier that moco classify --save or moco eval linear --save wrote (the former's
are calibrated: their softmax is the confidence); without, what the head gives, which is a
classifier in encoders that were trained with labels. The model computes in float32; compare
an encoder that was trained in bf16 with moco embed --precision fp32.`

const exportExample = `  moco export --model run --out encoder.pth
  moco export --model run --out r50.pkl
  moco export --model run --out encoder.onnx
  moco export --model run --out classifier.onnx --probe probe.safetensors --input float`

// What an ONNX model can take, and give.
var (
	inputs  = []string{"uint8", "float"}
	outputs = []exchange.Output{exchange.Head, exchange.Backbone, exchange.Logits}
)

// exportOptions are those of `moco export`.
type exportOptions struct {
	model, out, input, probe string
	format                   exchange.Format
	output                   exchange.Output
	force                    bool

	write exchange.Options
}

func init() { register("", (*app).exportCommand) }

func (a *app) exportCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:     "export --model DIR|FILE --out FILE.{safetensors,pth,pkl,onnx}",
		Short:   "Write an encoder for PyTorch, detectron2 or ONNX runtimes",
		Long:    exportHelp,
		Example: exportExample,
	}, &exportOptions{}, runExport)
}

func (o *exportOptions) bind(c *cobra.Command) {
	modelFlag(c, &o.model, " (required)")
	f := c.Flags()
	f.StringVar(&o.out, "out", "", "file to write (required)")
	choiceFlag(c, &o.format, "format", exchange.Formats, "", "where the ending of --out does not say it")
	choiceFlag(c, &o.write.Names, "names", exchange.AllNames, "", "safetensors, torch: whose names a transformer's weights get (timm)")
	choiceFlag(c, &o.input, "input", inputs, "uint8", "ONNX: images as uint8, or float: normalised already")
	choiceFlag(c, &o.output, "output", outputs, exchange.Backbone,
		"ONNX: backbone or head features, or logits (the default with --probe)")
	f.StringVar(&o.probe, "probe", "", "ONNX: a linear classifier on the features, from `moco classify --save` or `moco eval linear --save`")
	forceFlag(c, &o.force)
	required(c, "model", "out")
}

func (o *exportOptions) parse(c *cobra.Command, _ []string) (err error) {
	if o.write.Format = o.format; o.format == "" {
		if o.write.Format, err = exchange.ByName(o.out); err != nil {
			return usagef("--out %w; or give --format", err)
		}
	}
	return o.parseFormat(c)
}

func (o *exportOptions) outputs() []output {
	return []output{{flag: "--out", path: o.out, force: o.force}}
}

// parseFormat checks the flags that only some formats have.
func (o *exportOptions) parseFormat(c *cobra.Command) error {
	weightsOnly := o.write.Format == exchange.Safetensors || o.write.Format == exchange.Torch
	if c.Flags().Changed("names") && !weightsOnly {
		return usagef("--names is for state dicts, in safetensors or torch; %s has names of its own", o.write.Format)
	}
	if o.write.Format != exchange.ONNX {
		for _, name := range []string{"input", "output", "probe"} {
			if c.Flags().Changed(name) {
				return usagef("--%s is for ONNX models; %s holds weights and no program", name, o.write.Format)
			}
		}
		return nil
	}
	if o.probe != "" {
		if c.Flags().Changed("output") && o.output != exchange.Logits {
			return usagef("--probe makes logits, and --output asks for %s; leave out one of them", o.output)
		}
		o.output = exchange.Logits
	}
	o.write.ONNX = exchange.ONNXOptions{Floats: o.input == "float", Output: o.output}
	return nil
}

func runExport(ctx context.Context, a *app, o *exportOptions) (result, error) {
	w := o.write
	var err error
	if o.probe != "" {
		if w.ONNX.Probe, err = encoder.LoadProbe(ctx, o.probe); err != nil {
			return nil, err
		}
	}
	e, err := encoder.Open(ctx, o.model)
	if err != nil {
		return nil, err
	}
	a.warnImported(o.model, e.Imported)
	if err := exchange.Check(ctx, e, w); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	views := e.Recipe.Views
	policy, err := views.Drawn()
	if err != nil {
		return nil, err
	}
	done := exported{Path: o.out, Format: w.Format, Encoder: e.SHA256,
		Loader: exchange.Loader(e.Recipe, w, o.out)}
	done.SHA256, err = atomicfile.Save(o.out, func(to io.Writer) (err error) {
		done.Tensors, err = exchange.Write(to, e, w)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if w.Format == exchange.ONNX {
		done.Input, done.Output = o.input, w.ONNX.Output
		if w.ONNX.Output == exchange.Logits && w.ONNX.Probe == nil && !e.Classifier() {
			a.warn("the logits are what this encoder's head gives; were it not trained with labels, " +
				"they mean nothing, and --probe is what you want")
		}
	}
	return &exportedEncoder{done, policy, views.Size}, nil
}

// exportedEncoder is what was written, and the views that it takes.
type exportedEncoder struct {
	exported
	policy augment.Policy
	size   int
}

func (r *exportedEncoder) event() event.Event { return r.exported }

func (r *exportedEncoder) text(s *screen) error {
	s.say("%s: %s, %d tensors, SHA-256 %s", r.Path, r.Format, r.Tensors, r.SHA256)
	s.say("%s", multiline(r.howToUse()))
	return nil
}

// howToUse tells what the other side has to do with the file.
func (r *exportedEncoder) howToUse() string {
	p := r.policy
	normalised := fmt.Sprintf("RGB from 0 to 1, less (%s), divided by (%s)", triple(p.Mean, 1), triple(p.Std, 1))
	switch r.Format {
	case exchange.Detectron2:
		return fmt.Sprintf(`In the detector's config, for what the encoder was trained on: INPUT.FORMAT "RGB",
MODEL.PIXEL_MEAN [%s], MODEL.PIXEL_STD [%s], MODEL.RESNETS.STRIDE_IN_1X1 False.`, triple(p.Mean, 255), triple(p.Std, 255))
	case exchange.ONNX:
		pixels, name := "RGB from 0 to 255", "features"
		if r.Input == "float" {
			pixels = normalised
		}
		if r.Output == exchange.Logits {
			name = "logits"
		}
		return fmt.Sprintf("Input \"images\": %s [N,3,%d,%d], %s. Output \"%s\" (%s).",
			r.Input, r.size, r.size, pixels, name, r.Output)
	}
	return "It takes " + normalised + ". In Python:\n\n" + strings.Join(r.Loader, "\n")
}

// triple is three numbers as text, scaled: "123.675, 116.28, 103.53".
func triple(v [3]float32, scale float64) string {
	text := func(x float32) string { return strconv.FormatFloat(math.Round(1e6*scale*float64(x))/1e6, 'g', -1, 64) }
	return text(v[0]) + ", " + text(v[1]) + ", " + text(v[2])
}
