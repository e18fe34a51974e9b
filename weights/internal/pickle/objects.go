package pickle

// list makes a list of what was pushed since the mark.
func (d *decoder) list() error {
	items, err := d.popMark()
	if err != nil {
		return err
	}
	return d.push(&List{items})
}

func (d *decoder) tuple() error {
	items, err := d.popMark()
	if err != nil {
		return err
	}
	return d.push(&Tuple{items})
}

// tupleOf makes a tuple of the n values on top.
func (d *decoder) tupleOf(n int) error {
	from := len(d.stack) - n
	if from < d.floor() {
		return d.damaged("its stack is empty")
	}
	items := append([]any(nil), d.stack[from:]...)
	d.stack = d.stack[:from]
	return d.push(&Tuple{items})
}

func (d *decoder) dict() error {
	entries, err := d.popEntries()
	if err != nil {
		return err
	}
	return d.push(&Dict{entries})
}

// popEntries takes off keys and values, in turns, down to the last mark.
func (d *decoder) popEntries() ([]Entry, error) {
	items, err := d.popMark()
	if err != nil {
		return nil, err
	}
	if len(items)%2 != 0 {
		return nil, d.damaged("a dictionary has a key without a value")
	}
	entries := make([]Entry, len(items)/2)
	for i := range entries {
		entries[i] = Entry{items[2*i], items[2*i+1]}
	}
	return entries, nil
}

func (d *decoder) appendOne() error {
	v, err := d.pop()
	if err != nil {
		return err
	}
	return d.appendTo([]any{v})
}

func (d *decoder) appendAll() error {
	items, err := d.popMark()
	if err != nil {
		return err
	}
	return d.appendTo(items)
}

// appendTo gives items to the list on top of the stack, or to the object that stands for one.
func (d *decoder) appendTo(items []any) error {
	v, err := d.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *List:
		v.Items = append(v.Items, items...)
	case *Object:
		v.Items = append(v.Items, items...)
	default:
		return d.damaged("it appends to what is no list")
	}
	return nil
}

func (d *decoder) setOne() error {
	key, value, err := d.pop2()
	if err != nil {
		return err
	}
	return d.setIn([]Entry{{key, value}})
}

func (d *decoder) setAll() error {
	entries, err := d.popEntries()
	if err != nil {
		return err
	}
	return d.setIn(entries)
}

// setIn gives entries to the dictionary on top of the stack, or to the object that stands for one.
func (d *decoder) setIn(entries []Entry) error {
	v, err := d.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *Dict:
		v.Entries = append(v.Entries, entries...)
	case *Object:
		v.Entries = append(v.Entries, entries...)
	default:
		return d.damaged("it sets a key of what is no dictionary")
	}
	return nil
}

// named pushes a class or function.
func (d *decoder) named(module, name string) error {
	g := &Global{module, name}
	d.out.Globals = append(d.out.Globals, g)
	return d.push(g)
}

// global reads a module and a name, each in a line.
func (d *decoder) global() error {
	g, err := d.twoLines()
	if err != nil {
		return err
	}
	return d.named(g[0], g[1])
}

func (d *decoder) twoLines() (g [2]string, err error) {
	if g[0], err = d.line(); err == nil {
		g[1], err = d.line()
	}
	return g, err
}

func (d *decoder) stackGlobal() error {
	below, top, err := d.pop2()
	if err != nil {
		return err
	}
	module, ok1 := below.(string)
	name, ok2 := top.(string)
	if !ok1 || !ok2 {
		return d.damaged("a class or function is not named by text")
	}
	return d.named(module, name)
}

// call notes a call of what lies below a tuple of arguments.
func (d *decoder) call() error {
	class, args, err := d.pop2()
	if err != nil {
		return err
	}
	t, ok := args.(*Tuple)
	if !ok {
		return d.damaged("the arguments of a call are no tuple")
	}
	return d.made(class, t)
}

// callKeywords notes a call with named arguments, which are kept as if they were set by key.
func (d *decoder) callKeywords() error {
	keywords, err := d.pop()
	if err != nil {
		return err
	}
	if err := d.call(); err != nil {
		return err
	}
	if k, ok := keywords.(*Dict); ok {
		return d.setIn(k.Entries)
	}
	return d.damaged("the named arguments of a call are no dictionary")
}

// inst notes a call of the class in the next two lines with what was pushed since the mark.
func (d *decoder) inst() error {
	g, err := d.twoLines()
	if err != nil {
		return err
	}
	args, err := d.popMark()
	if err != nil {
		return err
	}
	if err := d.named(g[0], g[1]); err != nil {
		return err
	}
	class, err := d.pop()
	if err != nil {
		return err
	}
	return d.made(class, &Tuple{args})
}

// obj notes a call of the first value that was pushed since the mark with those after it.
func (d *decoder) obj() error {
	items, err := d.popMark()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return d.damaged("a call of nothing")
	}
	return d.made(items[0], &Tuple{items[1:]})
}

// made pushes the object that a call would return. Only what can stand for a class is called.
func (d *decoder) made(class any, args *Tuple) error {
	switch class.(type) {
	case *Global, *Object, *Persistent:
		return d.push(&Object{Class: class, Args: args})
	}
	return d.damaged("it calls what is no class or function")
}

// build notes the state that the object below it is given.
func (d *decoder) build() error {
	state, err := d.pop()
	if err != nil {
		return err
	}
	v, err := d.top()
	if err != nil {
		return err
	}
	o, ok := v.(*Object)
	if !ok {
		return d.damaged("it gives a state to what is no object")
	}
	o.State = append(o.State, state)
	return nil
}

func (d *decoder) persistent() error {
	id, err := d.line()
	if err != nil {
		return err
	}
	return d.refer(id)
}

func (d *decoder) binPersistent() error {
	id, err := d.pop()
	if err != nil {
		return err
	}
	return d.refer(id)
}

func (d *decoder) refer(id any) error {
	p := &Persistent{id}
	d.out.Persistent = append(d.out.Persistent, p)
	return d.push(p)
}
