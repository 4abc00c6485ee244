// Command taskmanager is one TaskManager process: it offers slots and runs a process of the job's own
// binary for each job that has tasks in them.
package main

import (
	"github.com/tamias-project/tamias/internal/daemon"
	"github.com/tamias-project/tamias/pkg/entrypoint"
)

func main() {
	daemon.Program{
		Name:       "taskmanager",
		Short:      "A TaskManager of a Tamias cluster",
		Version:    entrypoint.Version,
		Run:        entrypoint.RunTaskManager,
		ErrStartup: entrypoint.ErrStartup,
		Fatal:      1,
	}.Main()
}
