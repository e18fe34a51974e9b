package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/internal/event"
	"moco/pack"
)

// packOptions are those of `moco data pack`.
type packOptions struct {
	pack.Options
	data string
	size int // megabytes a shard
}

func init() { register("data", (*app).packCommand) }

func (a *app) packCommand() *cobra.Command {
	return subcommand(a, &cobra.Command{
		Use:   "pack --data PATH --out FOLDER",
		Short: "Write images as tar shards, reduced once",
		Long: `Write the images of PATH into FOLDER/000000.tar, 000001.tar and so on, in WebDataset's form: each
picture with its label (.cls: the number of its class) and its name (.json) beside it. Such a folder
is a PATH for every other command, is read in order from a disk or a share, and has no small files.

Pictures keep their bytes unless --side makes them smaller; then they become JPEG. Nothing is
enlarged. Images that cannot be read are named, counted and left out; more than --max-bad of them
stop the run.

The same images and options give the same bytes. Shards appear whole or not at all; Ctrl-C keeps
those that are done, and --resume goes on.`,
		Example: `  moco data pack --data photos/ --out packed --side 256
  moco data pack --data photos/ --out packed --side 512 --longest --quality 95 --images 5000
  moco data pack --data photos/ --out packed            # as they are
  moco train --data packed --recipe moco-v2 --out run`,
	}, &packOptions{}, runPack)
}

func (o *packOptions) bind(c *cobra.Command) {
	f := c.Flags()
	pathsFlag(c, &o.data, "data", "images to pack (required)")
	f.StringVar(&o.Out, "out", "", "folder of the shards, a new one (required)")
	f.IntVar(&o.Side, "side", 0, "make larger pictures smaller until their shorter side has so many pixels; 0 leaves all as they are")
	f.BoolVar(&o.Longest, "longest", false, "with --side: the longer side instead")
	f.IntVar(&o.Quality, "quality", pack.DefaultQuality, "of the JPEGs that pictures become when they are made smaller, 1 to 100")
	f.IntVar(&o.Images, "images", pack.DefaultImages, "images in a shard at most")
	f.IntVar(&o.size, "megabytes", pack.DefaultBytes>>20, "size of a shard at most")
	f.Float64Var(&o.MaxBad, "max-bad", 0.01, "share of the images that may be unreadable")
	f.BoolVar(&o.Resume, "resume", false, "go on with a run that was stopped")
	required(c, "data", "out")
}

func (o *packOptions) parse(c *cobra.Command, _ []string) error {
	switch {
	case o.Side < 0:
		return usagef("--side %d: must not be negative", o.Side)
	case o.Longest && o.Side == 0:
		return usagef("--longest goes with --side")
	case o.Quality < 1 || o.Quality > 100:
		return usagef("--quality %d: must be 1 to 100", o.Quality)
	case o.Images < 1 || o.size < 1:
		return usagef("--images and --megabytes must be at least 1, and are %d and %d", o.Images, o.size)
	case o.MaxBad < 0 || o.MaxBad > 1:
		return usagef("--max-bad %v: is a share, 0 to 1", o.MaxBad)
	}
	o.Bytes = int64(o.size) << 20
	return nil
}

func runPack(ctx context.Context, a *app, o *packOptions) (result, error) {
	set, err := a.openOnce(ctx, o.data, data.Options{})
	if err != nil {
		return nil, err
	}
	defer set.Close()
	o.Data = set
	show := &packView{screen: &a.screen}
	o.Progress = show.event
	_, err = pack.Run(ctx, o.Options)
	show.bar.clear()
	return nil, err // the run's last event is the result
}

// packView shows the events of a run.
type packView struct {
	screen *screen
	bar    *progress
}

func (v *packView) event(e event.Event) {
	v.screen.tell(e, func() { v.text(e) })
}

// text shows an event to people.
func (v *packView) text(e event.Event) {
	switch e := e.(type) {
	case pack.Start:
		v.screen.say("%d images into %s", e.Images, e.Out)
		if e.First > 0 {
			v.screen.say("Going on after image %d.", e.First)
		}
		v.bar = v.screen.progress(e.Images, "image")
	case pack.Bad:
		v.bar.clear()
		v.screen.warn("left out: %s", e.Error)
	case pack.Shard:
		v.bar.at(e.Done, fmt.Sprintf("%s  %.0f images/s", e.Name, e.ImagesPerSecond))
	case pack.Done:
		v.bar.clear()
		v.screen.say("Done: %d images in %d shards of %d MB in all%s: %s",
			e.Images, e.Shards, e.Bytes>>20, badImages(e.BadImages), e.Out)
	}
}
