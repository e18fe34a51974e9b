//go:build !linux && !darwin && !windows

package kernel

// hasBF16 tells whether the processor has FEAT_BF16. Here there is no way to ask.
func hasBF16() bool { return false }
