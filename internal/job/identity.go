package job

import (
	"fmt"
	"slices"
	"strings"
)

// Identity is what a result holds for: the recipe, the images and whatever else it follows from.
type Identity []Part

// Part is one of these. A value of several lines, such as a recipe, is compared line by line.
type Part struct {
	Name, Value string
	// Newer says that results from before the part was kept lack it, and hold nevertheless.
	Newer bool
}

// changes says how an identity differs from that of an older result.
func (id Identity) changes(old Identity) (all []string) {
	for _, p := range id {
		at := slices.IndexFunc(old, func(o Part) bool { return o.Name == p.Name && o.Value != "" })
		switch {
		case at >= 0:
			all = append(all, p.changes(old[at].Value)...)
		case !p.Newer:
			all = append(all, p.Name+" was not kept")
		}
	}
	return all
}

// changes says how a part differs from an older value: "lr is 0.1 and was 0.2" for lines that begin
// with the same key.
func (p Part) changes(old string) (all []string) {
	if old == p.Value {
		return nil
	}
	was, is := strings.Split(old, "\n"), strings.Split(p.Value, "\n")
	gone := slices.DeleteFunc(slices.Clone(was), func(line string) bool { return slices.Contains(is, line) })
	for _, line := range is {
		if slices.Contains(was, line) {
			continue
		}
		key, value := p.keyed(line)
		at := slices.IndexFunc(gone, func(line string) bool { k, _ := p.keyed(line); return k == key })
		if at < 0 {
			all = append(all, fmt.Sprintf("%s is %s and was not there", key, value))
			continue
		}
		_, before := p.keyed(gone[at])
		gone = slices.Delete(gone, at, at+1)
		all = append(all, fmt.Sprintf("%s is %s and was %s", key, value, before))
	}
	for _, line := range gone {
		key, before := p.keyed(line)
		all = append(all, fmt.Sprintf("%s was %s and is not there", key, before))
	}
	if len(all) == 0 {
		all = []string{p.Name + " has its lines in another order"}
	}
	return all
}

// keyed cuts "key: value" in two. Other lines have the part's name for a key.
func (p Part) keyed(line string) (key, value string) {
	const most = 60
	key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
	if !ok {
		key, value = p.Name, line
	}
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "..."
	}
	return key, value
}

// OtherError is the error of a folder that holds another job than the one to be done there.
type OtherError struct {
	Folder  string
	Changes []string // what is different: "lr is 0.1 and was 0.2"
}

func (e *OtherError) Error() string {
	return fmt.Sprintf("%s holds another run: %s", e.Folder, strings.Join(e.Changes, ", "))
}

// SetError is the error of a setting of a key that jobs set themselves.
type SetError struct {
	Setting string // key=value
	By      string // what sets the key: "the study"
	Values  string // to what: "0, 1, ..."
}

func (e *SetError) Error() string {
	return fmt.Sprintf("the setting %s: %s itself sets %s to %s", e.Setting, e.By, e.Key(), e.Values)
}

// Key is the key of the setting.
func (e *SetError) Key() string {
	key, _, _ := strings.Cut(e.Setting, "=")
	return key
}
