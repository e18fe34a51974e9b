package weights

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"moco/weights/internal/pickle"
)

// Files of torch.save come in three formats. Each is a pickle of nested dictionaries, in which a
// tensor is a view (offset, size, strides) of a storage that lies elsewhere in the file. The
// readers of the formats find the pickle and the storages; the rest is the same for all: the
// tensors of all dictionaries and lists are made, under the keys on the way joined with dots
// ("state_dict.conv1.weight", "optimizer.state.0.momentum_buffer"). Text and numbers at the top
// (epoch, arch) become metadata.
//
// What else stands beside them (a script's arguments, a configuration, dates) is an object of some
// class. The class is not looked up. An object's attributes and entries are gone through as those
// of a dictionary, so that tensors in it are found.

// torchFile is what a format's reader found.
type torchFile struct {
	object any
	// refers says what a persistent value is: a *storage, a *view, or nil for the class of a
	// module.
	refers  map[*pickle.Persistent]any
	globals []*pickle.Global
	// read returns the bytes of a storage, storage.bytes of them.
	read func(*storage) ([]byte, error)
}

// file makes the tensors of the file called name.
func (f *torchFile) file(name string) (*File, error) {
	w := walk{
		torchFile: f, metadata: map[string]string{}, names: map[string]*view{},
		visited: map[any]bool{}, scanned: map[any]bool{},
	}
	if err := w.all(); err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	out := &File{Metadata: w.metadata, Skipped: w.skipped, Globals: f.besides(), Module: w.moduleError(name)}
	if len(w.tensors) == 0 {
		return nil, w.nothing(out)
	}
	var err error
	if out.Tensors, err = f.gather(w.tensors); err != nil {
		return nil, err
	}
	return out.indexed(), nil
}

// nothing says why no tensor was read.
func (w *walk) nothing(f *File) error {
	switch {
	case f.Module != nil:
		return f.Module
	case len(f.Skipped) > 0:
		first := f.Skipped[0]
		return fmt.Errorf("torch: none of the file's tensors can be read; %q has %s", brief(first.Name), first.Why)
	case len(f.Globals) > 0:
		names := brief(strings.Join(f.Globals, ", "))
		return fmt.Errorf("torch: the file holds no tensors, but asks for %s; nothing was run", names)
	}
	return errors.New("torch: the file holds no tensors")
}

// besides lists the classes and functions that are not there to make tensors.
func (f *torchFile) besides() []string {
	var names []string
	for _, g := range f.globals {
		full := g.String()
		if _, storage := storageOf(g); !storage && !rebuilds(full) && full != orderedDict && full != "torch.Size" {
			names = append(names, full)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const orderedDict = "collections.OrderedDict"

// gather makes tensors of views, of one storage after the other, so that one lies in memory at a
// time.
func (f *torchFile) gather(views []namedView) ([]Named, error) {
	out := make([]Named, len(views))
	of := map[*storage][]int{} // the tensors of each storage
	var order []*storage
	for i, t := range views {
		if of[t.storage] == nil {
			order = append(order, t.storage)
		}
		of[t.storage] = append(of[t.storage], i)
	}
	for _, s := range order {
		var total int64
		for _, i := range of[s] {
			n, err := views[i].check()
			if err != nil {
				return nil, fmt.Errorf("torch: tensor %q %w", brief(views[i].name), err)
			}
			// Tied weights and expanded tensors repeat a storage; a bomb repeats it without end.
			if total += n; n > 8*s.bytes+1<<12 || total > 8*s.bytes+1<<12 {
				return nil, fmt.Errorf("torch: tensor %q and others repeat a storage of %d bytes too often",
					brief(views[i].name), s.bytes)
			}
		}
		raw, err := f.read(s)
		if err != nil {
			return nil, err
		}
		for _, i := range of[s] {
			out[i] = Named{views[i].name, views[i].gather(raw)}
		}
	}
	return out, nil
}

// namedView is a tensor that was found.
type namedView struct {
	name string
	*view
}

// walk goes through what a pickle holds. It does not recurse, and visits each container once, at
// the first of its places: values may lie as deep as they like, hold themselves, or share what they
// hold.
type walk struct {
	*torchFile
	tensors  []namedView
	names    map[string]*view // of the tensors, also of those that are skipped
	skipped  []Skipped
	metadata map[string]string
	module   *place       // of the first whole module
	class    string       // its class
	visited  map[any]bool // containers
	scanned  map[any]bool // lists and dictionaries that were looked through for what they are
	length   int          // of all names
	todo     []visit      // a stack
}

// visit is a value that is to be looked at.
type visit struct {
	value any
	at    *place
}

// place says by which keys a value is reached: the last one, and those before.
type place struct {
	above *place // nil at the top
	key   any    // a string, an int64 or a *pickle.Global
}

// maxName is the longest name of a tensor, and maxNames that of all names together, in bytes: a
// pickle can hold one long key above many tensors.
const (
	maxName  = 1 << 10
	maxNames = 64 << 20
)

// keys are the keys on the way, from the top.
func (p *place) keys() []any {
	var keys []any
	for ; p.above != nil; p = p.above {
		if keys = append(keys, p.key); len(keys) > maxName {
			break
		}
	}
	slices.Reverse(keys)
	return keys
}

// name joins the keys on the way with dots.
func (p *place) name() (string, error) {
	var parts []string
	for _, k := range p.keys() {
		parts = append(parts, fmt.Sprint(k))
	}
	name := strings.Join(parts, ".")
	if len(name) > maxName {
		return "", fmt.Errorf("a name of more than %d bytes begins with %q", maxName, brief(name))
	}
	return name, nil
}

// all finds every tensor.
func (w *walk) all() error {
	w.todo = []visit{{w.object, &place{}}}
	for len(w.todo) > 0 {
		last := len(w.todo) - 1
		v := w.todo[last]
		w.todo = w.todo[:last]
		if err := w.visit(v); err != nil {
			return err
		}
	}
	return nil
}

// visit takes a tensor, or remembers to visit what a container holds.
func (w *walk) visit(v visit) error {
	switch value := v.value.(type) {
	case *pickle.Persistent:
		switch t := w.refers[value].(type) {
		case *view:
			return w.tensor(v.at, t)
		case *storage: // all of it
			return w.tensor(v.at, &view{storage: t, kind: t.kind, size: []int64{t.elements()}, stride: []int64{1}})
		}
	case *pickle.Object:
		t, err := w.rebuilt(value)
		if err != nil {
			return err
		}
		if t != nil {
			return w.tensor(v.at, t)
		}
		w.enter(v)
	case *pickle.Dict, *pickle.List, *pickle.Tuple:
		w.enter(v)
	case string, int64, float64, bool, *big.Int:
		w.remember(v.at, value)
	}
	return nil
}

// enter plans visits of what a container holds, if it is new. The first of them is next.
func (w *walk) enter(v visit) {
	if w.visited[v.value] {
		return
	}
	w.visited[v.value] = true
	var inner []visit
	switch c := v.value.(type) {
	case *pickle.Dict:
		inner = under(v.at, c.Entries)
	case *pickle.List:
		inner = under(v.at, numbered(c.Items, 0))
	case *pickle.Tuple:
		inner = under(v.at, numbered(c.Items, 0))
	case *pickle.Object:
		if w.isModule(c) {
			w.foundModule(v.at, c)
			return
		}
		inner = w.parts(v.at, c)
	}
	slices.Reverse(inner)
	w.todo = append(w.todo, inner...)
}

// under are visits of entries, below the place of what holds them.
func under(at *place, entries []pickle.Entry) []visit {
	visits := make([]visit, len(entries))
	for i, e := range entries {
		switch e.Key.(type) {
		case string, int64, *pickle.Global:
		default: // such as a tuple, a tensor or an object
			e.Key = int64(i)
		}
		visits[i] = visit{e.Value, &place{at, e.Key}}
	}
	return visits
}

// numbered are the items of a list with their places, from first on.
func numbered(items []any, first int) []pickle.Entry {
	entries := make([]pickle.Entry, len(items))
	for i, v := range items {
		entries[i] = pickle.Entry{Key: int64(first + i), Value: v}
	}
	return entries
}

// parts are what an object holds, as visits: its entries by key, its items by number after the
// arguments, and at the object's own place the arguments and the state, so that attributes have
// their names. Arguments and states may be shared by many objects, so they are not copied here.
func (w *walk) parts(at *place, o *pickle.Object) []visit {
	parts := under(at, o.Entries)
	if list := w.pairs(o); list != nil {
		for _, item := range list.Items {
			pair := pairOf(item)
			parts = append(parts, visit{pair[1], &place{at, pair[0]}})
		}
	} else {
		parts = append(parts, visit{o.Args, at})
	}
	parts = append(parts, under(at, numbered(o.Items, len(o.Args.Items)))...)
	for _, state := range o.State {
		parts = append(parts, visit{state, at})
	}
	return parts
}

// pairs is the list of keys and values that a dictionary is made from, as Python 2 writes an
// OrderedDict; nil if o is no such object, or the list was visited already.
func (w *walk) pairs(o *pickle.Object) *pickle.List {
	if len(o.Args.Items) != 1 {
		return nil
	}
	list, ok := o.Args.Items[0].(*pickle.List)
	if !ok || w.visited[list] || w.scanned[list] {
		return nil
	}
	w.scanned[list] = true // once, since many objects may be made of one list
	for _, item := range list.Items {
		if pairOf(item) == nil {
			return nil
		}
	}
	w.visited[list] = true
	return list
}

// pairOf is a list or tuple of a text and a value; nil if v is none.
func pairOf(v any) []any {
	var pair []any
	switch v := v.(type) {
	case *pickle.List:
		pair = v.Items
	case *pickle.Tuple:
		pair = v.Items
	}
	if len(pair) != 2 {
		return nil
	}
	if _, ok := pair[0].(string); !ok {
		return nil
	}
	return pair
}

// remember keeps text and numbers of the top as metadata.
func (w *walk) remember(at *place, value any) {
	if at.above == nil || at.above.above != nil {
		return
	}
	name, err := at.name()
	text := fmt.Sprint(value)
	if err == nil && utf8.ValidString(name) && utf8.ValidString(text) && len(text) < 1<<10 {
		w.metadata[name] = text
	}
}

// tensor takes a tensor under the name of its place.
func (w *walk) tensor(at *place, t *view) error {
	name, err := at.name()
	if err != nil {
		return err
	}
	if w.length += len(name); w.length > maxNames {
		return fmt.Errorf("names of more than %d MiB together are not believable", maxNames>>20)
	}
	switch old := w.names[name]; {
	case name == "":
		name = "tensor" // the file is this one
	case !utf8.ValidString(name) || name == "__metadata__":
		return fmt.Errorf("a tensor cannot be named %q", brief(name))
	case old != nil && old.same(t): // an object that two places of one name share
		return nil
	case old != nil:
		return fmt.Errorf("two tensors are named %q", brief(name))
	}
	w.names[name] = t
	if why := t.unread(); why != "" {
		w.skipped = append(w.skipped, Skipped{name, why})
		return nil
	}
	w.tensors = append(w.tensors, namedView{name, t})
	return nil
}

// isModule tells an nn.Module: an object with its parameters and modules among its attributes.
func (w *walk) isModule(o *pickle.Object) bool {
	for _, state := range o.State {
		d, ok := state.(*pickle.Dict)
		if !ok || w.scanned[d] { // once, since many objects may share a state
			continue
		}
		w.scanned[d] = true
		has := map[any]bool{}
		for _, e := range d.Entries {
			if key, ok := e.Key.(string); ok {
				has[key] = true
			}
		}
		if has["_parameters"] && has["_modules"] {
			return true
		}
	}
	return false
}

// foundModule notes the first whole module.
func (w *walk) foundModule(at *place, o *pickle.Object) {
	if w.module != nil {
		return
	}
	w.module, w.class = at, "a class of its own"
	switch class := o.Class.(type) {
	case *pickle.Global:
		w.class = class.String()
	case *pickle.Persistent: // ("module", class, file, source), until PyTorch 1.6
		if id, ok := class.ID.(*pickle.Tuple); ok && len(id.Items) > 1 {
			w.class = fmt.Sprint(id.Items[1])
		}
	}
}

// moduleError says how the whole module in the file called name becomes a state dict; nil without
// one.
func (w *walk) moduleError(name string) *KindError {
	if w.module == nil {
		return nil
	}
	load := fmt.Sprintf("torch.load(%q, map_location=\"cpu\", weights_only=False)", name)
	for _, key := range w.module.keys() {
		if s, ok := key.(string); ok {
			load += "[" + strconv.Quote(s) + "]"
		} else {
			load += fmt.Sprintf("[%v]", key)
		}
	}
	hint := fmt.Sprintf("its class %s is code, which the file does not hold. "+
		"Where that can be imported, and if you trust the file, %s", brief(w.class), saveHint(load))
	return &KindError{KindModule, hint}
}

// commands are modules and functions by which pickles have been made to run commands or code. The
// list is for a warning: nothing that a pickle names is run here, on this list or not.
var commands = []string{
	"os.", "posix.", "nt.", "subprocess.", "commands.", "pty.", "shutil.", "socket.", "sys.", "runpy.",
	"importlib.", "ctypes.", "webbrowser.", "urllib.", "requests.", "marshal.", "code.", "codeop.", "pdb.", "timeit.",
	"builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.open",
	"__builtin__.eval", "__builtin__.execfile", "__builtin__.compile", "__builtin__.__import__", "__builtin__.open",
	"__builtin__.file", "types.CodeType", "types.FunctionType", "torch.hub.", "pip.", "numpy.testing.",
}

// Commands returns those of Globals that run commands or code when Python reads the file. No
// checkpoint needs them: whoever made the file wants something run.
func (f *File) Commands() []string {
	var found []string
	for _, g := range f.Globals {
		runs := func(c string) bool { return g == c || strings.HasSuffix(c, ".") && strings.HasPrefix(g, c) }
		if slices.ContainsFunc(commands, runs) {
			found = append(found, g)
		}
	}
	return found
}
