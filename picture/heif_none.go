//go:build !heic || !nodynamic

package picture

// boxedReader reads HEIC and AVIF in builds with the tags heic and nodynamic. docs/use.md says why
// not in all.
func boxedReader(string) (reader, bool) { return reader{}, false }
