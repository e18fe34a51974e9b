// Package pickle reads Python's pickle format as data.
//
// A pickle is a program for a small stack machine, and in Python it may call whatever it names.
// Here nothing is called, imported or looked up: a name becomes a *Global, and a call becomes an
// *Object that says what would have been called with which arguments. What an object means is for
// the caller to decide, who knows a few classes by name.
//
// The decoder does bounded work for each byte that it reads: no operation recurses, none copies
// more than the bytes that follow it, and a shared or cyclic value is a pointer, never a copy. The
// operations are those of protocols 0 to 5 (Python's Lib/pickletools.py lists them), but for
// extension codes and out-of-band buffers, which mean nothing outside of the program that wrote
// them.
package pickle

// A value is one of
//
//	nil, bool, int64, *big.Int, float64, string   what Python has under these names
//	Bytes                                         bytes and bytearray
//	*List, *Tuple, *Dict                          sets are lists, frozen sets are tuples
//	*Global, *Object, *Persistent                 what Python would look up, make or load
//
// Strings are as the file has them, UTF-8 or not. Containers may hold themselves.

// Bytes is a bytes or bytearray object: a part of the pickle itself, not a copy.
type Bytes []byte

// List is a list or a set.
type List struct{ Items []any }

// Tuple is a tuple or a frozen set.
type Tuple struct{ Items []any }

// Dict is a dictionary, its entries as they were set, also where a key stands twice.
type Dict struct{ Entries []Entry }

// Entry is a key with its value.
type Entry struct{ Key, Value any }

// Global is a class or function, by its name.
type Global struct{ Module, Name string }

// String is the full name, such as "collections.OrderedDict".
func (g *Global) String() string { return g.Module + "." + g.Name }

// Object is what a call would have returned, and what was done to it afterwards.
type Object struct {
	Class   any     // what would have been called; a *Global but in odd files
	Args    *Tuple  // the arguments; several objects may share one
	State   []any   // what __setstate__ or __dict__ were given; one value but in odd files
	Items   []any   // what was appended or added
	Entries []Entry // what was set by key
}

// Global returns the class or function that o was made by, or nil.
func (o *Object) Global() *Global {
	g, _ := o.Class.(*Global)
	return g
}

// Persistent is a value that lies outside of the pickle, under an ID that the file's format
// explains.
type Persistent struct{ ID any }
