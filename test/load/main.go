// Command load writes to and watches a cluster while it is broken and mended,
// and says exactly what was acknowledged. The end-to-end suite, the demo and
// the benchmarks run it beside the lab.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Ack is one acknowledged write. Its resourceVersion is the store's revision,
// so a backup's revision says exactly which writes it holds.
type Ack struct {
	N               int       `json:"n"`
	Name            string    `json:"name"`
	Content         string    `json:"content"`
	ResourceVersion int64     `json:"rv"`
	At              time.Time `json:"at"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: load write|watch|dump --kubeconfig FILE [--out FILE], or load history --endpoints URLS --certs DIR --out FILE")
	}
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	kubeconfig := fs.String("kubeconfig", "", "admin kubeconfig")
	out := fs.String("out", "", "file to write to")
	ns := fs.String("namespace", "ceo-load", "namespace of the objects")
	run := fs.String("run", "a", "name of this run: part of each object's name")
	every := fs.Duration("every", 20*time.Millisecond, "pause between writes")
	count := fs.Int("count", 0, "end after so many acknowledged writes; 0: until ended")
	timeout := fs.Duration("timeout", 3*time.Second, "limit of each write")
	size := fs.Int("size", 256, "bytes of content of each object")
	endpoints := fs.String("endpoints", "", "history: client URLs of etcd's members, by commas")
	certs := fs.String("certs", "", "history: folder with ca.crt, client.crt and client.key")
	clients := fs.Int("clients", 6, "history: so many at the same time, each of one member")
	keys := fs.Int("keys", 3, "history: so many keys")
	if err := fs.Parse(os.Args[2:]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if os.Args[1] == "history" {
		r := recorder{endpoints: split(*endpoints), prefix: "/ceo-history/" + *run + "/", clients: *clients, keys: *keys, every: *every, timeout: *timeout}
		if len(r.endpoints) == 0 {
			return errors.New("history: no --endpoints")
		}
		return r.record(ctx, *certs, *out)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	cfg.QPS, cfg.Burst, cfg.Timeout = 1000, 1000, *timeout
	switch os.Args[1] {
	case "write":
		c, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return err
		}
		return write(ctx, c, writer{*ns, *run, *out, *every, *count, *size})
	case "watch":
		cfg.Timeout = 0
		c, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return err
		}
		return watch(ctx, c, *ns, *out)
	case "dump":
		cfg.Timeout = 30 * time.Second
		c, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return err
		}
		return dump(ctx, c, *ns)
	}
	return fmt.Errorf("unknown command %q", os.Args[1])
}

type writer struct {
	ns, run, out string
	every        time.Duration
	count, size  int
}

// write creates objects without pause and records each that was acknowledged,
// before it writes the next.
func write(ctx context.Context, c kubernetes.Interface, w writer) error {
	f, err := os.OpenFile(w.out, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	acked := 0
	for n := 0; ctx.Err() == nil && (w.count == 0 || acked < w.count); n++ {
		if n == 0 {
			_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				n = -1
				pause(ctx, 100*time.Millisecond)
				continue
			}
		}
		name := fmt.Sprintf("%s-%06d", w.run, n)
		content := fmt.Sprintf("%s %s %0*d", name, time.Now().UTC().Format(time.RFC3339Nano), w.size, n)
		cm, err := c.CoreV1().ConfigMaps(w.ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"content": content}}, metav1.CreateOptions{})
		if err == nil {
			rv, perr := strconv.ParseInt(cm.ResourceVersion, 10, 64)
			if perr != nil {
				return perr
			}
			line, merr := json.Marshal(Ack{n, name, content, rv, time.Now().UTC()})
			if merr != nil {
				return merr
			}
			if _, err := f.Write(append(line, '\n')); err != nil {
				return err
			}
			acked++
		}
		pause(ctx, w.every)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// watch keeps an informer and writes what it believes, names and versions, to
// the file, whenever that changes.
func watch(ctx context.Context, c kubernetes.Interface, ns, out string) error {
	f := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace(ns))
	inf := f.Core().V1().ConfigMaps().Informer()
	dirty := make(chan struct{}, 1)
	mark := func() {
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { mark() }, UpdateFunc: func(any, any) { mark() }, DeleteFunc: func(any) { mark() },
	})
	if err != nil {
		return err
	}
	f.Start(ctx.Done())
	defer f.Shutdown()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-dirty:
		}
		var items []Ack
		for _, o := range inf.GetStore().List() {
			if cm, ok := o.(*corev1.ConfigMap); ok {
				items = append(items, ack(cm))
			}
		}
		if err := save(out, items); err != nil {
			return err
		}
		pause(ctx, 200*time.Millisecond)
	}
}

func ack(cm *corev1.ConfigMap) Ack {
	rv, _ := strconv.ParseInt(cm.ResourceVersion, 10, 64) // 0 shows as a difference
	return Ack{Name: cm.Name, Content: cm.Data["content"], ResourceVersion: rv}
}

func save(path string, items []Ack) error {
	sort.Slice(items, func(i, j int) bool { return items[i].Name < items[j].Name })
	b, err := json.Marshal(items)
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// dump prints every object as the API has it now.
func dump(ctx context.Context, c kubernetes.Interface, ns string) error {
	w := bufio.NewWriter(os.Stdout)
	opts := metav1.ListOptions{Limit: 500}
	for {
		l, err := c.CoreV1().ConfigMaps(ns).List(ctx, opts)
		if err != nil {
			return err
		}
		for i := range l.Items {
			line, err := json.Marshal(ack(&l.Items[i]))
			if err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		if opts.Continue = l.Continue; opts.Continue == "" {
			return w.Flush()
		}
	}
}
