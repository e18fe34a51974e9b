package exchange

import (
	"fmt"

	"moco/nn"
)

// Loader returns the lines of Python that load a file into torchvision's ResNet: m, which gives
// what the head gives. It is nil for formats that PyTorch does not read.
func Loader(c nn.Config, f Format, path string) []string {
	var lines []string
	switch f {
	case Torch:
		lines = []string{"import torch, torchvision", fmt.Sprintf("state = torch.load(%q)", path)}
	// As safetensors.torch.load_file does it, for users who lack that package.
	case Safetensors:
		lines = []string{
			"import json, torch, torchvision",
			fmt.Sprintf("raw = memoryview(bytearray(open(%q, 'rb').read())); start = 8 + int.from_bytes(raw[:8], 'little')", path),
			"types = {'F32': torch.float32, 'I64': torch.int64}",
			"state = {name: torch.frombuffer(raw[start:][slice(*t['data_offsets'])], dtype=types[t['dtype']]).reshape(t['shape'])",
			"         for name, t in json.loads(bytes(raw[8:start])).items() if name != '__metadata__'}",
		}
	default:
		return nil
	}
	if c.Head == "linear" {
		lines = append(lines, fmt.Sprintf("m = torchvision.models.%s(num_classes=%d)", c.Arch, c.Dim))
	} else {
		lines = append(lines, fmt.Sprintf("m = torchvision.models.%s()", c.Arch))
	}
	switch c.Head {
	case "mlp":
		features := c.FeatureDim()
		lines = append(lines, fmt.Sprintf("m.fc = torch.nn.Sequential(torch.nn.Linear(%d, %d), torch.nn.ReLU(), torch.nn.Linear(%d, %d))",
			features, features, features, c.Dim))
	case "none":
		lines = append(lines, "m.fc = torch.nn.Identity()")
	}
	if c.Stem == "cifar" {
		lines = append(lines, "m.conv1, m.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()")
	}
	if c.Width == 1 {
		return append(lines, "m.load_state_dict(state); m.eval()")
	}
	// torchvision cannot build other widths, but its modules take as many channels as their tensors
	// have.
	return append(lines,
		"for name, t in [*m.named_parameters(), *m.named_buffers()]: t.data = state[name]",
		"m.eval()")
}
