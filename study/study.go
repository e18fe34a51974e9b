// Package study runs grids of recipes and compares their results, as the paper does.
package study

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"moco"
	"moco/internal/job"
	"moco/recipe"
)

//go:embed studies/*.yaml
var embedded embed.FS

// Names lists the embedded studies.
func Names() []string {
	var names []string
	files, _ := fs.Glob(embedded, "studies/*.yaml")
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "studies/"), ".yaml"))
	}
	return names
}

// Study is a grid of runs. It has series of points. A point is a recipe, run with several seeds.
type Study struct {
	Name  string `yaml:"-"`
	Title string `yaml:"title"`
	// Recipe is the start of all runs: the name of an embedded recipe, or a file.
	Recipe string   `yaml:"recipe"`
	Set    []string `yaml:"set"` // settings of all runs, key=value
	Seeds  int      `yaml:"seeds"`
	X      X        `yaml:"x"`
	Series []Series `yaml:"series"`
}

// X describes what varies along a series.
type X struct {
	Label string `yaml:"label"`
	Axis  string `yaml:"axis"` // linear, log or categories
}

// Series is one line of a study's plot.
type Series struct {
	Name string   `yaml:"name"`
	Set  []string `yaml:"set"`
	// Vary is a recipe key that takes Values. Without it, Points lists the points.
	Vary   string    `yaml:"vary"`
	Values []float64 `yaml:"values"`
	Points []Point   `yaml:"points"`
}

// Point is one recipe of a series.
type Point struct {
	X     float64  `yaml:"x"`
	Label string   `yaml:"label"` // for categories; empty: X as text
	Set   []string `yaml:"set"`
}

// Run is one cell of the grid.
type Run struct {
	Name   string // the name of its folder
	Series int    // index of the series
	Point  int    // index within the series
	X      float64
	Label  string
	Seed   uint64
	Recipe moco.Recipe
}

// Load reads a study by the name of an embedded one or from a YAML file.
func Load(nameOrFile string) (*Study, error) {
	raw, err := embedded.ReadFile("studies/" + nameOrFile + ".yaml")
	name := nameOrFile
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		raw, err = os.ReadFile(nameOrFile)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &recipe.Error{Err: fmt.Errorf("study %q is neither a file nor one of %s", nameOrFile,
				strings.Join(Names(), ", "))}
		}
		name = "study"
	}
	if err != nil {
		return nil, fmt.Errorf("study: %w", err)
	}
	s := &Study{Name: name, Recipe: "cifar", Seeds: 1, X: X{Axis: "linear"}}
	if err := yaml.UnmarshalWithOptions(raw, s, yaml.Strict()); err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return nil, &recipe.Error{Err: fmt.Errorf("study %s: %s", nameOrFile, line)}
	}
	for i := range s.Series {
		one := &s.Series[i]
		for _, v := range one.Values {
			value := strconv.FormatFloat(v, 'g', -1, 64)
			one.Points = append(one.Points, Point{X: v, Label: value, Set: []string{one.Vary + "=" + value}})
		}
	}
	if err := s.check(); err != nil {
		return nil, &recipe.Error{Err: fmt.Errorf("study %s: %w", nameOrFile, err)}
	}
	return s, nil
}

func (s *Study) check() error {
	if s.Seeds < 1 {
		return fmt.Errorf("seeds: must be at least 1, is %d", s.Seeds)
	}
	if !slices.Contains([]string{"linear", "log", "categories"}, s.X.Axis) {
		return fmt.Errorf("x.axis: must be linear, log or categories, is %q", s.X.Axis)
	}
	if len(s.Series) == 0 {
		return errors.New("it has no series; give each a name and values or points")
	}
	names := map[string]bool{}
	for _, one := range s.Series {
		switch {
		case one.Name == "" || names[one.Name]:
			return fmt.Errorf("series: each needs a name of its own, and %q is empty or stands twice", one.Name)
		case len(one.Points) == 0:
			return fmt.Errorf("series %q has no points; give vary and values, or points", one.Name)
		case len(one.Values) > 0 && one.Vary == "":
			return fmt.Errorf("series %q has values but no key to vary", one.Name)
		}
		names[one.Name] = true
		for _, p := range one.Points {
			if s.X.Axis == "log" && p.X <= 0 {
				return fmt.Errorf("series %q: x %v cannot stand on a logarithmic axis", one.Name, p.X)
			}
		}
	}
	return nil
}

// Runs lists the grid seed by seed, so that a study that stops early has the first seed of every
// point. settings change all runs. A setting of a key that the study itself sets is an error, a
// *SetError in a *recipe.Error: it would make different points alike.
func (s *Study) Runs(settings []string) ([]Run, error) {
	for _, setting := range settings {
		if err := s.checkSetting(setting); err != nil {
			return nil, &recipe.Error{Err: err}
		}
	}
	var runs []Run
	for seed := range uint64(s.Seeds) {
		for i, one := range s.Series {
			for j, p := range one.Points {
				set := slices.Concat(s.Set, one.Set, p.Set, settings, []string{fmt.Sprint("seed=", seed)})
				r, err := recipe.Load(s.Recipe, set)
				if err != nil {
					return nil, fmt.Errorf("study %s, series %q, point %s: %w", s.Name, one.Name, p.label(), err)
				}
				runs = append(runs, Run{Name: folderName(one.Name, p.label(), seed), Series: i, Point: j,
					X: p.X, Label: p.label(), Seed: seed, Recipe: r})
			}
		}
	}
	return runs, nil
}

// checkSetting refuses a setting of a key that the study sets.
func (s *Study) checkSetting(setting string) error {
	key, _, _ := strings.Cut(setting, "=")
	if key == "seed" {
		return &job.SetError{Setting: setting, By: "the study", Values: "0, 1, ..."}
	}
	sets := func(set string) bool { return strings.HasPrefix(set, key+"=") }
	for _, one := range s.Series {
		for _, p := range one.Points {
			if slices.ContainsFunc(one.Set, sets) || slices.ContainsFunc(p.Set, sets) {
				values := fmt.Sprintf("what series %q compares", one.Name)
				return &job.SetError{Setting: setting, By: "the study", Values: values}
			}
		}
	}
	return nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9.=]+`)

// folderName is the name of a run's folder.
func folderName(series, point string, seed uint64) string {
	name := fmt.Sprintf("%s-%s-seed%d", series, point, seed)
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

func (p Point) label() string {
	if p.Label != "" {
		return p.Label
	}
	return strconv.FormatFloat(p.X, 'g', -1, 64)
}
