package render

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"clusteretcd.io/ceo/internal/node"
	"clusteretcd.io/ceo/internal/pki"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // a fixed name
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and look at the change:\n%s", name, got)
	}
}

func first() Options {
	return Options{
		Name: "cp-1", Address: "192.0.2.11", ClusterName: "prod", EtcdImage: "registry.k8s.io/etcd:3.7.0-0", CeoImage: "clusteretcd.io/ceo:v1",
		Now: time.Now(),
	}
}

func joining() Options {
	o := first()
	o.Name, o.Address, o.Peers = "cp-2", "192.0.2.12", Peers(map[string]string{"cp-1": "192.0.2.11"})
	return o
}

func render(t *testing.T, o Options, have Have) []File {
	t.Helper()
	files, err := Render(o, have, "")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func haveOf(files []File) Have {
	have := Have{}
	for _, f := range files {
		have[f.Path] = f.Data
	}
	return have
}

func listing(files []File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%04o %6d %s\n", f.Mode, f.Owner, f.Path)
	}
	return b.Bytes()
}

func TestFilesAndTheirContent(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		have Have
	}{
		{"first", first(), nil},
		{"joins", joining(), caOf(render(t, first(), nil))},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := render(t, c.o, c.have)
			golden(t, c.name+".files.golden", listing(files))
			for _, f := range files {
				switch {
				case strings.HasSuffix(f.Path, ".crt"):
				case strings.HasSuffix(f.Path, ".key"):
					if f.Mode&0o077 != 0 {
						t.Errorf("%s has mode %o", f.Path, f.Mode)
					}
				default:
					name := strings.ReplaceAll(strings.TrimPrefix(f.Path, "/"), "/", "_")
					golden(t, c.name+"."+name+".golden", f.Data)
				}
			}
			golden(t, c.name+".next.golden", []byte(Next(c.o, "/")))
		})
	}
}

func caOf(files []File) Have {
	have := haveOf(files)
	out := Have{}
	for _, f := range []string{"/etc/kubernetes/pki/etcd/ca.crt", "/etc/kubernetes/pki/etcd/ca.key"} {
		out[f] = have[f]
	}
	return out
}

// A client of etcd's is verified by the CA, names what kubeadm would, and roles never get etcd's client usage.
func TestCertificates(t *testing.T) {
	have := haveOf(render(t, first(), nil))
	ca, err := pki.ParseCertificate(have["/etc/kubernetes/pki/etcd/ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	for path, want := range map[string]struct {
		name   string
		usages []x509.ExtKeyUsage
		serves bool
	}{
		"/etc/kubernetes/pki/etcd/server.crt":             {"cp-1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, true},
		"/etc/kubernetes/pki/etcd/peer.crt":               {"cp-1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, true},
		"/etc/kubernetes/pki/etcd/healthcheck-client.crt": {"kube-etcd-healthcheck-client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, false},
		"/etc/kubernetes/pki/apiserver-etcd-client.crt":   {"kube-apiserver-etcd-client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, false},
		"/var/lib/ceo/pki/agent.crt":                      {"ceo-agent:cp-1", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, true},
		"/var/lib/ceo/pki/admin.crt":                      {"ceo-admin:cp-1", nil, false},
		"/var/lib/ceo/operator/operator.crt":              {"ceo-operator:cp-1", nil, false},
	} {
		cert, err := pki.ParseCertificate(have[path])
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if cert.Subject.CommonName != want.name || fmt.Sprint(cert.ExtKeyUsage) != fmt.Sprint(want.usages) {
			t.Errorf("%s: %s %v, want %s %v", path, cert.Subject, cert.ExtKeyUsage, want.name, want.usages)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, host := range []string{"cp-1", "localhost", "127.0.0.1", "::1", "192.0.2.11"} {
			if got := cert.VerifyHostname(host) == nil; got != want.serves {
				t.Errorf("%s: names %s: %v", path, host, got)
			}
		}
	}
}

// I20: an interrupted run, after any number of files, is gone on with: no key is made twice, nothing is in conflict.
func TestI20InterruptedGoesOn(t *testing.T) {
	whole := render(t, first(), nil)
	for n := range len(whole) + 1 {
		have := haveOf(whole[:n])
		again := render(t, first(), have)
		for path, data := range have {
			if got := haveOf(again)[path]; got != nil && !bytes.Equal(got, data) {
				t.Errorf("after %d files, %s is another", n, path)
			}
		}
		if last := again[len(again)-1].Path; last != etcdManifest() {
			t.Errorf("after %d files, the last is %s", n, last)
		}
	}
}

// P25, I3: the permission to begin a cluster is given once: never beside a manifest that is in place, never where it was
// used, never on a node that joins or that knows of a cluster.
func TestP25OnePermission(t *testing.T) {
	used, err := asJSON(node.Intent{})
	if err != nil {
		t.Fatal(err)
	}
	permits := func(files []File) bool {
		return bytes.Contains(haveOf(files)[on.Intent()], []byte(`"bootstrapOnce": true`))
	}
	whole := render(t, first(), nil)
	if !permits(whole) {
		t.Fatal("a first node has no permission")
	}
	t.Run("used, all is in place", func(t *testing.T) {
		have := haveOf(whole)
		have[on.Intent()] = used
		for _, gone := range []bool{false, true} {
			if gone {
				delete(have, on.Intent())
			}
			files, err := Render(first(), have, "member")
			if err != nil || permits(files) {
				t.Errorf("gone=%v: %v, %v", gone, err, permits(files))
			}
		}
	})
	for _, c := range []struct {
		name   string
		o      Options
		data   string
		change func(Have)
		says   string
	}{
		{"used, and the manifest is gone", first(), "", func(h Have) { delete(h, etcdManifest()); h[on.Intent()] = used }, on.Intent()},
		{"data, and no manifest", first(), "member", func(h Have) { delete(h, etcdManifest()) }, "cluster's data"},
		{"a cluster is known", first(), "", func(h Have) {
			delete(h, etcdManifest())
			var c node.Config
			if err := json.Unmarshal(h[on.Config()], &c); err != nil {
				t.Fatal(err)
			}
			c.Lineage = node.Lineage{{Epoch: 0, ClusterID: "0000000000000001"}}
			h[on.Config()], _ = asJSON(c)
		}, "knows of a cluster"},
		{"joins, where one was permitted", func() Options {
			o := first()
			o.Peers = joining().Peers
			o.Peers[0].Name = "cp-9"
			o.Peers[0].Address = "192.0.2.19"
			return o
		}(), "", func(h Have) { delete(h, on.Config()) }, "permits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := haveOf(whole)
			c.change(have)
			files, err := Render(c.o, have, c.data)
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %d files", err, len(files))
			}
		})
	}
}

func TestRefusedAndWrong(t *testing.T) {
	whole := haveOf(render(t, first(), nil))
	other := haveOf(render(t, first(), nil))
	for _, c := range []struct {
		name string
		o    func(*Options)
		have Have
		says string
	}{
		{"no address", func(o *Options) { o.Address = "cp-1" }, nil, "--address"},
		{"loopback", func(o *Options) { o.Address = "127.0.0.1" }, nil, "--address"},
		{"a name that ends in YAML", func(o *Options) { o.Name = "a\nb" }, nil, "--name"},
		{"a cluster that ends in YAML", func(o *Options) { o.ClusterName = "a: {b" }, nil, "--cluster-name"},
		{"an etcd of 3.5", func(o *Options) { o.EtcdImage = "registry.k8s.io/etcd:3.5.24-0" }, nil, "3.6 or newer"},
		{"an image without version", func(o *Options) { o.EtcdImage = "registry.k8s.io/etcd:latest" }, nil, "--etcd-image"},
		{"its own peer", func(o *Options) { o.Peers = Peers(map[string]string{"cp-1": "192.0.2.12"}) }, nil, "no peer of itself"},
		{"joins without the CA", func(o *Options) { *o = joining(); o.Now = time.Now() }, nil, "copy them from cp-1"},
		{"a CA without its key", nil, Have{"/etc/kubernetes/pki/etcd/ca.crt": whole["/etc/kubernetes/pki/etcd/ca.crt"]}, "without ca.key"},
		{"a leaf of another CA", nil, Have{
			"/etc/kubernetes/pki/etcd/ca.crt": other["/etc/kubernetes/pki/etcd/ca.crt"], "/etc/kubernetes/pki/etcd/ca.key": other["/etc/kubernetes/pki/etcd/ca.key"],
			"/etc/kubernetes/pki/etcd/server.crt": whole["/etc/kubernetes/pki/etcd/server.crt"], "/etc/kubernetes/pki/etcd/server.key": whole["/etc/kubernetes/pki/etcd/server.key"],
		}, "did not sign it"},
		{"P20: another address", func(o *Options) { o.Address = "192.0.2.99" }, whole, "does not name 192.0.2.99"},
		{"a changed manifest", nil, func() Have {
			h := haveOf(render(t, first(), nil))
			h[etcdManifest()] = append(bytes.Clone(h[etcdManifest()]), '\n')
			return h
		}(), etcdManifest()},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := first()
			if c.o != nil {
				c.o(&o)
			}
			_, err := Render(o, c.have, "")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Error("a key is in the error")
			}
		})
	}
}

// Whatever subset of the files is there, nothing that is there would be replaced by something else without an error.
func TestNothingIsReplaced(t *testing.T) {
	whole, other := render(t, first(), nil), haveOf(render(t, first(), nil))
	rapid.Check(t, func(t *rapid.T) {
		have := Have{}
		for _, f := range whole {
			switch rapid.IntRange(0, 3).Draw(t, f.Path) {
			case 0, 1:
				have[f.Path] = f.Data
			case 2:
				have[f.Path] = other[f.Path]
			}
		}
		files, err := Render(first(), have, "")
		if err != nil {
			return
		}
		for _, f := range files {
			if data, ok := have[f.Path]; ok && !bytes.Equal(data, f.Data) {
				t.Fatalf("%s would be another", f.Path)
			}
		}
	})
}
