// Package kubeapi speaks the few words of the Kubernetes API that the command line and the installer need: read one
// object or a list, merge fields, apply. What runs on a node carries no API client (I24), and ceo is one binary, so these
// are plain HTTPS requests.
package kubeapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
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

// requestLimit bounds each request, with its answer.
const requestLimit = 15 * time.Second

// accountDir is where a Pod finds its ServiceAccount's token and the CA.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// kubeconfig is as much of one as is used here. Its ways to run a program or to ask a person are known only to be refused.
type kubeconfig struct {
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
	Server                   string `json:"server"`
	CertificateAuthority     string `json:"certificate-authority"`
	CertificateAuthorityData string `json:"certificate-authority-data"`
	TLSServerName            string `json:"tls-server-name"`
	InsecureSkipTLSVerify    bool   `json:"insecure-skip-tls-verify"`
	ProxyURL                 string `json:"proxy-url"`
}

type user struct {
	ClientCertificate     string `json:"client-certificate"`
	ClientCertificateData string `json:"client-certificate-data"`
	ClientKey             string `json:"client-key"`
	ClientKeyData         string `json:"client-key-data"`
	Token                 string `json:"token"`
	TokenFile             string `json:"tokenFile"`
	Exec                  any    `json:"exec"`
	AuthProvider          any    `json:"auth-provider"`
}

// Open reads a kubeconfig's current context.
func Open(path string) (*Client, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the file that the person named
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig: %w: name another with --kubeconfig", err)
	}
	var k kubeconfig
	if yaml.Unmarshal(raw, &k) != nil {
		// The parser's own words may quote a key.
		return nil, fmt.Errorf("%s is no kubeconfig: name another with --kubeconfig", path)
	}
	c, u, err := k.current()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	client, err := newClient(c, u, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return client, nil
}

func (k kubeconfig) current() (cluster, user, error) {
	for _, x := range k.Contexts {
		if x.Name != k.CurrentContext {
			continue
		}
		var c *cluster
		for i := range k.Clusters {
			if k.Clusters[i].Name == x.Context.Cluster {
				c = &k.Clusters[i].Cluster
			}
		}
		if c == nil {
			return cluster{}, user{}, fmt.Errorf("its context %q names the cluster %q, which is not in it", x.Name, x.Context.Cluster)
		}
		for _, u := range k.Users {
			if u.Name == x.Context.User {
				return *c, u.User, nil
			}
		}
		return cluster{}, user{}, fmt.Errorf("its context %q names the user %q, who is not in it", x.Name, x.Context.User)
	}
	return cluster{}, user{}, fmt.Errorf("its current context %q is not in it", k.CurrentContext)
}

// InPod is the client of a Pod's ServiceAccount, at the API server that is named.
func InPod(server string) (*Client, error) {
	return newClient(
		cluster{Server: ServerURL(server), CertificateAuthority: filepath.Join(accountDir, "ca.crt")},
		user{TokenFile: filepath.Join(accountDir, "token")}, accountDir)
}

func newClient(c cluster, u user, dir string) (*Client, error) {
	switch base, err := url.Parse(c.Server); {
	case u.Exec != nil || u.AuthProvider != nil:
		return nil, errors.New("its user logs in with a plugin, which ceo does not run: use kubeadm's /etc/kubernetes/admin.conf; " +
			"or do it with kubectl: `ceo install | kubectl apply --server-side -f -`, `kubectl patch etcdcluster cluster`")
	case c.InsecureSkipTLSVerify:
		return nil, errors.New("it says insecure-skip-tls-verify: name the certificate authority in it")
	case err != nil || base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("its server %q is no address that begins with https://", c.Server)
	}
	transport, err := newTransport(c, u, dir)
	if err != nil {
		return nil, err
	}
	token := tokenOf(u, dir)
	if _, err := token(); err != nil {
		return nil, err
	}
	return &Client{
		host: strings.TrimSuffix(c.Server, "/"), token: token,
		http: &http.Client{Timeout: requestLimit, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			// A redirect would carry the token elsewhere.
			return http.ErrUseLastResponse
		}},
	}, nil
}

func newTransport(c cluster, u user, dir string) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLSServerName}
	ca, err := data(c.CertificateAuthorityData, c.CertificateAuthority, dir)
	if err != nil {
		return nil, fmt.Errorf("the certificate authority: %w", err)
	}
	if ca != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("the certificate authority holds no certificate")
		}
	}
	cert, err := data(u.ClientCertificateData, u.ClientCertificate, dir)
	if err != nil {
		return nil, fmt.Errorf("the client's certificate: %w", err)
	}
	key, err := data(u.ClientKeyData, u.ClientKey, dir)
	if err != nil {
		return nil, fmt.Errorf("the client's key: %w", err)
	}
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	t := &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: requestLimit, ForceAttemptHTTP2: true}
	if c.ProxyURL != "" {
		p, err := url.Parse(c.ProxyURL)
		if err != nil || p.Host == "" {
			// Not quoted: it may hold a password.
			return nil, errors.New("its proxy-url is no address")
		}
		t.Proxy = http.ProxyURL(p)
	}
	return t, nil
}

// tokenOf reads a token's file at each request: the kubelet replaces it before it runs out.
func tokenOf(u user, dir string) func() (string, error) {
	return func() (string, error) {
		if u.Token != "" || u.TokenFile == "" {
			return u.Token, nil
		}
		raw, err := os.ReadFile(within(dir, u.TokenFile))
		if err != nil {
			return "", fmt.Errorf("the token for the API server: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
}

func data(inline, path, dir string) ([]byte, error) {
	switch {
	case inline != "":
		return base64.StdEncoding.DecodeString(inline)
	case path != "":
		return os.ReadFile(within(dir, path))
	}
	return nil, nil
}

// within resolves a path as kubectl does: from the folder of the kubeconfig.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
