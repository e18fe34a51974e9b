package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco"
	"moco/encoder"
	"moco/engine"
	"moco/weights"
)

// imported is the last line of `moco import --json`.
type imported struct {
	Event  string `json:"event"`
	Path   string `json:"path"`
	Out    string `json:"out"`
	SHA256 string `json:"sha256"` // of out
	*encoder.ImportReport
}

func (a *app) importCommand() *cobra.Command {
	var out string
	var force bool
	var o encoder.ImportOptions
	c := &cobra.Command{
		Use:   "import FILE --out encoder.safetensors",
		Short: "Make an encoder of weights that PyTorch has saved",
		Long: `Read a checkpoint and write its ResNet as an encoder that every command takes: one of MoCo v1 or v2 (.pth.tar), a state dict of torchvision, lightly or
solo-learn, in a file of torch.save (the zip format or those before it) or in safetensors, in one file or in shards (give their index). Pickles are
read without running anything that they name.

Architecture, width, stem and head follow from names and shapes, and every tensor of the encoder is checked against them. What is not used (queue, projectors,
classifier, optimizer, the other encoder) is listed: by its first names for people, in full with --json.

Of a pair of encoders, the query's is taken; --side key takes the momentum encoder. What stands before the names (module.encoder_q., backbone.) is found,
unless there are several encoders: --strip then says which.

Weights do not tell what images they have seen. The views are v1's at 224 pixels (ImageNet's mean and deviation) with ImageNet's stem, and cifar's at 32 with
CIFAR's; --policy and --size take others. docs/interop.md tells what else weights cannot say.

Commands with --model take such a file as it is, too; import is for the choices, and to look at what is left out.`,
		Example: `  moco import moco_v2_800ep_pretrain.pth.tar --out moco-v2.safetensors
  moco import moco_v2_800ep_pretrain.pth.tar --side key --out moco-v2-key.safetensors
  moco import last.ckpt --strip student.backbone --policy v1 --size 64 --out student.safetensors`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.Side != "query" && o.Side != "key":
				return usageError{fmt.Errorf("--side %q: there are query and key", o.Side)}
			case o.Size < 0:
				return usageError{fmt.Errorf("--size %d: is a number of pixels", o.Size)}
			}
			if o.Policy != "" {
				if _, err := (moco.Views{Policy: o.Policy, Size: 224}).Drawn(); err != nil {
					return usageError{fmt.Errorf("--policy: %w", err)}
				}
			}
			if _, err := os.Stat(out); err == nil && !force {
				return fmt.Errorf("import: %s is there already; give another --out, or --force to write over it", out)
			} else if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("import: %w", err)
			}
			f, err := weights.Load(c.Context(), args[0])
			if err != nil {
				return err
			}
			encoder, report, err := encoder.Import(f, o)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := c.Context().Err(); err != nil {
				return err
			}
			sha, err := weights.Save(out, encoder)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(imported{"done", args[0], out, sha, report})
			}
			a.say("%s:", args[0])
			a.sayReport(report)
			a.say("Written: %s, SHA-256 %s", out, sha)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the encoder to write (required)")
	c.Flags().StringVar(&o.Side, "side", "query", "which of two encoders: query, or key (the momentum encoder)")
	c.Flags().StringVar(&o.Strip, "strip", "", "what stands before the encoder's names, when it is not found by itself (a dot: nothing)")
	c.Flags().StringVar(&o.Policy, "policy", "", "views that the encoder was trained on: v1, v2, cifar, shapes or flip")
	c.Flags().IntVar(&o.Size, "size", 0, "pixels a side of a view")
	c.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	c.MarkFlagRequired("out")
	c.MarkFlagsMutuallyExclusive("side", "strip")
	return c
}

// sayReport tells people what was made of foreign weights.
func (a *app) sayReport(r *encoder.ImportReport) {
	e := r.Encoder
	head := map[string]string{"linear": fmt.Sprintf("a linear head of %d", e.Dim), "mlp": fmt.Sprintf("an MLP head of %d", e.Dim), "none": "no head"}[e.Head]
	a.say("  names      %s's, %s side, after %q", r.Kind, r.Side, r.Prefix)
	a.say("  encoder    %s of width %v, %s stem, %d features, %s", e.Arch, e.Width, e.Stem, e.FeatureDim(), head)
	a.say("  views      %s, %d pixels", r.Views.Policy, r.Views.Size)
	a.say("  used       %d tensors", len(r.Used))
	for i, line := range folded(r.LeftOut) {
		a.say("  %-10s %s", []string{"left out", ""}[min(i, 1)], line)
	}
	for _, note := range r.Notes {
		a.say("  note       %s", note)
	}
}

// folded counts names by what they begin with, as far as eight lines allow.
func folded(names []string) []string {
	type group struct {
		prefix string
		names  []string
	}
	split := func(g group) (out []group) {
		for _, name := range g.names {
			key, _, more := strings.Cut(name[len(g.prefix):], ".")
			if key = g.prefix + key; more {
				key += "."
			}
			i := slices.IndexFunc(out, func(o group) bool { return o.prefix == key })
			if i < 0 {
				i = len(out)
				out = append(out, group{prefix: key})
			}
			out[i].names = append(out[i].names, name)
		}
		return out
	}
	groups := split(group{names: names})
	for i := 0; i < len(groups); {
		inner := split(groups[i])
		if !strings.HasSuffix(groups[i].prefix, ".") || len(groups)-1+len(inner) > 8 {
			i++
			continue
		}
		groups = slices.Replace(groups, i, i+1, inner...)
	}
	lines := make([]string, len(groups))
	for i, g := range groups {
		if lines[i] = g.prefix; strings.HasSuffix(g.prefix, ".") {
			lines[i] = fmt.Sprintf("%s* (%d)", g.prefix, len(g.names))
		}
	}
	return lines
}

// warnImported says on standard error that a model is foreign, if it is, and what was made of it: whoever gives a checkpoint should see what is not used of it.
func (a *app) warnImported(path string, r *encoder.ImportReport) {
	if r != nil {
		a.warn("%s: %s; views %s at %d pixels. `moco import` lists all and takes other choices.", path, r, r.Views.Policy, r.Views.Size)
	}
}

// openEncoder opens the encoder of a --model; a foreign one is taken too.
func (a *app) openEncoder(path string, o encoder.Options) (*encoder.Encoder, error) {
	e, err := encoder.OpenWith(path, o)
	if err == nil {
		a.warnImported(path, e.Imported)
	}
	return e, err
}

// openModel is openEncoder for the features of whole sets.
func (a *app) openModel(path string, e engine.Engine, batch int, precision string) (*encoder.Encoder, error) {
	return a.openEncoder(path, encoder.Options{Engine: e, Batch: batch, Precision: precision})
}
