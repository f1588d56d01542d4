package store

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// secrets gives the values that no error may show. It is a function because fmt walks through fields and slices, and of a
// function prints the address.
type secrets func() []string

func secretsOf(c Credentials) secrets {
	var s []string
	add := func(v string) {
		// A value that short is no secret, and to blank it out would make any text unreadable.
		if len(v) < 6 {
			return
		}
		s = append(s, v)
		// Inside a URL, and inside a text that was quoted.
		for _, other := range []string{url.QueryEscape(v), url.PathEscape(v), strings.Trim(fmt.Sprintf("%q", v), `"`)} {
			if other != v {
				s = append(s, other)
			}
		}
	}
	// The access key's id is a name, yet with a time and a signature beside it better not passed around either.
	for _, v := range []string{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.GoogleJSON, c.AzureKey} {
		add(v)
	}
	if sas := strings.TrimPrefix(c.AzureSAS, "?"); sas != "" {
		add(sas)
		if q, err := url.ParseQuery(sas); err == nil {
			add(q.Get("sig"))
		}
	}
	// Of a key file, the parts too: an error shows what a parser stumbled over.
	var file struct {
		PrivateKey   string `json:"private_key"`
		RefreshToken string `json:"refresh_token"`
		ClientSecret string `json:"client_secret"`
	}
	if json.Unmarshal([]byte(c.GoogleJSON), &file) == nil {
		add(file.PrivateKey)
		add(file.RefreshToken)
		add(file.ClientSecret)
	}
	return func() []string { return s }
}

// redact blanks the secrets out.
func (s secrets) redact(text string) string {
	if s == nil {
		return text
	}
	for _, v := range s() {
		text = strings.ReplaceAll(text, v, "[redacted]")
	}
	return text
}
