package pki

import (
	"crypto/x509"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Info is one certificate file, as status shows it.
type Info struct {
	Path    string
	Subject string
	Issuer  string
	// Role is empty for a certificate that is not meant for agents.
	Role      Role
	CA        bool
	NotBefore time.Time
	NotAfter  time.Time
	// SignedBy is the fingerprint of the CA that signed it, of those that were passed; empty if none did.
	SignedBy string
	// Error says why the file could not be read; then Path alone is set.
	Error string
}

// InspectWith is Inspect that says as well which of the CAs signed each certificate.
func InspectWith(cas []*x509.Certificate, dirs ...string) []Info {
	return inspect(dirs, func(i *Info, cert *x509.Certificate) { i.SignedBy = signerOf(cert, cas) })
}

// Inspect reads every *.crt below the folders. A file that cannot be read is in the answer with its error; a folder that
// is not there has no certificates.
func Inspect(dirs ...string) []Info {
	return inspect(dirs, func(*Info, *x509.Certificate) {})
}

func inspect(dirs []string, also func(*Info, *x509.Certificate)) []Info {
	var infos []Info
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				if path != dir || !isMissing(err) {
					infos = append(infos, Info{Path: path, Error: err.Error()})
				}
			case !entry.IsDir() && strings.HasSuffix(path, ".crt"):
				infos = append(infos, inspectFile(path, also))
			}
			return nil
		})
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Path, b.Path) })
	return infos
}

func inspectFile(path string, also func(*Info, *x509.Certificate)) Info {
	cert, err := readCertificate(path)
	if err != nil {
		return Info{Path: path, Error: err.Error()}
	}
	info := Info{
		Path: path, Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), CA: cert.IsCA,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
	if role, err := RoleOf(cert); err == nil {
		info.Role = role
	}
	also(&info, cert)
	return info
}
