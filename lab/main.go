// Command lab makes real Kubernetes control planes on one machine, to break and to recover.
package main

import (
	"os"

	"clusteretcd.io/ceo/lab/internal/cli"
)

func main() { os.Exit(cli.Main()) }
