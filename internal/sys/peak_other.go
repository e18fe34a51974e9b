//go:build !linux && !darwin

package sys

func residentPeak() int64 { return 0 }
