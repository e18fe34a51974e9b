package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"moco/data"
)

func (a *app) dataInfo() *cobra.Command {
	var survey data.Survey
	var opts data.Options
	c := &cobra.Command{
		Use:   "info PATH",
		Short: "Tell what a path holds",
		Long: `Find out what a path holds: its kind, how many images, which classes, formats and sizes, and which of the images looked at cannot
be read. Headers of a sample are read; --all reads all of them, --decode the images themselves. --frames and --pairs show the path as training
with positives=frames or positives=pairs would see it: how many videos or groups, and whether they can be trained on.`,
		Example: `  moco data info photos/
  moco data info cifar10/train.tar --decode
  moco data info videos/ --frames
  moco data info photos/ --pairs pairs.csv
  moco data info builtin:train --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := data.Open(c.Context(), args[0], opts)
			if err != nil {
				return err
			}
			defer set.Close()
			if all, _ := c.Flags().GetBool("all"); all {
				survey.Sample = -1
			}
			info := set.Describe(c.Context(), survey)
			if a.json {
				return a.print(struct {
					Event string `json:"event"`
					data.Info
				}{"done", info})
			}
			a.say("%s: %s, %d images (%d bytes)", args[0], info.Kind, info.Images, info.Bytes)
			if g := info.Groups; g != nil {
				sizes := fmt.Sprint(g.Min)
				if g.Max > g.Min {
					sizes = fmt.Sprintf("%d to %d", g.Min, g.Max)
				}
				a.say("  %d %ss of %s images", g.Count, g.Noun, sizes)
				if g.Reason != "" {
					a.say("  no positive pairs can be made of them: %s", g.Reason)
				}
			}
			if info.VideoFiles > 0 {
				a.say("  %d video files passed over; --frames looks at their frames", info.VideoFiles)
			}
			if len(info.Classes) == 0 {
				a.say("  no labels: fine for training, not for evaluation")
			} else {
				a.say("  %d classes:", len(info.Classes))
				for i, class := range info.Classes {
					if i == 20 && len(info.Classes) > 21 {
						a.say("    and %d more", len(info.Classes)-20)
						break
					}
					a.say("    %-24s %d", class.Name, class.Images)
				}
			}
			sizes := fmt.Sprintf("%dx%d", info.MinWidth, info.MinHeight)
			if info.MinWidth != info.MaxWidth || info.MinHeight != info.MaxHeight {
				sizes = fmt.Sprintf("%d to %d wide, %d to %d high", info.MinWidth, info.MaxWidth, info.MinHeight, info.MaxHeight)
			}
			a.say("  of %d images looked at: %s pixels", info.Looked, sizes)
			for _, f := range info.Formats {
				a.say("    %-8s %d", f.Name, f.Images)
			}
			if info.Ignored > 0 {
				a.say("  %d other files ignored, such as %s", info.Ignored, info.IgnoredName)
			}
			if info.Bad > 0 {
				a.say("  %d cannot be read:", info.Bad)
				for _, name := range info.BadNames {
					a.say("    %s", name)
				}
			}
			return nil
		},
	}
	opts.Progress = a.unpacking()
	c.Flags().BoolVar(&opts.Frames, "frames", false, "take the path for videos: folders of frames, animated GIFs and, with ffmpeg installed, video files")
	c.Flags().Float64Var(&opts.FPS, "fps", data.DefaultFPS, "with --frames: frames a second to take from video files")
	c.Flags().StringVar(&opts.Pairs, "pairs", "", "a CSV file of path,group")
	c.MarkFlagsMutuallyExclusive("frames", "pairs")
	c.Flags().Bool("all", false, "look at every image, not at a sample")
	c.Flags().BoolVar(&survey.Decode, "decode", false, "decode the images looked at, which finds damage behind the header")
	return c
}
