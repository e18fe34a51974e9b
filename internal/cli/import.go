package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/augment"
	"moco/encoder"
	"moco/internal/event"
	"moco/weights"
)

const importHelp = `Read a checkpoint and write its encoder, a ResNet or a vision transformer, as one that every
command takes. It may be of MoCo v1, v2 or v3, DINO, DINOv2, torchvision, timm, transformers
(ViTModel, Dinov2Model), lightly or solo-learn, in a file of torch.save (the zip format or
those before it) or in safetensors, in one file or in shards (give their index). Pickles are
read without running anything that they name.

Architecture, width, stem and head follow from names and shapes, and every tensor of the
encoder is checked against them. What is not used (queue, projectors, classifier, optimizer,
the other encoder) is listed: by its first names for people, in full with --json.

Of a pair of encoders the query's is taken, and of DINO's the teacher, as its authors do;
--side takes the other. What stands before the names (module.encoder_q., backbone.) is found,
unless there are several encoders: --strip then says which.

Weights do not tell what images they have seen. A ResNet's views are v1's at 224 pixels
(ImageNet's mean and deviation) with ImageNet's stem, and cifar's at 32 with CIFAR's. A
transformer's size, normalisation, resizing, heads, epsilon and interpolation of positions are
what its project is known to have, and are said. --policy, --size, --normalise, --resize, --heads,
--epsilon and --tokens take others. docs/interop.md has the table, and tells what else weights
cannot say.

Commands with --model take such a file as it is, too; import is for the choices, and to look
at what is left out.`

const importExample = `  moco import moco_v2_800ep_pretrain.pth.tar --out moco-v2.safetensors
  moco import moco_v2_800ep_pretrain.pth.tar --side key --out moco-v2-key.safetensors
  moco import last.ckpt --strip student.backbone --policy v1 --size 64 --out student.safetensors
  moco import dinov2_vits14_pretrain.pth --size 518 --tokens both --out dinov2.safetensors`

// policies are the views that an imported encoder can be said to have seen.
var policies = []string{"v1", "v2", "v3", "cifar", "shapes", "flip"}

// importOptions are those of `moco import`.
type importOptions struct {
	encoder.ImportOptions
	path, out string
	force     bool
}

func init() { register("", (*app).importCommand) }

func (a *app) importCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:     "import FILE --out encoder.safetensors",
		Short:   "Make an encoder of weights that PyTorch has saved",
		Long:    importHelp,
		Example: importExample,
		Args:    cobra.ExactArgs(1),
	}, &importOptions{}, runImport)
}

func (o *importOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.out, "out", "", "the encoder to write (required)")
	choiceFlag(c, &o.Side, "side", []string{"query", "key"}, "",
		"which of two encoders; key is the momentum encoder, and what is taken of DINO's")
	f.StringVar(&o.Strip, "strip", "",
		"what stands before the encoder's names, when it is not found by itself (a dot: nothing)")
	choiceFlag(c, &o.Policy, "policy", policies, "", "views that the encoder was trained on")
	f.IntVar(&o.Size, "size", 0, "pixels a side of a view")
	choiceFlag(c, &o.Normalise, "normalise", augment.Normalisations(), "", "how pixels are normalised (half: from -1 to 1)")
	choiceFlag(c, &o.Resize, "resize", []string{"bilinear", "bicubic"}, "", "the filter by which pictures are resized")
	f.IntVar(&o.Heads, "heads", 0, "a transformer's heads of attention")
	f.Float64Var(&o.Epsilon, "epsilon", 0, "what a transformer's layer norm adds to the variance")
	choiceFlag(c, &o.Tokens, "tokens", []string{"class", "mean", "both"}, "", "which of a transformer's tokens are its features")
	forceFlag(c, &o.force)
	required(c, "out")
	c.MarkFlagsMutuallyExclusive("side", "strip")
}

func (o *importOptions) parse(_ *cobra.Command, args []string) error {
	o.path = args[0]
	if o.Size < 0 {
		return usagef("--size %d: is a number of pixels", o.Size)
	}
	if o.Heads < 0 {
		return usagef("--heads %d: is a number of heads", o.Heads)
	}
	return nil
}

func (o *importOptions) outputs() []output {
	return []output{{flag: "--out", path: o.out, force: o.force}}
}

func runImport(ctx context.Context, _ *app, o *importOptions) (result, error) {
	f, err := weights.Load(ctx, o.path)
	if err != nil {
		return nil, err
	}
	encoder, report, err := encoder.Import(f, o.ImportOptions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.path, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sha, err := weights.Save(o.out, encoder)
	if err != nil {
		return nil, err
	}
	return &imported{Path: o.path, Out: o.out, SHA256: sha, ImportReport: report}, nil
}

func (r *imported) event() event.Event { return r }

func (r *imported) text(s *screen) error {
	s.say("%s:", r.Path)
	sayReport(s, r.ImportReport)
	s.say("Written: %s, SHA-256 %s", r.Out, r.SHA256)
	return nil
}

// sayReport tells people what was made of foreign weights.
func sayReport(s *screen, r *encoder.ImportReport) {
	e := r.Encoder
	head := map[string]string{
		"linear": fmt.Sprintf("a linear head of %d", e.Dim),
		"mlp":    fmt.Sprintf("an MLP head of %d", e.Dim),
		"mlp_bn": fmt.Sprintf("an MLP head with batch norm of %d", e.Dim),
		"none":   "no head",
	}[e.Head]
	s.say("  names      %s's, %s side, after %q", r.Kind, r.Side, r.Prefix)
	s.say("  encoder    %s, %d features, %s", e.Describe(), e.FeatureDim(), head)
	s.say("  views      %s", viewsOf(r))
	s.say("  used       %d tensors", len(r.Used))
	for i, line := range folded(r.LeftOut) {
		s.say("  %-10s %s", []string{"left out", ""}[min(i, 1)], line)
	}
	for _, note := range r.Notes {
		s.say("  note       %s", note)
	}
}

// viewsOf names the views that foreign weights are taken for.
func viewsOf(r *encoder.ImportReport) string {
	text := fmt.Sprintf("%s, %d pixels", r.Views.Policy, r.Views.Size)
	if r.Views.Normalise != "" {
		text += ", normalised as " + r.Views.Normalise
	}
	if r.Views.Resize != "" {
		text += ", resized by a " + r.Views.Resize + " filter"
	}
	return text
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
