package observe

// Doing is what a controller does, or waits for, as the condition Progressing shows it. The zero value is: nothing.
type Doing struct {
	// Active: something is being changed. Otherwise it waits.
	Active bool
	// Reason is one of the API's reasons of Progressing.
	Reason, Message string
}
