package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/internal/event"
)

// dataInfoOptions are those of `moco data info`.
type dataInfoOptions struct {
	path   string
	all    bool
	survey data.Survey
	read   data.Options
}

func init() { register("data", (*app).dataInfoCommand) }

func (a *app) dataInfoCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:   "info PATH...",
		Short: "Tell what a path holds",
		Long: paragraphs(`Find out what a path holds: its kind, how many images, which classes, formats and sizes, and which
of the images looked at cannot be read. Headers of a sample are read; --all reads all of them,
--decode the images themselves. --frames and --pairs show the path as training with
positives=frames or positives=pairs would see it: how many videos or groups, and whether they can
be trained on.`, pathsHelp),
		Example: `  moco data info photos/
  moco data info cifar10/train.tar --decode
  moco data info videos/ --frames
  moco data info photos/ --pairs pairs.csv
  moco data info 'shards/{000..127}.tar'
  moco data info builtin:train --json`,
		Args: cobra.MinimumNArgs(1),
	}, &dataInfoOptions{}, runDataInfo)
}

func (o *dataInfoOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(
		&o.read.Frames,
		"frames",
		false,
		"take the path for videos: folders of frames, animated GIFs and, with ffmpeg installed, video files",
	)
	f.Float64Var(&o.read.FPS, "fps", data.DefaultFPS, "with --frames: frames a second to take from video files")
	f.StringVar(&o.read.Pairs, "pairs", "", "a CSV file of path,group")
	f.BoolVar(&o.all, "all", false, "look at every image, not at a sample")
	f.BoolVar(&o.survey.Decode, "decode", false, "decode the images looked at, which finds damage behind the header")
	c.MarkFlagsMutuallyExclusive("frames", "pairs")
}

func (o *dataInfoOptions) parse(_ *cobra.Command, args []string) error {
	if o.all {
		o.survey.Sample = -1
	}
	var err error
	o.path, err = onePattern(args)
	return err
}

func runDataInfo(ctx context.Context, a *app, o *dataInfoOptions) (result, error) {
	o.read.Progress = a.unpacking()
	set, err := data.Open(ctx, o.path, o.read)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	return &surveyed{dataInfo{set.Describe(ctx, o.survey)}, o.path}, nil
}

// surveyed is what a path holds.
type surveyed struct {
	dataInfo
	path string
}

func (r *surveyed) event() event.Event { return r.dataInfo }

func (r *surveyed) text(s *screen) error {
	s.say("%s: %s, %d images (%d bytes)", short(r.path), r.Info.Kind, r.Images, r.Bytes)
	r.sayGroups(s)
	r.sayClasses(s)
	s.say("  of %d images looked at: %s pixels", r.Looked, r.sizes())
	for _, f := range r.Formats {
		s.say("    %-8s %d", f.Name, f.Images)
	}
	if left := r.LeftOut.String(); left != "" {
		s.say("  %s", left)
	} else if r.LeftOut.System > 0 {
		s.say("  left out %d files of the operating system", r.LeftOut.System)
	}
	if r.Bad > 0 {
		s.say("  %d cannot be read:", r.Bad)
		for _, name := range r.BadNames {
			s.say("    %s", name)
		}
	}
	return nil
}

func (r *surveyed) sayGroups(s *screen) {
	if g := r.Groups; g != nil {
		sizes := fmt.Sprint(g.Min)
		if g.Max > g.Min {
			sizes = fmt.Sprintf("%d to %d", g.Min, g.Max)
		}
		s.say("  %d %ss of %s images", g.Count, g.Noun, sizes)
		if g.Reason != "" {
			s.say("  no positive pairs can be made of them: %s", g.Reason)
		}
	}
	if r.VideoFiles > 0 {
		s.say("  %d video files passed over; --frames looks at their frames", r.VideoFiles)
	}
}

func (r *surveyed) sayClasses(s *screen) {
	const most = 20
	if len(r.Classes) == 0 {
		s.say("  no labels: fine for training, not for evaluation")
		return
	}
	s.say("  %d classes:", len(r.Classes))
	for i, class := range r.Classes {
		if i == most && len(r.Classes) > most+1 {
			s.say("    and %d more", len(r.Classes)-most)
			break
		}
		s.say("    %-24s %d", class.Name, class.Images)
	}
}

func (r *surveyed) sizes() string {
	if r.MinWidth != r.MaxWidth || r.MinHeight != r.MaxHeight {
		return fmt.Sprintf("%d to %d wide, %d to %d high", r.MinWidth, r.MaxWidth, r.MinHeight, r.MaxHeight)
	}
	return fmt.Sprintf("%dx%d", r.MinWidth, r.MinHeight)
}
