module clusteretcd.io/ceo/lab

go 1.26

require (
	github.com/spf13/cobra v1.10.1
	golang.org/x/sys v0.36.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
)
