//go:build !amd64 && !arm64

package kernel

// machinePaths is empty: there is no assembly for this processor.
func machinePaths() []*Path { return nil }
