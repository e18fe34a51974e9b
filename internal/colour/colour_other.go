//go:build !amd64

package colour

// paths are the implementations that this machine runs, fastest first.
func paths() []path { return []path{portable} }
