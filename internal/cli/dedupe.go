package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moco/data"
	"moco/explore"
	"moco/internal/report"
)

// The ways to compare candidates for duplicates.
const (
	byOverlay  = "overlay"
	byFeatures = "features"
)

// printExtras is the value of --print.
const printExtras = "extras"

// dedupe is the question of which images are near-duplicates.
type dedupe struct {
	explore.Duplicates
	by, print    string
	new, against string
}

func init() { register("", (*app).dedupeCommand) }

func (a *app) dedupeCommand() *cobra.Command {
	return a.exploreCommand(&cobra.Command{
		Use:   "dedupe --model DIR|FILE --data PATH",
		Short: "Find groups of near-duplicate images",
		Long: `Find images that are copies of each other but for size, compression, brightness or a crop of up to
an eighth of an edge. Nothing is deleted.

The features of the encoder (and blurred thumbnails) propose for each image its nearest
neighbours; each proposed pair is laid over each other at the best crop, and counts if it agrees
in colour, as a whole and at every place, by at least --threshold: 0.95, which docs/use.md
measures. The same drawing in other colours is no copy.

A group is one picture: its best copy and those that are at the threshold with it. The best has
the most pixels, then the most bytes a pixel (the least compressed), then the oldest file. The
weakest link is the copy that is least like the best. --print extras prints all but the best, one
path a line, as they are called within --data.

With --new and --against only new images are encoded. They are compared with each other and with
the vectors of earlier ones, which are read a part at a time. An earlier image is never an extra.
Give the earlier images as --data too, to have those that vectors propose laid over the new ones.

With --by features, or where --data does not give the earlier images, a pair counts by the cosine
of its features alone, at 0.999 or above: the right threshold then depends on the encoder.`,
		Example: `  moco dedupe --model run --data photos/ --html duplicates.html
  moco dedupe --model run --data photos/ --threshold 0.98 --json > groups.jsonl
  moco dedupe --model pixels --data photos/ --print extras > extras.txt
  moco dedupe --model run --new photos/2026 --against photos.parquet --data photos/`,
	}, &dedupe{})
}

func (q *dedupe) bind(c *cobra.Command) {
	c.Flags().Float32Var(&q.Threshold, "threshold", 0,
		"similarity of a pair, above 0 and at most 1 (default 0.95; with --by features 0.999)")
	choiceFlag(c, &q.by, "by", []string{byOverlay, byFeatures}, byOverlay,
		"overlay: lay proposed pairs over each other; features: take the cosine of the features")
	choiceFlag(c, &q.print, "print", []string{printExtras}, "",
		"extras: print the images beside the best of each group, one a line, and nothing else")
	pathsFlag(c, &q.new, "new", "new images, to be compared with each other and with those of --against")
	c.Flags().StringVar(&q.against, "against", "", "vectors of earlier images, from a file that moco embed wrote with the "+
		"same model; --data is then where these images are, for --by overlay")
	c.Flags().IntVar(&q.Candidates, "candidates", explore.Candidates, "neighbours of each image that are laid over it")
}

func (q *dedupe) newImages() (flag, path string) { return "new", q.new }

func (q *dedupe) parse(c *cobra.Command) error {
	if err := q.parseNew(c); err != nil {
		return err
	}
	if q.print != "" && c.Flags().Changed("json") {
		return errors.New("--print writes lines and --json objects: give one of them")
	}
	if !c.Flags().Changed("threshold") {
		q.Threshold = map[string]float32{byOverlay: explore.OverlayThreshold, byFeatures: explore.CosineThreshold}[q.by]
	}
	if !(q.Threshold > 0 && q.Threshold <= 1) {
		return fmt.Errorf("--threshold must be above 0 and at most 1, and is %v", q.Threshold)
	}
	return atLeast1("--candidates", q.Candidates)
}

func (q *dedupe) memory(n, dim int) int64 {
	if q.by == byFeatures {
		return explore.PairsMemory(n, dim)
	}
	return explore.OverlayMemory(n, dim, q.Candidates)
}

func (q *dedupe) explore(ctx context.Context, x *exploration) (summary, error) {
	if q.by == byOverlay {
		q.Image = x.set.Read
	}
	q.Source = x.set.Source
	if q.new != "" {
		return q.exploreNew(ctx, x)
	}
	groups, err := x.Duplicates(ctx, x.set.Embedded, q.Duplicates)
	if err != nil {
		return nil, err
	}
	return q.tell(x, groups, copies{Collection: x.set})
}

// copies are the images that groups are of: those of a set, and older ones behind them.
type copies struct {
	*explore.Collection
	old   []string     // paths
	older *olderImages // nil: they are not at hand
}

// isOld tells whether a row is an older image.
func (c copies) isOld(row int) bool { return row >= c.Len() }

// Name is the name of a row's image.
func (c copies) Name(row int) string {
	if c.isOld(row) {
		return c.old[row-c.Len()]
	}
	return c.Collection.Name(row)
}

// Label is the class of a row's image, empty for an older one.
func (c copies) Label(row int) string {
	if c.isOld(row) {
		return ""
	}
	return c.Collection.Label(row)
}

// extras are the images beside a group's best. Older images stay where they are.
func (c copies) extras(g explore.Group) []int { return slices.DeleteFunc(g.Extras(), c.isOld) }

func (c copies) picture(row int, caption string) (report.Picture, error) {
	if !c.isOld(row) {
		return picture(c.Collection, row, caption, false)
	}
	img := &data.Image{Width: 1, Height: 1, Pix: []uint8{128, 128, 128}} // of an image that is not at hand
	if c.older != nil {
		if err := c.older.read(c.Name(row), img); err != nil {
			return report.Picture{}, err
		}
	}
	return report.Picture{Image: img, Caption: "old: " + caption}, nil
}

// tell tells of all groups.
func (q *dedupe) tell(x *exploration, groups []explore.Group, of copies) (summary, error) {
	if q.print == printExtras {
		return q.printAll(x, groups, of)
	}
	x.begin(heading{columns: []string{"GROUP", "SIMILARITY", "LABEL", "IMAGE"}, title: "Near-duplicates", sheet: "Groups",
		note: "The first picture of each group is its best copy. Under the others stands their similarity to it, the " +
			"weakest link last."})
	s := q.summary(groups)
	for i, g := range groups {
		if err := x.add(q.finding(of, i+1, g)); err != nil {
			return nil, err
		}
	}
	x.conclude("%s of near-duplicates among %d images: %d images beyond the best of each group.",
		plural(len(groups), "group", "groups"), x.set.Len(), s.Extra)
	x.page.Facts = [][2]string{{"compared by", q.by}, {"threshold", fmt.Sprint(q.Threshold)}}
	return s, nil
}

func (q *dedupe) summary(groups []explore.Group) dedupeSummary {
	s := dedupeSummary{By: q.by, Threshold: q.Threshold}
	for _, g := range groups {
		s.Pairs, s.Extra = s.Pairs+len(g.Pairs), s.Extra+len(g.Rows)-1
	}
	return s
}

// printAll prints the images beside the best ones, one a line, and nothing else.
func (q *dedupe) printAll(x *exploration, groups []explore.Group, of copies) (summary, error) {
	x.quiet = true
	for _, g := range groups {
		for _, r := range of.extras(g) {
			name := of.Name(r)
			if strings.ContainsAny(name, "\r\n") {
				x.app.warn("%q has a line break in its name and is not printed.", name)
				continue
			}
			fmt.Fprintln(x.app.people(), name) // for scripts, which need every letter
		}
	}
	return q.summary(groups), nil
}

// finding is a group of near-duplicates: the best first.
func (q *dedupe) finding(of copies, number int, g explore.Group) finding {
	weakest := g.Weakest()
	e := duplicates{Best: of.Name(g.Best), Why: g.Why.String(), Reason: g.Why.Reason, Weakest: weakest.Similarity,
		Extras: []string{}}
	for _, r := range g.Rows {
		e.Images = append(e.Images, duplicate{Ref: explore.Ref{Image: of.Name(r), Label: of.Label(r)}, Old: of.isOld(r)})
	}
	for _, r := range of.extras(g) {
		e.Extras = append(e.Extras, of.Name(r))
	}
	rows := [][]string{{fmt.Sprint(number), "best", of.Label(g.Best), of.Name(g.Best) + "  (" + g.Why.String() + ")"}}
	for i, p := range g.Pairs {
		e.Pairs = append(e.Pairs, duplicatePair{A: e.Best, B: of.Name(p.B), Similarity: p.Similarity, Cosine: p.Cosine})
		name := of.Name(p.B)
		if i == len(g.Pairs)-1 && i > 0 {
			name += "  (weakest link)"
		}
		rows = append(rows, []string{fmt.Sprint(number), fmt.Sprintf("%.4f", p.Similarity), of.Label(p.B), name})
	}
	return finding{event: e, rows: rows, strip: func() (report.Strip, error) { return q.strip(of, g) }}
}

// strip is a group's pictures: the best, and the others by falling similarity. Of very many, the
// last is the weakest link.
func (q *dedupe) strip(of copies, g explore.Group) (report.Strip, error) {
	const most = 24
	strip := report.Strip{
		Title: fmt.Sprintf("%s, weakest link %.3f", plural(len(g.Rows), "image", "images"), g.Weakest().Similarity),
		Note:  "Best: " + g.Why.String(),
		Query: true,
	}
	best, err := of.picture(g.Best, "best: "+of.Name(g.Best))
	if err != nil {
		return strip, err
	}
	strip.Pictures = []report.Picture{best}
	pairs := g.Pairs
	if len(pairs) > most {
		pairs = append(slices.Clone(pairs[:most-1]), g.Weakest())
	}
	for _, p := range pairs {
		other, err := of.picture(p.B, fmt.Sprintf("%.3f %s", p.Similarity, of.Name(p.B)))
		if err != nil {
			return strip, err
		}
		strip.Pictures = append(strip.Pictures, other)
	}
	return strip, nil
}
