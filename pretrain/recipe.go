package pretrain

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"moco"
	"moco/nn"
)

//go:embed recipes/*.yaml
var embedded embed.FS

// Recipes lists the names of the embedded recipes.
func Recipes() []string {
	var names []string
	files, _ := fs.Glob(embedded, "recipes/*.yaml")
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "recipes/"), ".yaml"))
	}
	return names
}

// RecipeError is the error of a recipe that cannot be used as it is: the user must change it.
type RecipeError struct{ Err error }

func (e *RecipeError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *RecipeError) Unwrap() error { return e.Err }

// LoadRecipe reads a recipe by the name of an embedded one or from a YAML file, changes it by settings of the form key=value
// ("encoder.width=0.25"), and checks it. What a recipe leaves out is moco.Default's. Errors are of type *RecipeError.
func LoadRecipe(nameOrFile string, settings []string) (moco.Recipe, error) {
	r, err := loadRecipe(nameOrFile, settings)
	if err != nil {
		return r, &RecipeError{err}
	}
	return r, nil
}

func loadRecipe(nameOrFile string, settings []string) (moco.Recipe, error) {
	raw, err := embedded.ReadFile("recipes/" + nameOrFile + ".yaml")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		raw, err = os.ReadFile(nameOrFile)
		if errors.Is(err, fs.ErrNotExist) {
			return moco.Recipe{}, fmt.Errorf("recipe %q is neither a file nor one of %s", nameOrFile, strings.Join(Recipes(), ", "))
		}
	}
	if err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe: %w", err)
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe %s: %s", nameOrFile, firstLine(err))
	}
	for _, s := range settings {
		if err := set(tree, s); err != nil {
			return moco.Recipe{}, err
		}
	}
	return fromTree(tree)
}

// ParseRecipe reads a recipe as WriteRecipe made it.
func ParseRecipe(raw string) (moco.Recipe, error) {
	tree := map[string]any{}
	if err := yaml.Unmarshal([]byte(raw), &tree); err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe: %s", firstLine(err))
	}
	return fromTree(tree)
}

// WriteRecipe is a recipe as YAML, every key spelled out.
func WriteRecipe(r moco.Recipe) string {
	raw, err := yaml.Marshal(r)
	if err != nil {
		panic(err) // a struct of numbers, strings and lists has no reason to fail
	}
	return string(raw)
}

func fromTree(tree map[string]any) (moco.Recipe, error) {
	r := moco.Default()
	known := keysOf(reflect.TypeFor[moco.Recipe](), "")
	if err := checkKeys(tree, "", known); err != nil {
		return r, err
	}
	raw, err := yaml.Marshal(tree)
	if err != nil {
		return r, fmt.Errorf("recipe: %w", err)
	}
	if err := yaml.Unmarshal(raw, &r); err != nil {
		return r, typeError(err)
	}
	if err := r.Check(); err != nil {
		return r, fmt.Errorf("recipe: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}

// set changes the tree by "a.b=value".
func set(tree map[string]any, setting string) error {
	key, value, ok := strings.Cut(setting, "=")
	if !ok || key == "" {
		return fmt.Errorf("--set %q: want key=value, for instance --set encoder.width=0.25", setting)
	}
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return fmt.Errorf("--set %s: %s", setting, firstLine(err))
	}
	parts := strings.Split(key, ".")
	for _, p := range parts[:len(parts)-1] {
		child, ok := tree[p].(map[string]any)
		if !ok {
			child = map[string]any{}
			tree[p] = child
		}
		tree = child
	}
	tree[parts[len(parts)-1]] = v
	return nil
}

// keysOf lists the keys of a struct, with those of its structs behind a dot.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if t.Field(i).Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(t.Field(i).Type, prefix+name+".")...)
			continue
		}
		keys = append(keys, prefix+name)
	}
	return keys
}

func checkKeys(tree map[string]any, prefix string, known []string) error {
	var names []string
	for name := range tree {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key := prefix + name
		group := slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key+".") })
		child, isTree := tree[name].(map[string]any)
		switch {
		case group && isTree:
			if err := checkKeys(child, key+".", known); err != nil {
				return err
			}
		case group:
			return fmt.Errorf("recipe key %q is a group; set one of its keys, such as %q", key, first(known, key+"."))
		case !slices.Contains(known, key):
			return fmt.Errorf("recipe key %q is not known%s", key, suggestion(key, known))
		}
	}
	return nil
}

func first(known []string, prefix string) string {
	return known[slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, prefix) })]
}

// suggestion names the known key that is nearest, if one is near.
func suggestion(key string, known []string) string {
	best, least := "", 1+len(key)/3
	for _, k := range known {
		if d := distance(key, k); d <= least {
			best, least = k, d-1
		}
		if strings.HasSuffix(k, "."+key) { // the group left out
			return fmt.Sprintf("; did you mean %q?", k)
		}
	}
	if best == "" {
		return "; a recipe has " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to insert, delete or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// goField is how the YAML library names what does not fit.
var goField = regexp.MustCompile(`cannot unmarshal (\S+) into Go struct field \w+\.(\w+) of type (\S+)`)

// typeError says which key has a value of the wrong type.
func typeError(err error) error {
	m := goField.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("recipe: %s", firstLine(err))
	}
	for _, t := range []reflect.Type{reflect.TypeFor[moco.Recipe](), reflect.TypeFor[nn.Config](), reflect.TypeFor[moco.Views]()} {
		if f, ok := t.FieldByName(m[2]); ok {
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			return fmt.Errorf("recipe key %q must be of type %s, but its value is of type %s", key, m[3], m[1])
		}
	}
	return fmt.Errorf("recipe: %s", firstLine(err))
}

// firstLine is the sentence of a YAML error, without the picture of the place below it.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
