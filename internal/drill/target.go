package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/tamias-project/tamias/pkg/haservices"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// process is a process of the cluster. Signals to one that has ended do nothing. localcluster.Process is one.
type process interface {
	PID() int
	Kill()
	Terminate()
	Freeze()
	Thaw()
	Alive() bool
	// WaitContext reports whether the process ended before ctx did.
	WaitContext(ctx context.Context) bool
}

// target is the cluster that is drilled. Its processes all run on this machine.
type target interface {
	// describe is for people.
	describe() string
	// configDir is what the tamias command takes as --configDir.
	configDir() string
	// workDir is a directory for the job's output that every TaskManager reaches.
	workDir() string
	// jobManager is the process that leads.
	jobManager(ctx context.Context, leader haservices.LeaderInformation) (process, error)
	// jobManagers are all that run.
	jobManagers(ctx context.Context) ([]process, error)
	// addresses are host:port of the RPC services of JobManagers, as far as known.
	addresses(ctx context.Context) []string
	taskManager(ctx context.Context, info protocol.TaskManagerInfo) (process, error)
	// replaceJobManager and replaceTaskManager start a process in the place of one that has ended, and do not wait
	// until it is ready.
	replaceJobManager(ctx context.Context, gone process) error
	replaceTaskManager(ctx context.Context, gone process) error
	// serving reports whether JobManagers that were started serve already. It fails when a process has ended that
	// nobody replaced: by itself, then.
	serving(ctx context.Context) (bool, error)
	// zooKeeper are the servers that may be stopped, errUnsupported if there are none.
	zooKeeper() ([]zooKeeperServer, error)
	// canCut says whether cut can cut these links: one of Cuts. uncut heals them all.
	canCut(links string) bool
	cut(links string, leader process) error
	uncut()
	// close ends what the target has started.
	close(ctx context.Context) error
}

// zooKeeperServer can be killed and started again.
type zooKeeperServer interface {
	Kill()
	// Start waits for the end of the one before.
	Start() error
	// Await returns when it serves clients.
	Await(ctx context.Context) error
}

// errUnsupported: this scenario needs a cluster of another kind. The text says which.
var errUnsupported = errors.New("not possible here")

// children are the processes that pid has started, by /proc.
func children(pid int) (list []int, err error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for job processes: %w", err)
	}
	for _, entry := range all {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if stat, err := readStat(child); err == nil && stat.parent == pid && stat.alive() {
			list = append(list, child)
		}
	}
	return list, nil
}

// stat is part of /proc/PID/stat.
type stat struct {
	state   string
	parent  int
	started string // in ticks since the machine booted: it tells two processes with one number apart
}

func (s stat) alive() bool { return s.state != "Z" && s.state != "X" }

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(data))
}

// parseStat reads what follows the program's name, which is in brackets and may contain anything.
func parseStat(line string) (stat, error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("stat of a process has %d fields", len(fields))
	}
	parent, err := strconv.Atoi(fields[1])
	return stat{state: fields[0], parent: parent, started: fields[19]}, err
}
