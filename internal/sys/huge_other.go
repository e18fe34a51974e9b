//go:build !linux

package sys

// HugePages does nothing: only Linux takes such advice.
func HugePages([]byte) {}
