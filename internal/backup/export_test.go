package backup

import "encoding/json"

// Remade decodes a manifest whose digest somebody made anew.
func Remade(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return m, err
	}
	b, err := m.Encode()
	if err != nil {
		return m, err
	}
	return DecodeManifest(b)
}
