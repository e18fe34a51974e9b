//go:build !amd64

package jpeg

func machineKernels() []*kernels { return nil }
