package datadir

// SetFaultPoint lets the crash tests stop the process where a crash would hurt most.
func SetFaultPoint(f func(string)) { faultPoint = f }
