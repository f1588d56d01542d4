package store

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Credentials come from a root-only file (P29), never from flags, and are never printed: no verb of fmt and no slog
// handler shows them. Encoding them (JSON, YAML) does; that is how the file is written. Empty fields fall back to what
// the provider's library finds on the machine (instance roles, environment).
type Credentials struct {
	// S3.
	AccessKeyID     string `json:"accessKeyID,omitempty"`
	SecretAccessKey string `json:"secretAccessKey,omitempty"`
	SessionToken    string `json:"sessionToken,omitempty"`
	// CA is a PEM bundle for an endpoint with a private CA.
	CA string `json:"ca,omitempty"`
	// Google: the service account's key file, inline.
	GoogleJSON string `json:"googleJSON,omitempty"`
	// Azure.
	AzureAccount string `json:"azureAccount,omitempty"`
	AzureKey     string `json:"azureKey,omitempty"`
	AzureSAS     string `json:"azureSAS,omitempty"`
}

// Format keeps them out of every text, whatever the verb. It says which there are: that is what one looks for when
// access is refused.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.summary()) }

// LogValue keeps them out of logs whose handler encodes values by itself.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.summary()) }

// LogValue does so where they are inside a Config.
func (c Config) LogValue() slog.Value {
	where := "a URL that cannot be read"
	if at, err := parse(c.URL); err == nil {
		where = at.String()
	}
	return slog.GroupValue(slog.String("url", where), slog.Any("credentials", c.Credentials), slog.Duration("stallLimit", c.StallLimit))
}

func (c Credentials) summary() string {
	var given []string
	for _, field := range []struct{ name, value string }{
		{"accessKeyID", c.AccessKeyID},
		{"secretAccessKey", c.SecretAccessKey},
		{"sessionToken", c.SessionToken},
		{"ca", c.CA},
		{"googleJSON", c.GoogleJSON},
		{"azureAccount", c.AzureAccount},
		{"azureKey", c.AzureKey},
		{"azureSAS", c.AzureSAS},
	} {
		if field.value != "" {
			given = append(given, field.name)
		}
	}
	if given == nil {
		return "[no credentials]"
	}
	return "[redacted: " + strings.Join(given, ", ") + "]"
}
