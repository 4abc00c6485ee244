// Command jobmanager is one JobManager process: REST endpoint, ResourceManager and Dispatcher, and a
// JobMaster for each job. Several of them form a highly available cluster.
package main

import (
	"github.com/tamias-project/tamias/internal/daemon"
	"github.com/tamias-project/tamias/pkg/entrypoint"
)

func main() {
	daemon.Program{
		Name:       "jobmanager",
		Short:      "A JobManager of a Tamias cluster",
		Version:    entrypoint.Version,
		Run:        entrypoint.RunJobManager,
		ErrStartup: entrypoint.ErrStartup,
		Fatal:      2,
	}.Main()
}
