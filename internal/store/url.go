package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// place is a store's URL, taken apart and checked.
type place struct {
	scheme string
	path   string // file: an absolute, clean path
	bucket string // or container; mem: its name
	prefix string // empty, or ends with a slash
	// s3 only.
	region   string
	endpoint string
	insecure bool
}

const wanted = "write file:///path, s3://bucket/prefix?region=…&endpoint=https://host:port, gs://bucket/prefix, azblob://container/prefix"

// parse reads a store's URL. Its errors never show what could be a password: neither user info nor a parameter's value.
func parse(raw string) (place, error) {
	if raw == "" {
		return place{}, errors.New("the store's URL is empty; " + wanted)
	}
	scheme, _, ok := strings.Cut(raw, ":")
	if !ok || strings.Contains(scheme, "/") {
		if path.IsAbs(raw) {
			return place{}, fmt.Errorf("the store's URL has no scheme; for a folder write file://%s", path.Clean(raw))
		}
		return place{}, errors.New("the store's URL has no scheme; " + wanted)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's own error quotes the URL.
		return place{}, fmt.Errorf("the store's URL, which begins with %q, cannot be parsed; %s", scheme+":", wanted)
	}
	if u.User != nil {
		return place{}, errors.New("the store's URL has credentials in it; they belong in the credentials file, where no process list and no log shows them")
	}
	if u.Fragment != "" || strings.HasSuffix(raw, "#") {
		return place{}, errors.New("the store's URL has a # in it; write %23 where it is part of a name")
	}
	switch u.Scheme {
	case "file":
		return parseFile(u)
	case "mem":
		if u.Host == "" || u.RawQuery != "" {
			return place{}, errors.New("a store in memory has a name and nothing else; write mem://name")
		}
		return place{scheme: "mem", bucket: u.Host + u.Path}, nil
	case "s3", "gs", "azblob":
		return parseBucket(u)
	}
	return place{}, fmt.Errorf("there is no store for the scheme %q; %s", u.Scheme, wanted)
}

// Scheme of a store's URL, or what is wrong with it.
func Scheme(raw string) (string, error) {
	at, err := parse(raw)
	return at.scheme, err
}

func parseFile(u *url.URL) (place, error) {
	switch {
	case u.RawQuery != "" || u.ForceQuery:
		return place{}, errors.New("a file:// URL takes no parameters; write %3F where a question mark is part of the path")
	case u.Opaque != "":
		return place{}, fmt.Errorf("the path %q is relative; write file:/// and the absolute path", u.Opaque)
	case u.Host != "":
		return place{}, fmt.Errorf("file://%s%s names the host %q, not a path; write file:///%s%s (three slashes)", u.Host, u.Path, u.Host, u.Host, u.Path)
	case u.Path == "":
		return place{}, errors.New("file:// names no folder; write file:///path")
	case slices.Contains(strings.Split(u.Path, "/"), ".."):
		return place{}, fmt.Errorf("the path %q has .. in it; write it without: file://%s", u.Path, path.Clean(u.Path))
	case path.Clean(u.Path) == "/":
		return place{}, errors.New("file:/// is the root of the file system; name a folder: file:///path")
	}
	return place{scheme: "file", path: path.Clean(u.Path)}, nil
}

func parseBucket(u *url.URL) (place, error) {
	at := place{scheme: u.Scheme, bucket: u.Hostname()}
	kind := "bucket"
	if u.Scheme == "azblob" {
		kind = "container"
	}
	if u.Opaque != "" || at.bucket == "" {
		return place{}, fmt.Errorf("the %s URL names no %s; write %s://%s/prefix", u.Scheme, kind, u.Scheme, kind)
	}
	if u.Port() != "" {
		return place{}, fmt.Errorf("%s is a host and port, not a %s; write %s://%s?endpoint=https://%s", u.Host, kind, u.Scheme, kind, u.Host)
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		if err := ValidKey(prefix); err != nil {
			return place{}, fmt.Errorf("the prefix in the %s URL: %w", u.Scheme, err)
		}
		at.prefix = prefix + "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return place{}, fmt.Errorf("the parameters of the %s URL cannot be parsed; write ?name=value&name=value", u.Scheme)
	}
	for name, values := range query {
		if err := at.set(name, values); err != nil {
			return place{}, err
		}
	}
	return at, at.checkEndpoint()
}

// set takes one parameter.
func (at *place) set(name string, values []string) error {
	low := strings.ToLower(name)
	for _, word := range []string{"key", "secret", "token", "password", "sas", "sig", "credential"} {
		if strings.Contains(low, word) {
			return fmt.Errorf("the parameter %q of the store's URL looks like a credential; it belongs in the credentials file", name)
		}
	}
	if at.scheme != "s3" {
		return fmt.Errorf("the %s URL takes no parameters, and has %q", at.scheme, name)
	}
	if len(values) != 1 || values[0] == "" {
		return fmt.Errorf("the parameter %q of the store's URL needs one value", name)
	}
	value := values[0]
	switch name {
	case "region":
		if strings.ContainsFunc(value, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		}) {
			return errors.New("the region in the store's URL is not one; write ?region=eu-central-1")
		}
		at.region = value
	case "endpoint":
		at.endpoint = value
	case "insecure":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("the parameter \"insecure\" of the store's URL is true or false")
		}
		at.insecure = b
	default:
		return fmt.Errorf("the s3 URL has an unknown parameter %q; region, endpoint and insecure are known", name)
	}
	return nil
}

// checkEndpoint brings the endpoint into the form scheme://host:port. Unencrypted is only what never leaves the machine,
// or what a person spelled out: a backup holds the CA's keys, and a signature does not hide what it signs.
func (at *place) checkEndpoint() error {
	if at.endpoint == "" {
		if at.insecure {
			return errors.New("insecure=true needs an endpoint; write ?endpoint=http://host:port&insecure=true")
		}
		return nil
	}
	u, err := url.Parse(at.endpoint)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return errors.New("the endpoint in the store's URL is not one; write ?endpoint=https://host:port")
	}
	switch {
	case u.User != nil:
		return errors.New("the endpoint has credentials in it; they belong in the credentials file")
	case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("the endpoint has more than a host and port; write ?endpoint=%s://%s", u.Scheme, u.Host)
	case u.Scheme == "http" && !at.insecure && !loopback(u.Hostname()):
		return fmt.Errorf("the endpoint http://%s is not encrypted; write https://, or add insecure=true if the network is trusted", u.Host)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the endpoint's scheme is %q; write ?endpoint=https://host:port", u.Scheme)
	}
	at.endpoint = u.Scheme + "://" + u.Host
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String gives the URL again. What parse made of it opens the same place.
func (at place) String() string {
	if at.scheme == "file" {
		return (&url.URL{Scheme: "file", Path: at.path}).String()
	}
	u := url.URL{Scheme: at.scheme, Host: at.bucket}
	if at.scheme == "mem" {
		name, rest, ok := strings.Cut(at.bucket, "/")
		if u.Host = name; ok {
			u.Path = "/" + rest
		}
	}
	if at.prefix != "" {
		u.Path = "/" + strings.TrimSuffix(at.prefix, "/")
	}
	s := u.String()
	sep := "?"
	for _, p := range [][2]string{{"region", at.region}, {"endpoint", at.endpoint}} {
		if p[1] != "" {
			s += sep + p[0] + "=" + p[1]
			sep = "&"
		}
	}
	if at.insecure {
		s += sep + "insecure=true"
	}
	return s
}
