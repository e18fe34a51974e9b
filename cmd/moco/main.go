// Command moco learns visual representations from unlabelled images by Momentum Contrast; see `moco
// --help`.
package main

import (
	"os"

	"moco/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, os.Getenv)) }
