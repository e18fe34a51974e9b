package sys

import "golang.org/x/sys/unix"

func residentPeak() int64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return r.Maxrss // bytes on macOS
}
