package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"clusteretcd.io/ceo/internal/node"
)

// kubeadmNode has kubeadm's leaves as well, which end at the time given.
func kubeadmNode(t testing.TB, notAfter time.Time) (node.Paths, authority) {
	t.Helper()
	p, a := newNode(t)
	for _, l := range Leaves() {
		cert := healthcheckClient()
		cert.Subject.CommonName = l.CommonName
		if l.Serves {
			cert = etcdServer()
			cert.DNSNames = append(cert.DNSNames, "etcd.example.org") // serverCertSANs
		}
		cert.KeyUsage |= x509.KeyUsageKeyEncipherment
		cert.NotAfter = notAfter
		writeLeaf(t, p, l, a.sign(t, cert))
	}
	return p, a
}

func writeLeaf(t testing.TB, p node.Paths, l Leaf, pair Pair) {
	t.Helper()
	for ending, raw := range map[string][]byte{".crt": pair.Cert, ".key": pair.Key} {
		if err := os.WriteFile(leafPath(p, l, ending), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func leafOnDisk(t testing.TB, p node.Paths, l Leaf) *x509.Certificate {
	t.Helper()
	cert, err := readCertificate(leafPath(p, l, ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// P9, P20: when a leaf is issued anew, and what it says then. Each row holds for every one of kubeadm's leaves.
func TestEnsureLeaf(t *testing.T) {
	now := time.Now()
	type row struct {
		change  func(t *testing.T, p node.Paths, a authority, l Leaf)
		life    time.Duration
		after   time.Duration // the clock, from now
		address string
		want    string // "" is left alone
		serving bool   // only those that name hosts
		newKey  bool
		err     string
	}
	for name, r := range map[string]row{
		"good":                        {},
		"P9: two thirds are over":     {after: Lifetime - Lifetime/3 + time.Minute, want: "ends on"},
		"a moment before two thirds":  {after: Lifetime - Lifetime/3 - time.Minute},
		"P9: expired":                 {after: Lifetime + time.Hour, want: "ends on"},
		"a shorter life is asked for": {life: 10 * time.Minute, want: "longer than the 10m"},
		"P20: another address":        {address: "10.9.9.9", want: "does not name 10.9.9.9", serving: true},
		"another CA": {want: "present CA", change: func(t *testing.T, p node.Paths, _ authority, _ Leaf) {
			newAuthority(t, now.AddDate(9, 0, 0)).writeCA(t, p)
		}},
		"key of another":     {want: "is not that of its certificate", change: func(t *testing.T, p node.Paths, a authority, l Leaf) { otherKey(t, p, a, l) }},
		"a torn certificate": {want: "cannot be used", change: func(t *testing.T, p node.Paths, _ authority, l Leaf) { truncate(t, leafPath(p, l, ".crt")) }},
		"no certificate":     {want: "cannot be used", change: func(t *testing.T, p node.Paths, _ authority, l Leaf) { remove(t, leafPath(p, l, ".crt")) }},
		"no key":             {want: "cannot be used", newKey: true, change: func(t *testing.T, p node.Paths, _ authority, l Leaf) { remove(t, leafPath(p, l, ".key")) }},
		"a torn key":         {want: "cannot be used", newKey: true, change: func(t *testing.T, p node.Paths, _ authority, l Leaf) { truncate(t, leafPath(p, l, ".key")) }},
		"neither: kubeadm's to make": {change: func(t *testing.T, p node.Paths, _ authority, l Leaf) {
			remove(t, leafPath(p, l, ".crt"))
			remove(t, leafPath(p, l, ".key"))
		}},
		"no CA key, and it is due":     {after: Lifetime, err: "external CA", change: func(t *testing.T, p node.Paths, _ authority, _ Leaf) { remove(t, filepath.Join(p.EtcdPKI(), "ca.key")) }},
		"no CA key, and nothing to do": {change: func(t *testing.T, p node.Paths, _ authority, _ Leaf) { remove(t, filepath.Join(p.EtcdPKI(), "ca.key")) }},
		"the clock is years behind":    {after: -2 * Lifetime, life: time.Hour, err: "clock"},
	} {
		for _, l := range Leaves() {
			t.Run(name+"/"+l.Name, func(t *testing.T) {
				p, a := kubeadmNode(t, now.Add(Lifetime))
				if r.change != nil {
					r.change(t, p, a, l)
				}
				h := Host{Name: "cp-1", Address: "127.0.0.1", Life: r.life, Now: now.Add(r.after)}
				if r.address != "" {
					h.Address = r.address
				}
				want := r.want
				if r.serving && !l.Serves {
					want = ""
				}
				key, _ := os.ReadFile(leafPath(p, l, ".key"))
				why, err := EnsureLeaf(p, l, h)
				if (err != nil) != (r.err != "") || err != nil && !strings.Contains(err.Error(), r.err) {
					t.Fatalf("error %v, want %q", err, r.err)
				}
				if (want == "") != (why == "") || !strings.Contains(why, want) {
					t.Fatalf("reason %q, want %q", why, want)
				}
				if why == "" {
					return
				}
				checkLeaf(t, p, l, h)
				if same := bytes.Equal(key, readFile(t, leafPath(p, l, ".key"))); same == r.newKey {
					t.Errorf("same key: %v", same)
				}
				if why, err := EnsureLeaf(p, l, h); why != "" || err != nil {
					t.Errorf("not idempotent (I20): %q %v", why, err)
				}
			})
		}
	}
}

// checkLeaf: the pair on disk belongs together, and is what kubeadm would have made, of the CA on disk, for now.
func checkLeaf(t *testing.T, p node.Paths, l Leaf, h Host) {
	t.Helper()
	if _, err := tls.LoadX509KeyPair(leafPath(p, l, ".crt"), leafPath(p, l, ".key")); err != nil {
		t.Fatal(err)
	}
	cert := leafOnDisk(t, p, l)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(readFile(t, filepath.Join(p.EtcdPKI(), "ca.crt")))
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cn := l.CommonName
	var names []string
	if l.Serves {
		usages, cn = append(usages, x509.ExtKeyUsageServerAuth), "cp-1"
		names = []string{"cp-1", "localhost", "127.0.0.1", "::1", h.Address}
	}
	for _, u := range usages {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: h.Now, KeyUsages: []x509.ExtKeyUsage{u}}); err != nil {
			t.Errorf("usage %v: %v", u, err)
		}
	}
	if cert.Subject.CommonName != cn || len(cert.ExtKeyUsage) != len(usages) || cert.IsCA {
		t.Errorf("%v, usages %v, CA %v", cert.Subject, cert.ExtKeyUsage, cert.IsCA)
	}
	if cert.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment {
		t.Errorf("key usage %v", cert.KeyUsage)
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if !l.Serves && len(cert.DNSNames)+len(cert.IPAddresses) > 0 {
		t.Errorf("a client's certificate names hosts: %v %v", cert.DNSNames, cert.IPAddresses)
	}
}

func otherKey(t *testing.T, p node.Paths, a authority, l Leaf) {
	t.Helper()
	if err := os.WriteFile(leafPath(p, l, ".key"), a.sign(t, healthcheckClient()).Key, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 40); err != nil {
		t.Fatal(err)
	}
}

// What a person added to kubeadm's names stays, also after the address changed twice; so do subject and mode.
func TestEnsureLeafKeepsWhatWasThere(t *testing.T) {
	p, _ := kubeadmNode(t, time.Now().Add(Lifetime))
	l := Leaves()[0]
	if err := os.Chmod(leafPath(p, l, ".crt"), 0o640); err != nil { //nolint:gosec // as a person may have set it
		t.Fatal(err)
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
		if _, err := EnsureLeaf(p, l, Host{Name: "cp-1", Address: address, Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	cert := leafOnDisk(t, p, l)
	if !slices.Contains(cert.DNSNames, "etcd.example.org") || mode(t, leafPath(p, l, ".crt")) != 0o640 {
		t.Errorf("names %v, mode %v", cert.DNSNames, mode(t, leafPath(p, l, ".crt")))
	}
	for _, ip := range []string{"10.0.0.1", "10.0.0.2", "127.0.0.1", "::1"} {
		if !slices.ContainsFunc(cert.IPAddresses, net.ParseIP(ip).Equal) {
			t.Errorf("lacks %s: %v", ip, cert.IPAddresses)
		}
	}
}

// A certificate of a CA below etcd's is somebody's own.
func TestEnsureLeafLeavesChains(t *testing.T) {
	p, a := kubeadmNode(t, time.Now().Add(Lifetime))
	below := newAuthority(t, time.Now().Add(Lifetime))
	template := *below.cert
	template.Subject.CommonName, template.SerialNumber = "below", nil
	pair := a.signFor(t, &template, below.key)
	below.cert = leaf(t, pair)
	mine := below.sign(t, healthcheckClient())
	mine.Cert = append(mine.Cert, pair.Cert...)
	l := Leaves()[2]
	writeLeaf(t, p, l, mine)
	if why, err := EnsureLeaf(p, l, Host{Name: "cp-1", Address: "127.0.0.1", Now: time.Now()}); why != "" || err != nil {
		t.Errorf("%q %v", why, err)
	}
}

// The clock of the node was ten years ahead while certificates were issued: once it is right they are valid still, and
// within one look they end when they should.
func TestLeafIssuedWithAClockAhead(t *testing.T) {
	p, _ := kubeadmNode(t, time.Now().Add(Lifetime))
	ahead := Host{Name: "cp-1", Address: "127.0.0.1", Life: time.Hour, Now: time.Now().AddDate(8, 0, 0)}
	right := ahead
	right.Now = time.Now()
	for _, h := range []Host{ahead, right} {
		for _, r := range Renew(p, h) {
			if r.Err != nil {
				t.Fatal(r.Name, r.Err)
			}
		}
		for _, path := range []string{leafPath(p, Leaves()[0], ".crt"), AgentFiles(p).Cert, OperatorFiles(p).Cert} {
			cert, err := readCertificate(path)
			if err != nil {
				t.Fatal(err)
			}
			if time.Now().Before(cert.NotBefore) || h.Now.After(cert.NotAfter) {
				t.Errorf("%s is valid from %v to %v", path, cert.NotBefore, cert.NotAfter)
			}
			if left := cert.NotAfter.Sub(h.Now); left > 2*time.Hour {
				t.Errorf("%s lives %v", path, left)
			}
		}
	}
}

// etcd reads certificate and key one after the other at each handshake. However they are read while leaves are renewed
// all the time, they belong together.
func TestHalfAPairIsNeverSeen(t *testing.T) {
	p, _ := kubeadmNode(t, time.Now().Add(Lifetime))
	l := Leaves()[1]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := tls.LoadX509KeyPair(leafPath(p, l, ".crt"), leafPath(p, l, ".key")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 200 {
		now := time.Now().Add(time.Duration(i) * time.Hour)
		if why, err := EnsureLeaf(p, l, Host{Name: "cp-1", Address: "127.0.0.1", Life: time.Hour, Now: now}); err != nil || why == "" {
			t.Fatalf("%q %v", why, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestCheckEvery(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{0: time.Minute, Lifetime: time.Minute, 10 * time.Minute: 10 * time.Second, time.Minute: 2 * time.Second} {
		if got := CheckEvery(life); got != want {
			t.Errorf("%v: %v, want %v", life, got, want)
		}
	}
}

func TestEnsureOperator(t *testing.T) {
	mine := owner{os.Getuid(), os.Getgid()}
	if os.Getuid() == 0 {
		mine = owner{OperatorUser, OperatorUser}
	}
	defer func(o owner) { operatorOwner = o }(operatorOwner)
	operatorOwner = mine
	p, _ := newNode(t)
	if why, err := EnsureOperator(p, "cp-1", time.Now()); err != nil || why == "" {
		t.Fatalf("%q %v", why, err)
	}
	f := OperatorFiles(p)
	for _, path := range []string{f.Cert, f.Key, f.CA} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode(t, path) != 0o400 || ownerOf(info) != mine {
			t.Errorf("%s: mode %v, owner %v", path, mode(t, path), ownerOf(info))
		}
	}
	if mode(t, p.OperatorPKI()) != 0o700 {
		t.Errorf("folder: mode %v", mode(t, p.OperatorPKI()))
	}
	cfg, err := ServerTLS(p)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ClientTLS(f, "cp-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call(serve(t, cfg), client); err != nil || got != string(Operator) {
		t.Errorf("%q %v", got, err)
	}
	if why, err := EnsureOperator(p, "cp-1", time.Now()); err != nil || why != "" {
		t.Errorf("not idempotent: %q %v", why, err)
	}
	newAuthority(t, time.Now().AddDate(9, 0, 0)).writeCA(t, p)
	if why, err := EnsureOperator(p, "cp-1", time.Now()); err != nil || why == "" {
		t.Errorf("another CA: %q %v", why, err)
	}
	if !bytes.Equal(readFile(t, f.CA), readFile(t, filepath.Join(p.EtcdPKI(), "ca.crt"))) {
		t.Error("the copy of the CA is the former one")
	}
	entries, err := os.ReadDir(p.OperatorPKI())
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
}
