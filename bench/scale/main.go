// Command scale measures what clients of etcd notice while its cluster grows from one member to three, to five, and goes
// back to three: the longest write stall, and how long it takes. Beside ceo, in the same run and on the same machine: the
// learner that is promoted as soon as etcd takes it, which is what kubeadm does, and the member that is added as a voter.
//
// ceo's own way is the product's, without the kubelet and the API server: each node has a real agent and a real guard with
// its etcd, and the members controller of the operator looks at them every five seconds. All etcds are real, with mTLS, in
// a network of this program's own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"clusteretcd.io/ceo/bench/workplace"
)

type options struct {
	size    int64
	seed    uint64
	rounds  int
	clients int
	rate    int
	value   int
	dir     string
	keep    bool
	json    bool
	ceo     string
	etcd    string
	ways    []string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = start(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// start runs the bench in a network of its own, where each node has an address, whatever else runs on this machine.
func start(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv(inside) == "" {
		return ownNetwork(ctx)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	return run(ctx, o, os.Stdout)
}

func parseOptions(args []string, usage io.Writer) (options, error) {
	var o options
	var megabytes int64
	var only string
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.SetOutput(usage)
	f.Int64Var(&megabytes, "size", 256, "of the database, MB")
	f.Uint64Var(&o.seed, "seed", 1, "of the database")
	f.IntVar(&o.rounds, "rounds", 3, "runs of each way")
	f.IntVar(&o.clients, "clients", 8, "that write")
	f.IntVar(&o.rate, "rate", 100, "writes a second, of all clients")
	f.IntVar(&o.value, "value", 1024, "bytes of a value that is written")
	f.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "ceo-bench-scale"), "where all files are written")
	f.BoolVar(&o.keep, "keep", false, "keep the database in -dir for the next run")
	f.BoolVar(&o.json, "json", false, "print all samples as JSON instead of tables")
	f.StringVar(&o.ceo, "ceo", "", "binary of ceo (default: build it)")
	f.StringVar(&o.etcd, "etcd", "", "folder of etcd and etcdutl (default: that of `make deps-etcd`)")
	f.StringVar(&only, "ways", "", "only these of ceo,promote,voter (default: all)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 1 || o.clients < 1 || o.rate < o.clients || megabytes < 1 {
		return o, errors.New("it takes no arguments, one round at least, a MB at least, and a write a second of each client at least")
	}
	o.size = megabytes * 1e6
	var err error
	o.ways, err = parseWays(only)
	return o, err
}

// bench is one run of this program.
type bench struct {
	options
	tools   tools
	scratch string // of this run, removed at its end
	started time.Time
	base    base
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	b := &bench{options: o, started: time.Now()}
	var leave func() error
	if b.scratch, leave, err = workplace.Open(o.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	if b.tools, err = findTools(ctx, o, b.scratch); err != nil {
		return err
	}
	if b.base, err = b.database(ctx); err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(b.base.dir)) }()
	}
	r := Report{Machine: describe(ctx, b.tools), Database: b.base.Info, Rounds: o.rounds, Clients: o.clients, Rate: o.rate, Value: o.value}
	for i := range o.rounds {
		for j := range o.ways {
			// Each round in another order: what disturbs the machine for a while disturbs not always the same.
			way := o.ways[(i+j)%len(o.ways)]
			s, err := b.once(ctx, way)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			r.Samples = append(r.Samples, s)
		}
	}
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err = io.WriteString(out, r.Markdown())
	return err
}

// say where it is: a run takes minutes.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}
