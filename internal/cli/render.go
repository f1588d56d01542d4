package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"clusteretcd.io/ceo/internal/install"
	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/render"
)

// RenderOptions are the flags of `ceo render`.
type RenderOptions struct {
	render.Options
	// Peers by name, with their addresses.
	Peers map[string]string
	// Output is the root below which the files are written.
	Output        string
	RuntimeSocket string
}

// Render writes what a node needs before there is a cluster, and says what to type next.
func Render(s Streams, o RenderOptions) error {
	root, err := filepath.Abs(cmp.Or(o.Output, "/"))
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	if root == "/" {
		if os.Geteuid() != 0 {
			return errors.New("run this as root on the node, or write into a folder of your own with --output: the files are root's alone")
		}
		if !hasAddress(o.Address) {
			return fmt.Errorf("--address %s is not an address of this node: etcd could not listen on it", o.Address)
		}
	}
	o.Options.Peers, o.Now = render.Peers(o.Peers), time.Now()
	o.RuntimeDir, o.CADirs = install.AgentPlaces(node.Paths{Root: root}, o.RuntimeSocket)
	have, data, err := render.Look(root, o.Options)
	if err != nil {
		return err
	}
	files, err := render.Render(o.Options, have, data)
	if err != nil {
		return err
	}
	written, err := render.Write(root, files, have)
	for _, f := range written {
		_, _ = fmt.Fprintf(s.Err, "wrote %s\n", filepath.Join(root, f))
	}
	if err != nil {
		return fmt.Errorf("%w: run this again, it goes on from here", err)
	}
	if len(written) == 0 {
		_, _ = fmt.Fprintln(s.Err, "nothing to do: all of it is there")
	}
	_, err = fmt.Fprint(s.Out, render.Next(o.Options, root))
	return err
}

func hasAddress(address string) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // etcd says it then
	}
	want := net.ParseIP(address)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && (want == nil || n.IP.Equal(want)) {
			return true
		}
	}
	return false
}
