package jpeg

func machineKernels() []*kernels { return nil }
