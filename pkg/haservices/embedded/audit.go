package embedded

import (
	"fmt"
	"slices"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices"
)

// Record is one line of the audit: a term that began, or a write that reached the cluster.
type Record struct {
	At        time.Time
	Process   string
	Component haservices.Component
	// Epoch of the term that wrote, or that began.
	Epoch uint64
	// Operation is lead for the beginning of a term, else that of the Call.
	Operation string
	Path      string
	// Err is nil for a write that was accepted.
	Err error
}

// record needs c.mu.
func (c *Cluster) record(r Record) {
	r.At = time.Now()
	c.audit = append(c.audit, r)
}

// recordWrite needs c.mu.
func (c *Cluster) recordWrite(t *Term, operation, path string, err error) {
	c.record(Record{
		Process: t.driver.name, Component: t.component, Epoch: t.token.Epoch(), Operation: operation, Path: path, Err: err,
	})
}

// Audit returns all records so far, in the order in which the cluster took them.
func (c *Cluster) Audit() []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.audit)
}

// CheckAudit returns an error for the first record that breaks the fence: an epoch that did not rise, or
// a write that was accepted from an epoch when a higher one had begun.
func CheckAudit(records []Record) error {
	latest := map[haservices.Component]uint64{}
	for i, r := range records {
		switch {
		case r.Operation == "lead" && r.Epoch <= latest[r.Component]:
			return fmt.Errorf("audit record %d: %s of %s began epoch %d after epoch %d", i, r.Process, r.Component, r.Epoch, latest[r.Component])
		case r.Operation == "lead":
			latest[r.Component] = r.Epoch
		case r.Err == nil && r.Epoch != latest[r.Component]:
			return fmt.Errorf("audit record %d: %s of %s by %s was accepted from epoch %d, the latest is %d",
				i, r.Operation, r.Path, r.Process, r.Epoch, latest[r.Component])
		}
	}
	return nil
}

// Nodes returns the paths and data of all nodes, for tests to look at from outside.
func (c *Cluster) Nodes() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes.All()
}

// Peek returns the data of one node, for tests to look at from outside.
func (c *Cluster) Peek(path string) (data string, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.nodes.Read(path)
	return string(n.Data), err == nil
}

// Epoch returns the latest epoch of a component, 0 if nobody has led it.
func (c *Cluster) Epoch(component haservices.Component) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.election(component).epoch
}
