// Command storage measures restores and backups of databases of several sizes: ceo, beside etcdutl, etcdctl and a plain
// copy, in the same run and on the same machine. It prints the medians, the ratios, and which goals are reached.
//
// Each round runs every way once, in another order than the round before, and with all earlier writes flushed. Files
// that are read lie in the page cache for all of them alike: what is compared is the work, not the disk's reading.
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
	"strings"
	"syscall"
	"time"

	"clusteretcd.io/ceo/bench/storage/measure"
	"clusteretcd.io/ceo/bench/workplace"
)

type options struct {
	sizes  []size
	rounds int
	dir    string
	keep   bool
	json   bool
	seed   uint64
	ceo    string
	etcd   string
	parts  parts
}

func main() {
	// A part of ceo, measured as a process of its own.
	if len(os.Args) > 2 && os.Args[1] == childArg {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
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
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string, usage io.Writer) (options, error) {
	var o options
	var sizes, only string
	f := flag.NewFlagSet("storage", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&sizes, "sizes", "100MB,1GB,4GB", "of the databases")
	f.IntVar(&o.rounds, "rounds", 5, "runs of each way")
	f.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "ceo-bench-storage"), "where the databases are made and all files are written")
	f.BoolVar(&o.keep, "keep", false, "keep the databases in -dir for the next run")
	f.BoolVar(&o.json, "json", false, "print all samples as JSON instead of tables")
	f.Uint64Var(&o.seed, "seed", 1, "of the databases")
	f.StringVar(&o.ceo, "ceo", "", "binary of ceo (default: build it)")
	f.StringVar(&o.etcd, "etcd", "", "folder of etcd, etcdctl and etcdutl (default: that of `make deps-etcd`)")
	f.StringVar(&only, "parts", "", "only these of "+strings.Join(allParts, ",")+" (default: all)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 1 {
		return o, errors.New("it takes no arguments, and at least one round")
	}
	for _, s := range strings.Split(sizes, ",") {
		n, err := parseSize(s)
		if err != nil {
			return o, err
		}
		o.sizes = append(o.sizes, n)
	}
	var err error
	o.parts, err = parseParts(only)
	return o, err
}

// bench is one run of this program.
type bench struct {
	options
	tools   tools
	scratch string // of this run, removed at its end
	started time.Time
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
	r := Report{Rounds: o.rounds}
	if r.Machine, err = describe(ctx, b.tools, o.dir); err != nil {
		return err
	}
	for _, s := range o.sizes {
		db, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		r.Databases = append(r.Databases, *db)
	}
	b.say("done")
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err = io.WriteString(out, r.Markdown())
	return err
}

// measure takes all figures of one size.
func (b *bench) measure(ctx context.Context, s size) (_ *Database, err error) {
	g, err := b.generated(ctx, s)
	if err != nil {
		return nil, err
	}
	if !b.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(g.dir)) }()
	}
	db := &Database{Name: s.String(), Info: g.Info}
	for _, part := range allParts {
		if !b.parts[part] {
			continue
		}
		if err := b.clear(); err != nil {
			return nil, err
		}
		if err := b.part(part)(ctx, g, db); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
	}
	return db, b.clear()
}

// say where it is: a run takes many minutes.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(b.started).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) took(db *Database, what, how string, s measure.Sample) {
	db.add(what, how, s)
	b.say("%s: %s, %s: %.2f s, %d MB written, %d MB memory", db.Name, what, how, s.Seconds, s.Written/1e6, s.Own/1e6)
}
