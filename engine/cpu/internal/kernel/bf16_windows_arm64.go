package kernel

import "golang.org/x/sys/windows"

// hasBF16 tells whether the processor has FEAT_BF16. A Windows that does not know the question says
// no.
func hasBF16() bool {
	return windows.IsProcessorFeaturePresent(windows.PF_ARM_V86_BF16_INSTRUCTIONS_AVAILABLE)
}
