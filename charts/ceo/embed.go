// Package ceo holds the chart, so that the program carries what Helm would read.
package ceo

import "embed"

// Files of the chart. "all:" because Go leaves out files with an underscore otherwise.
//
//go:embed Chart.yaml values.yaml values.schema.json crds files all:templates
var Files embed.FS
