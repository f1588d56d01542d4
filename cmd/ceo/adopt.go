package main

import "github.com/spf13/cobra"

func newAdoptCommand() *cobra.Command { return &cobra.Command{Use: "adopt"} }
