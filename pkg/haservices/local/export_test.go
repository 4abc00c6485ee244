package local

// Abandon ends the driver as the kernel ends a process: locks are free, nothing is tidied up, nobody is
// told.
func (d *Driver) Abandon() {
	for _, t := range d.member.End() {
		t.mu.Lock()
		if t.lock != nil {
			t.lock.Close()
			t.lock = nil
			close(t.lost)
		}
		t.mu.Unlock()
	}
}
