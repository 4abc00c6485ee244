package nodes

// Process is what is needed to recognise an operating system process: a PID alone may mean another one
// after a while, and anything on another machine or in another container.
type Process struct {
	PID int `json:"pid"`
	// StartTime is when it began, in clock ticks since the boot of its machine.
	StartTime uint64 `json:"start-time"`
	// Namespace is the machine's boot and PID namespace that PID belongs to, empty if unknown.
	Namespace string `json:"namespace"`
}

// Here reports whether p's PID means something to this process.
func (p Process) Here() bool {
	return p.PID > 0 && p.StartTime > 0 && p.Namespace != "" && p.Namespace == Self().Namespace
}
