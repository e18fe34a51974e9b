package kernel

import "golang.org/x/sys/unix"

// The entry of the auxiliary vector that tells of newer features, and BF16's bit of it (Linux's
// asm/hwcap.h).
const (
	auxiliaryFeatures = 26
	bf16Feature       = 1 << 14
)

// hasBF16 tells whether the processor has FEAT_BF16, and the kernel says so.
func hasBF16() bool {
	vector, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, entry := range vector {
		if entry[0] == auxiliaryFeatures {
			return entry[1]&bf16Feature != 0
		}
	}
	return false
}
