package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/tamias-project/tamias/pkg/id"
)

// mayStay are the files that a cluster without jobs leaves in its storage directory: whose it is, who led last with
// which epoch, and how jobs ended.
var mayStay = regexp.MustCompile(`^[^/]+/(` + strings.Join([]string{
	`ha/leaderlatch/(resource_manager|dispatcher|rest_server)_lock/(lock|epoch|holder|departure)`,
	`ha/job-results/[0-9a-f]{32}`,
	`files/job-results/[^/]+\.json`,
	`ha/leadership/history`,
	`ha/storage-owner`,
	`files/owner`,
	`files/leadership/[^/]+\.json`,
}, "|") + `)$`)

// CheckNothingIsLeft looks at everything that a stopped cluster without running jobs must not leave.
func (c *Cluster) CheckNothingIsLeft() {
	c.t.Helper()
	left := leftovers(c.dir)
	if c.options.ZooKeeper != nil {
		left = append(left, c.zooKeeperLeftovers()...)
	}
	for _, l := range left {
		c.t.Errorf("left behind: %s", l)
	}
}

// leftovers lists what is left in the directory of a test, laid out as localcluster does it.
func leftovers(dir string) []string {
	return slices.Concat(
		ProcessesOf(dir),
		filesBelow(filepath.Join(dir, "tmp"), true),
		filesBelow(filepath.Join(dir, systemTmp), true),
		filesBelow(filepath.Join(dir, "checkpoints"), true),
		jobLeftovers(filepath.Join(dir, "ha")),
		uncommitted(filepath.Join(dir, "output")),
	)
}

// ProcessesOf waits until no process has that directory in its command line or environment, and
// describes those that do not go.
func ProcessesOf(dir string) (left []string) {
	poll(func() bool {
		left = nil
		entries, _ := filepath.Glob("/proc/[0-9]*")
		for _, e := range entries {
			pid, err := strconv.Atoi(filepath.Base(e))
			if err != nil || pid == os.Getpid() {
				continue
			}
			line, _ := os.ReadFile(e + "/cmdline") // it may end while we look
			env, _ := os.ReadFile(e + "/environ")
			if bytes.Contains(line, []byte(dir)) || bytes.Contains(env, []byte(dir)) {
				left = append(left, fmt.Sprintf("process %d: %q", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
			}
		}
		return len(left) == 0
	})
	return left
}

// filesBelow lists what is below a directory that may not be there, with folders if asked for.
func filesBelow(dir string, folders bool) (left []string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir && (folders || !d.IsDir()) {
			left = append(left, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		left = append(left, err.Error())
	}
	return left
}

// jobLeftovers lists what jobs have left in a storage directory.
func jobLeftovers(dir string) (left []string) {
	for _, path := range filesBelow(dir, false) {
		rel, err := filepath.Rel(dir, path)
		if err != nil || !mayStay.MatchString(filepath.ToSlash(rel)) {
			left = append(left, path)
		}
	}
	return left
}

// uncommitted lists files of sinks that wait for a checkpoint which will never come.
func uncommitted(dir string) (left []string) {
	for _, path := range filesBelow(dir, false) {
		if strings.HasPrefix(filepath.Base(path), ".") {
			left = append(left, path)
		}
	}
	return left
}

// JobProcesses are the pids of a job's processes, by TaskManager.
func (c *Cluster) JobProcesses(job id.Job) map[string]int {
	found := map[string]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		var state string
		var parent int
		if n, _ := fmt.Sscan(rest, &state, &parent); n != 2 || !bytes.Contains(env, []byte(job.String())) {
			continue
		}
		for _, tm := range c.TaskManagers {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && tm.PID() == parent {
				found[tm.ResourceID] = pid
			}
		}
	}
	return found
}

// KillPID kills a process that is not a child of the test.
func (c *Cluster) KillPID(pid int) {
	c.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("kill %d: %v", pid, err)
	}
}
