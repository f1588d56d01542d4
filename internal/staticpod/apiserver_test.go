package staticpod

import "testing"

func TestElsewhere(t *testing.T) {
	for url, want := range map[string]bool{
		"https://127.0.0.1:2379": false, "https://127.9.0.1:2379": false, "https://[::1]:2379": false, "https://localhost:2379": false, "https://192.0.2.12:2379": false,
		"": false, "https://192.0.2.10:2379": true, "https://etcd.example:2379": true, "https://[2001:db8::1]:2379": true,
	} {
		if got := Elsewhere([]string{"https://127.0.0.1:2379", url}, "192.0.2.12"); got != want {
			t.Errorf("%s: %t", url, got)
		}
	}
	if Elsewhere(nil, "192.0.2.12") {
		t.Error("no server is elsewhere")
	}
}
