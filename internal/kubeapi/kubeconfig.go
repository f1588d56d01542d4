// Package kubeapi asks a kube-apiserver for the few things that the command line needs of it: one object, read and
// patched over plain HTTP. What runs on a node knows no API client (I24), and ceo is one binary.
package kubeapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Kubeconfig is where kubeadm puts the administrator's.
const Kubeconfig = "/etc/kubernetes/admin.conf"

// requestLimit bounds one request.
const requestLimit = 15 * time.Second

// file is what is read of a kubeconfig. Its ways to run a program or to ask a person are not.
type file struct {
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string  `json:"name"`
		Cluster cluster `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User user   `json:"user"`
	} `json:"users"`
}

type cluster struct {
	Server        string `json:"server"`
	TLSServerName string `json:"tls-server-name"`
	CAFile        string `json:"certificate-authority"`
	CAData        []byte `json:"certificate-authority-data"`
	Insecure      bool   `json:"insecure-skip-tls-verify"`
	ProxyURL      string `json:"proxy-url"`
}

type user struct {
	CertFile  string `json:"client-certificate"`
	CertData  []byte `json:"client-certificate-data"`
	KeyFile   string `json:"client-key"`
	KeyData   []byte `json:"client-key-data"`
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`
	Exec      any    `json:"exec"`
}

// Open reads a kubeconfig's current context.
func Open(path string) (*Client, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // a person names it
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w: name another with --kubeconfig", err)
	}
	c, err := parse(raw, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return c, nil
}

func parse(raw []byte, dir string) (*Client, error) {
	var f file
	if err := yaml.Unmarshal(raw, &f); err != nil {
		// The parser's own words may quote a key.
		return nil, errors.New("it is no kubeconfig")
	}
	var cl cluster
	var us user
	found := false
	for _, c := range f.Contexts {
		if c.Name != f.CurrentContext {
			continue
		}
		for _, x := range f.Clusters {
			if x.Name == c.Context.Cluster {
				cl, found = x.Cluster, true
			}
		}
		for _, x := range f.Users {
			if x.Name == c.Context.User {
				us = x.User
			}
		}
	}
	if !found || cl.Server == "" {
		return nil, fmt.Errorf("its current context %q names no cluster", f.CurrentContext)
	}
	base, err := url.Parse(cl.Server)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("server %q is no https address", cl.Server)
	}
	if us.Exec != nil {
		return nil, errors.New("its user runs a program to log in, which ceo does not: use kubeadm's admin.conf, or `kubectl patch etcdcluster cluster`")
	}
	t, token, err := transport(cl, us, dir)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, token: token, http: &http.Client{Transport: t, Timeout: requestLimit, CheckRedirect: func(*http.Request, []*http.Request) error {
		// A redirect would carry the token elsewhere.
		return http.ErrUseLastResponse
	}}}, nil
}

func transport(cl cluster, us user, dir string) (*http.Transport, string, error) {
	data := func(inline []byte, file string) ([]byte, error) {
		if len(inline) > 0 || file == "" {
			return inline, nil
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		return os.ReadFile(file) //nolint:gosec // the kubeconfig names it
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cl.TLSServerName, InsecureSkipVerify: cl.Insecure} //nolint:gosec // as the kubeconfig says
	ca, err := data(cl.CAData, cl.CAFile)
	if err != nil {
		return nil, "", fmt.Errorf("the cluster's CA: %w", err)
	}
	if len(ca) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(ca) {
			return nil, "", errors.New("the cluster's CA holds no certificate")
		}
	}
	cert, err := data(us.CertData, us.CertFile)
	if err != nil {
		return nil, "", fmt.Errorf("the client certificate: %w", err)
	}
	key, err := data(us.KeyData, us.KeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("the client's key: %w", err)
	}
	if len(cert) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, "", fmt.Errorf("the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	token := us.Token
	if token == "" && us.TokenFile != "" {
		raw, err := data(nil, us.TokenFile)
		if err != nil {
			return nil, "", fmt.Errorf("the token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	t := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment}
	if cl.ProxyURL != "" {
		u, err := url.Parse(cl.ProxyURL)
		if err != nil {
			return nil, "", errors.New("its proxy-url is no address")
		}
		t.Proxy = http.ProxyURL(u)
	}
	return t, token, nil
}
