// Package recipe reads and writes recipes as YAML: built-in ones by name, files, and single keys
// changed by settings of the form key=value. moco.Recipe is the recipe itself.
package recipe

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"moco"
	"moco/nn"
)

//go:embed builtin/*.yaml
var embedded embed.FS

// Names lists the names of the embedded recipes.
func Names() []string {
	var names []string
	files, _ := fs.Glob(embedded, "builtin/*.yaml")
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "builtin/"), ".yaml"))
	}
	return names
}

// Error is the error of a recipe that cannot be used as it is. The user must change it.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// SettingError is the error of a setting that is not of the form key=value, or whose value is not
// YAML.
type SettingError struct{ Setting, Reason string }

func (e *SettingError) Error() string { return fmt.Sprintf("the setting %q: %s", e.Setting, e.Reason) }

// Load reads a recipe by the name of an embedded one or from a YAML file, changes it by settings of
// the form key=value ("encoder.width=0.25"), and checks it. moco.Default gives the keys that the
// recipe leaves out. Errors are of type *Error.
func Load(nameOrFile string, settings []string) (moco.Recipe, error) {
	r, err := load(nameOrFile, settings)
	if err != nil {
		return r, &Error{err}
	}
	return r, nil
}

func load(nameOrFile string, settings []string) (moco.Recipe, error) {
	raw, err := embedded.ReadFile("builtin/" + nameOrFile + ".yaml")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		raw, err = os.ReadFile(nameOrFile)
		if errors.Is(err, fs.ErrNotExist) {
			return moco.Recipe{}, fmt.Errorf("recipe %q is neither a file nor one of %s", nameOrFile,
				strings.Join(Names(), ", "))
		}
	}
	if err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe: %w", err)
	}
	tree, err := parse(raw)
	if err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe %s: %w", nameOrFile, err)
	}
	// The file is checked before settings change it, so that a mistake in it is reported with its
	// line.
	if _, err := decode(tree); err != nil {
		var k *keyError
		if errors.As(err, &k) {
			if line := lineOf(raw, k.key); line > 0 {
				return moco.Recipe{}, fmt.Errorf("recipe %s, line %d: %w", nameOrFile, line, err)
			}
		}
		return moco.Recipe{}, fmt.Errorf("recipe %s: %w", nameOrFile, err)
	}
	for _, s := range settings {
		if err := set(tree, s); err != nil {
			return moco.Recipe{}, err
		}
	}
	return fromTree(tree)
}

// Parse reads a recipe as Write made it.
func Parse(raw string) (moco.Recipe, error) {
	tree, err := parse([]byte(raw))
	if err != nil {
		return moco.Recipe{}, fmt.Errorf("recipe: %w", err)
	}
	return fromTree(tree)
}

// Change changes a recipe by settings, as Load does.
func Change(r moco.Recipe, settings []string) (moco.Recipe, error) {
	tree, err := parse([]byte(Write(r)))
	for i := 0; i < len(settings) && err == nil; i++ {
		err = set(tree, settings[i])
	}
	if err == nil {
		r, err = fromTree(tree)
	}
	if err != nil {
		return r, &Error{err}
	}
	return r, nil
}

// parse reads one YAML document that is a list of keys.
func parse(raw []byte) (map[string]any, error) {
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, errors.New(firstLine(err))
	}
	if len(file.Docs) > 1 {
		return nil, errors.New("it holds several documents (---); a recipe is one")
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return nil, errors.New(firstLine(err))
	}
	if len(tree) == 0 {
		return nil, errors.New("it is empty; a recipe has lines such as \"queue: 4096\"")
	}
	return tree, nil
}

// lineOf is the line of a file that sets a key such as "encoder.width", or 0 if there is none.
func lineOf(raw []byte, key string) int {
	file, err := parser.ParseBytes(raw, 0)
	if err != nil || len(file.Docs) == 0 {
		return 0
	}
	var found func(n ast.Node, prefix string) int
	found = func(n ast.Node, prefix string) int {
		m, ok := n.(ast.MapNode)
		if !ok {
			return 0
		}
		for entries := m.MapRange(); entries.Next(); {
			name := prefix + entries.Key().String()
			if name == key {
				return entries.Key().GetToken().Position.Line
			}
			if line := found(entries.Value(), name+"."); line > 0 {
				return line
			}
		}
		return 0
	}
	return found(file.Docs[0].Body, "")
}

// Write is a recipe as YAML, every key spelled out.
func Write(r moco.Recipe) string {
	raw, err := yaml.Marshal(r)
	if err != nil {
		// A struct of numbers, strings and lists has no reason to fail.
		panic(err)
	}
	return string(raw)
}

// JSON is a recipe as a JSON object with the keys of its YAML.
func JSON(r moco.Recipe) ([]byte, error) { return yaml.YAMLToJSON([]byte(Write(r))) }

// Differences names the keys in which two recipes differ: "t is 0.3 and was 0.1".
func Differences(was, is moco.Recipe) []string {
	var keys []string
	var compare func(a, b reflect.Value, prefix string)
	compare = func(a, b reflect.Value, prefix string) {
		for i := range a.NumField() {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
			x, y := a.Field(i), b.Field(i)
			if x.Kind() == reflect.Struct {
				compare(x, y, prefix+name+".")
			} else if fmt.Sprint(x) != fmt.Sprint(y) {
				keys = append(keys, fmt.Sprintf("%s%s is %v and was %v", prefix, name, y, x))
			}
		}
	}
	compare(reflect.ValueOf(was), reflect.ValueOf(is), "")
	return keys
}

// fromTree makes a recipe from its keys and checks it.
func fromTree(tree map[string]any) (moco.Recipe, error) {
	r, err := decode(tree)
	if err != nil {
		return r, err
	}
	if err := r.Check(); err != nil {
		return r, fmt.Errorf("recipe: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return r, nil
}

// decode makes a recipe from its keys. It takes only known keys with values of the right type. It
// is stricter than the YAML library: the library cuts the fraction off a whole number, and takes a
// key without a value as left out.
func decode(tree map[string]any) (moco.Recipe, error) {
	r := moco.Default()
	// What an encoder is where its keys are left out depends on the architecture.
	if encoder, ok := tree["encoder"].(map[string]any); ok {
		if arch, ok := encoder["arch"].(string); ok {
			r.Encoder = nn.Default(arch)
		}
	}
	err := assign(reflect.ValueOf(&r).Elem(), tree, "", keysOf(reflect.TypeFor[moco.Recipe](), ""))
	r.Encoder = r.Encoder.For(r.Views.Size)
	return r, err
}

// keyError tells what is wrong with one key of a recipe.
type keyError struct{ key, text string }

func (e *keyError) Error() string { return fmt.Sprintf("recipe key %q %s", e.key, e.text) }

// set changes the tree by "a.b=value".
func set(tree map[string]any, setting string) error {
	key, value, ok := strings.Cut(setting, "=")
	if !ok || key == "" {
		return &SettingError{Setting: setting, Reason: "want key=value"}
	}
	var v any = value
	if strings.HasPrefix(value, "#") { // a colour, which would be a comment in YAML
	} else if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return &SettingError{Setting: setting, Reason: firstLine(err)}
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
	if arch, ok := v.(string); ok && key == "encoder.arch" {
		// What the other architecture has no use for, such as a stem, goes with the one it belonged to.
		maps.DeleteFunc(tree, func(key string, _ any) bool { return !nn.Has(arch, key) })
	}
	return nil
}

// keysOf lists the keys of a struct. Those of structs inside it come with a dot.
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

// assign sets the fields of a struct from the tree's keys. All of them must be known.
func assign(to reflect.Value, tree map[string]any, prefix string, known []string) error {
	fields := map[string]reflect.Value{}
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("yaml"), ",")
		fields[name] = to.Field(i)
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		key := prefix + name
		field, ok := fields[name]
		if !ok {
			return &keyError{key, "is not known" + suggestion(key, known)}
		}
		if field.Kind() != reflect.Struct {
			if want := value(field, tree[name]); want != "" {
				return &keyError{key, "must be " + want + ", is " + shown(tree[name])}
			}
			continue
		}
		child, ok := tree[name].(map[string]any)
		if !ok {
			return &keyError{key, fmt.Sprintf("is a group; set one of its keys, such as %q", first(known, key+"."))}
		}
		if err := assign(field, child, key+".", known); err != nil {
			return err
		}
	}
	return nil
}

// value sets a field from a YAML value. If it cannot, it returns in words what the value should
// have been.
func value(field reflect.Value, v any) (want string) {
	switch field.Kind() {
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			return "a word"
		}
		field.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return "true or false"
		}
		field.SetBool(b)
	case reflect.Float64:
		f, ok := number(v)
		if !ok {
			return "a number"
		}
		field.SetFloat(f)
	case reflect.Uint64:
		u, isUint := v.(uint64)
		if f, ok := number(v); !isUint && (!ok || f != math.Trunc(f) || f < 0 || f > 1<<53) {
			return "a whole number from 0 to 18446744073709551615"
		} else if !isUint {
			u = uint64(f)
		}
		field.SetUint(u)
	case reflect.Int:
		f, ok := number(v)
		if !ok || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
			return fmt.Sprintf("a whole number of at most %d", math.MaxInt32)
		}
		field.SetInt(int64(f))
	case reflect.Slice: // of int or float64
		list, ok := v.([]any)
		numbers := reflect.MakeSlice(field.Type(), len(list), len(list))
		for i := range list {
			ok = ok && value(numbers.Index(i), list[i]) == ""
		}
		if !ok {
			if field.Type().Elem().Kind() == reflect.Float64 {
				return "a list of numbers, such as [0.9, 0.95]"
			}
			return "a list of whole numbers, such as [120, 160]"
		}
		field.Set(numbers)
	}
	return ""
}

// number reads a finite YAML number. The library takes 5e-4 for text and wants 5.0e-4, though YAML
// 1.2 has it as a number.
func number(v any) (float64, bool) {
	var f float64
	switch v := v.(type) {
	case int64:
		f = float64(v)
	case uint64:
		f = float64(v)
	case float64:
		f = v
	case string:
		var err error
		if f, err = strconv.ParseFloat(v, 64); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// shown is a value in the form that errors show.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case string:
		return strconv.Quote(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

func first(known []string, prefix string) string {
	return known[slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, prefix) })]
}

// suggestion names the nearest known key, if one is near.
func suggestion(key string, known []string) string {
	best, least := "", min(len(key)-1, 1+len(key)/3)
	for _, k := range known {
		if d := distance(key, k); d <= least {
			best, least = k, d-1
		}
		if strings.HasSuffix(k, "."+key) { // the group was left out
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

// firstLine is the sentence of a YAML error, without the excerpt of the file below it.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
