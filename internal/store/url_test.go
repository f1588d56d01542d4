package store

import (
	"strings"
	"testing"
)

func TestParseTakesWhatItGives(t *testing.T) {
	for raw, want := range map[string]place{
		"file:///var/lib/etcd-backup":                             {scheme: "file", path: "/var/lib/etcd-backup"},
		"file:///var//lib/./etcd-backup/":                         {scheme: "file", path: "/var/lib/etcd-backup"},
		"file:///with%20space/per%25cent/%3F%23":                  {scheme: "file", path: "/with space/per%cent/?#"},
		"mem://name":                                              {scheme: "mem", bucket: "name"},
		"mem://name/more x":                                       {scheme: "mem", bucket: "name/more x"},
		"s3://bucket":                                             {scheme: "s3", bucket: "bucket"},
		"S3://bucket/":                                            {scheme: "s3", bucket: "bucket"},
		"s3://bucket/a/b/?region=eu-central-1":                    {scheme: "s3", bucket: "bucket", prefix: "a/b/", region: "eu-central-1"},
		"s3://b?endpoint=https://minio:9000":                      {scheme: "s3", bucket: "b", endpoint: "https://minio:9000"},
		"s3://b?endpoint=https%3A%2F%2Fminio":                     {scheme: "s3", bucket: "b", endpoint: "https://minio"},
		"s3://b?endpoint=https://minio/":                          {scheme: "s3", bucket: "b", endpoint: "https://minio"},
		"s3://b?endpoint=http://127.0.0.1:9000":                   {scheme: "s3", bucket: "b", endpoint: "http://127.0.0.1:9000"},
		"s3://b?endpoint=http://[::1]:9000":                       {scheme: "s3", bucket: "b", endpoint: "http://[::1]:9000"},
		"s3://b?endpoint=http://localhost":                        {scheme: "s3", bucket: "b", endpoint: "http://localhost"},
		"s3://b?endpoint=http://m:1&insecure=1":                   {scheme: "s3", bucket: "b", endpoint: "http://m:1", insecure: true},
		"s3://b/ünï?region=x&endpoint=https://[2001:db8::1]:9000": {scheme: "s3", bucket: "b", prefix: "ünï/", region: "x", endpoint: "https://[2001:db8::1]:9000"},
		"gs://bucket/prefix":                                      {scheme: "gs", bucket: "bucket", prefix: "prefix/"},
		"azblob://container/prefix":                               {scheme: "azblob", bucket: "container", prefix: "prefix/"},
	} {
		got, err := parse(raw)
		if err != nil || got != want {
			t.Errorf("parse(%q) = %+v, %v; want %+v", raw, got, err, want)
			continue
		}
		if again, err := parse(got.String()); err != nil || again != want {
			t.Errorf("%q became %q, which is %+v, %v", raw, got, again, err)
		}
	}
}

// P29: what could be a password is not in the error, which ends up in logs.
func TestParseSaysWhatIsWrong(t *testing.T) {
	const secret = "hunter2hunter2"
	for raw, want := range map[string]string{
		"":                                 "empty",
		"/var/lib/etcd-backup":             "write file:///var/lib/etcd-backup",
		"bucket/prefix":                    "no scheme",
		"ftp://host/x":                     `no store for the scheme "ftp"`,
		"s3://bu cket" + secret:            "cannot be parsed",
		"s3://key:" + secret + "@bucket":   "credentials file",
		"https://key:" + secret + "@b":     "credentials file",
		"file:///a#b":                      "write %23",
		"file:///a#":                       "write %23",
		"file://etc/backup":                "three slashes",
		"file:relative":                    "relative",
		"file://":                          "names no folder",
		"file:///":                         "root of the file system",
		"file:///a/../etc":                 "..",
		"file:///a?x=1":                    "no parameters",
		"mem://":                           "has a name",
		"mem://a?b=c":                      "has a name",
		"s3:bucket":                        "names no bucket",
		"s3:///prefix":                     "names no bucket",
		"azblob:///x":                      "names no container",
		"s3://minio:9000/bucket":           "endpoint=https://minio:9000",
		"s3://b/a//c":                      "two in a row",
		"s3://b/../c":                      "..",
		"s3://b?region=a;b":                "cannot be parsed",
		"s3://b?region=":                   "needs one value",
		"s3://b?region=a&region=b":         "needs one value",
		"s3://b?region=eu%20central":       "region",
		"s3://b?what=1":                    "unknown parameter",
		"s3://b?accessKey=" + secret:       "looks like a credential",
		"s3://b?X-Amz-Signature=" + secret: "looks like a credential",
		"azblob://c?sig=" + secret:         "looks like a credential",
		"azblob://c?sv=2024":               "takes no parameters",
		"gs://b?region=x":                  "takes no parameters",
		"s3://b?insecure=true":             "needs an endpoint",
		"s3://b?endpoint=https://m&insecure=perhaps":         "true or false",
		"s3://b?endpoint=minio:9000":                         "endpoint=https://host:port",
		"s3://b?endpoint=https://":                           "endpoint=https://host:port",
		"s3://b?endpoint=ftp://m":                            `scheme is "ftp"`,
		"s3://b?endpoint=http://m:9000":                      "not encrypted",
		"s3://b?endpoint=http://m:9000&insecure=false":       "not encrypted",
		"s3://b?endpoint=https://m/path":                     "more than a host and port",
		"s3://b?endpoint=https://k:" + secret + "@m":         "credentials file",
		"s3://b?endpoint=https://m%3Fsecret%3D" + secret:     "more than a host and port",
		"s3://b?endpoint=http://127.0.0.1.evil.example:9000": "not encrypted",
	} {
		_, err := parse(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q): %v; want it to say %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("parse(%q) shows the secret: %v", raw, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"s3://b/p?region=r&endpoint=https://h:1", "file:///a%2e/b", "mem://a", "azblob://c/%2F", "s3://b?endpoint=http://127.0.0.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		at, err := parse(raw)
		if err != nil {
			return
		}
		// What it made of it leads to the same place.
		again, err := parse(at.String())
		if err != nil || again != at {
			t.Fatalf("%q is %+v, its own %q is %+v, %v", raw, at, at, again, err)
		}
	})
}
