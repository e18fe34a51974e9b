//go:build !heic || !nodynamic

package picture

// boxedReader reads HEIC and AVIF in builds with the tags heic and nodynamic. Their decoders are C libraries made
// into WebAssembly: 5 MB more of program, and some ten times slower than JPEG.
func boxedReader(string) (reader, bool) { return reader{}, false }
