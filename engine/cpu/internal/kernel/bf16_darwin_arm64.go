package kernel

import "golang.org/x/sys/unix"

// hasBF16 tells whether the processor has FEAT_BF16: Apple's have it from M2 and A15 on.
func hasBF16() bool {
	has, err := unix.SysctlUint32("hw.optional.arm.FEAT_BF16")
	return err == nil && has != 0
}
