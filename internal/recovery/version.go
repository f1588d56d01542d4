package recovery

import (
	"fmt"
	"strconv"
	"strings"
)

// versionProblem compares the etcd that will serve with the storage version of
// the data (I22, P30): data of a newer minor version is never given to an older
// etcd. A version that is not known is not a problem: 3.5 writes none.
func versionProblem(etcdVersion, storageVersion string) string {
	e, ok1 := minor(etcdVersion)
	s, ok2 := minor(storageVersion)
	if !ok1 || !ok2 || e >= s {
		return ""
	}
	return fmt.Sprintf("the snapshot's storage version is %s and etcd here is %s: an older etcd must not serve newer data (I22); put an etcd image of at least %s into the manifest first", storageVersion, etcdVersion, storageVersion)
}

func minor(v string) (int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	m, err2 := strconv.Atoi(parts[1])
	return major*1000 + m, err1 == nil && err2 == nil
}

// Bytes prints a size as people read it.
func Bytes(n uint64) string {
	const k = 1024
	switch {
	case n < k:
		return fmt.Sprintf("%d B", n)
	case n < k*k:
		return fmt.Sprintf("%.0f KiB", float64(n)/k)
	case n < k*k*k:
		return fmt.Sprintf("%.0f MiB", float64(n)/(k*k))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(k*k*k))
}
