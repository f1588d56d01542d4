package kubeapi

import "testing"

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://10.0.0.11:6443":    "https://10.0.0.11:6443",
		"https://fd00::11:6443":     "https://[fd00::11]:6443",
		"https://[fd00::11]:6443":   "https://[fd00::11]:6443",
		"https://api.example:6443":  "https://api.example:6443",
		"https://api.example":       "https://api.example",
		"https://2001:db8::1:a:443": "https://[2001:db8::1:a]:443",
	} {
		if got := ServerURL(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
