package cli

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"moco/embed"
	"moco/internal/bench"
	"moco/internal/event"
	"moco/pack"
	"moco/pretrain"
)

var update = flag.Bool("update", false, "write docs/events.md anew")

// eventsOf lists, for each command, the events of its own in the order in which they come, and what
// it prints besides. docs/events.md is this table with the types' fields and comments.
var eventsOf = []struct {
	command string
	also    string
	events  []event.Event
}{
	{"train", "A run's `log.jsonl` holds the same lines, of all the processes that have worked on it.",
		[]event.Event{pretrain.Start{}, pretrain.Step{}, pretrain.Epoch{}, pretrain.Monitor{}, pretrain.Consistency{}, pretrain.Warning{}, pretrain.Saved{}, pretrain.Done{}}},
	{"eval knn", "", []event.Event{knnDone{}}},
	{"eval linear", "", []event.Event{linearEpoch{}, linearDone{}}},
	{"eval finetune", "Between `run` and `seed` come `step` and `warning` of [train](#moco-train), and `start` where the first seed begins or a run goes on.",
		[]event.Event{finetuneRun{}, finetuneSeed{}, finetuneDone{}}},
	{"compare", "Between `run` and `run_done` come `step`, `monitor` and `warning` of [train](#moco-train).",
		[]event.Event{studyRun{}, studyRunDone{}, studyDone{}}},
	{"transfer", "Between `part` and `part_done` come `start`, `step` and `warning` of [train](#moco-train), or `epoch` of [eval linear](#moco-eval-linear).",
		[]event.Event{transferPart{}, transferPartDone{}, transferDone{}}},
	{"embed", "", []event.Event{embed.Start{}, embed.Progress{}, embed.Bad{}, embed.Done{}}},
	{"search", "", []event.Event{neighbours{}}},
	{"dedupe", "", []event.Event{duplicates{}}},
	{"outliers", "", []event.Event{outlier{}}},
	{"label-errors", "", []event.Event{labelError{}}},
	{"cluster", "", []event.Event{cluster{}}},
	{"search, dedupe, outliers, label-errors, cluster", "Each of them ends with:", []event.Event{exploreDone{}}},
	{"classify", "", []event.Event{classifyExpected{}, classifyDone{}}},
	{"import", "", []event.Event{imported{}}},
	{"export", "", []event.Event{exported{}}},
	{"info", "", []event.Event{fileInfo{}}},
	{"data info", "", []event.Event{dataInfo{}}},
	{"data pack", "", []event.Event{pack.Start{}, pack.Bad{}, pack.Shard{}, pack.Done{}}},
	{"bench", "Without `--layers` the first, with it the second.", []event.Event{&bench.Report{}, &bench.LayersReport{}}},
	{"studio", "It answers from `ready` on, until it is interrupted.", []event.Event{studioReady{}, studioDone{}}},
	{"demo", "The events of [train](#moco-train) but its `done` come first.", []event.Event{demoDone{}}},
}

// implementations are the types of fields that are interfaces.
var implementations = map[reflect.Type][]any{
	reflect.TypeFor[summary](): {searchSummary{}, dedupeSummary{}, outliersSummary{}, labelErrorsSummary{}, clusterSummary{}},
}

// TestEventsPage holds docs/events.md to the types of all events. `go test ./internal/cli -run
// EventsPage -update` writes it.
func TestEventsPage(t *testing.T) {
	root := filepath.Join("..", "..")
	c, err := readComments(root)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	p := &eventsPage{comments: c}
	p.WriteString(`# Events

With ` + "`--json`" + ` every command writes JSON objects to standard output, one a line, and nothing else. Each has
the name of its kind under ` + "`event`" + `; the last is ` + "`done`" + ` with the result. Errors and logs go to standard error.
Fields may be added; those that are here stay. A field with a question mark is left out where it is empty.

This page is made of the Go types by ` + "`go test ./internal/cli -run EventsPage -update`" + `, and a test holds it to
them.
`)
	for _, of := range eventsOf {
		fmt.Fprintf(p, "\n## moco %s\n", of.command)
		if of.also != "" {
			fmt.Fprintf(p, "\n%s\n", of.also)
		}
		for _, e := range of.events {
			typ := indirect(reflect.TypeOf(e))
			listed[nameOf(typ)] = true
			p.section("### `"+e.Kind()+"`", typ)
		}
	}
	p.WriteString("\n## Objects within events\n")
	for i := 0; i < len(p.objects); i++ { // sections add objects
		p.section("### "+title(p.objects[i]), p.objects[i])
	}
	packages := map[string]bool{} // that have events; elsewhere a method Kind may be something else
	for name := range listed {
		packages[name[:strings.LastIndex(name, ".")]] = true
	}
	for _, name := range c.kinds {
		if packages[name[:strings.LastIndex(name, ".")]] && !listed[name] {
			t.Errorf("the event %s is of no command in eventsOf", name)
		}
	}
	path := filepath.Join(root, "docs", "events.md")
	if *update {
		if err := os.WriteFile(path, []byte(p.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != p.String() {
		t.Errorf("docs/events.md is not what the types of events say (%v); write it anew: go test ./internal/cli -run EventsPage -update", err)
	}
}

// eventsPage is the page in the making.
type eventsPage struct {
	strings.Builder
	comments *comments
	objects  []reflect.Type // that fields have, in the order of their first use
}

// section is a type with its fields.
func (p *eventsPage) section(heading string, t reflect.Type) {
	fmt.Fprintf(p, "\n%s\n\n", heading)
	if doc := p.comments.docs[nameOf(t)]; doc != "" {
		fmt.Fprintf(p, "%s\n\n", sentence(t.Name(), doc))
	}
	p.WriteString("| field | type | |\n|---|---|---|\n")
	p.fields(t)
}

// fields are rows of the table; those of embedded structs stand where the struct does, as in JSON.
func (p *eventsPage) fields(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" {
			p.fields(indirect(f.Type))
			continue
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		absent := ""
		if strings.Contains(options, "omitempty") {
			absent = "?"
		}
		comment := strings.ReplaceAll(sentence(f.Name, p.comments.docs[nameOf(t)+"."+f.Name]), "|", "\\|")
		fmt.Fprintf(p, "| `%s`%s | %s | %s |\n", cmp.Or(tag, f.Name), absent, p.typeOf(f.Type), comment)
	}
}

// typeOf is a type in JSON's words. Objects get a section of their own.
func (p *eventsPage) typeOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return p.typeOf(t.Elem())
	case reflect.Slice, reflect.Array:
		return "list of " + p.typeOf(t.Elem())
	case reflect.Map:
		return "object of " + p.typeOf(t.Elem()) + " by name"
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Interface:
		var words []string
		for _, v := range implementations[t] {
			words = append(words, p.typeOf(reflect.TypeOf(v)))
		}
		return strings.Join(words, ", ")
	case reflect.Struct:
		if !slices.Contains(p.objects, t) {
			p.objects = append(p.objects, t)
		}
		name := title(t)
		return fmt.Sprintf("[%s](#%s)", name, strings.ReplaceAll(name, " ", "-"))
	}
	panic(fmt.Sprintf("a field of the type %v is not in JSON's words", t))
}

// title is the heading of an object: its type's name, with the package's where it says more.
func title(t reflect.Type) string {
	pkg := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
	words := strings.ToLower(wordsOf.ReplaceAllString(t.Name(), "$1 $2")) // "search summary" of searchSummary
	if pkg == "cli" {
		return words
	}
	return pkg + " " + words
}

var wordsOf = regexp.MustCompile(`([a-z])([A-Z])`)

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// nameOf is a type's name as comments are found by.
func nameOf(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// sentence makes a sentence of a comment that begins with the type's name.
func sentence(name, doc string) string {
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(doc, name+verb); ok {
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return doc
}

// comments are those of all types of the module and their fields, and the types that are events.
type comments struct {
	docs  map[string]string // by "moco/pretrain.Start" and "moco/pretrain.Start.Images"
	kinds []string
}

// readComments reads the module's sources.
func readComments(root string) (*comments, error) {
	c := &comments{docs: map[string]string{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := "moco"
		if dir != "." {
			pkg += "/" + filepath.ToSlash(dir)
		}
		for _, decl := range file.Decls {
			c.read(pkg, decl)
		}
		return nil
	})
	return c, err
}

func (c *comments) read(pkg string, decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == "Kind" && d.Recv != nil && len(d.Type.Params.List) == 0 && fmt.Sprint(d.Type.Results.List[0].Type) == "string" {
			receiver := d.Recv.List[0].Type
			if star, ok := receiver.(*ast.StarExpr); ok {
				receiver = star.X
			}
			c.kinds = append(c.kinds, pkg+"."+fmt.Sprint(receiver))
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			name := pkg + "." + t.Name.Name
			c.docs[name] = text(cmp.Or(t.Doc, d.Doc))
			s, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range s.Fields.List {
				for _, n := range f.Names {
					c.docs[name+"."+n.Name] = text(cmp.Or(f.Comment, f.Doc))
				}
			}
		}
	}
}

// text is a comment's first paragraph on one line.
func text(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	first, _, _ := strings.Cut(g.Text(), "\n\n")
	return strings.Join(strings.Fields(first), " ")
}
