package drill

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endedDaemon is a process that the drill has ended and the scripts had started.
type endedDaemon struct {
	process *liveProcess
	name    string // as in the name of the pid file
}

// forgetEnded takes the processes that the drill has ended out of their pid files: the scripts stop as many as
// they have started, the newest lines first, dead or alive.
func (t *liveTarget) forgetEnded() error {
	byFile := map[string][]*liveProcess{}
	for _, d := range t.ended {
		dir, ident := cmp.Or(d.process.variable("TAMIAS_PID_DIR"), t.pids), cmp.Or(d.process.variable("TAMIAS_IDENT_STRING"), t.ident)
		file := pidFile(dir, ident, d.name)
		byFile[file] = append(byFile[file], d.process)
	}
	for file, ended := range byFile {
		if err := forgetPIDs(file, ended); err != nil {
			return fmt.Errorf("take processes that were ended out of %s: %w", file, err)
		}
	}
	t.ended = nil
	return nil
}

// forgetPIDs removes the lines of processes that have ended, under the lock that the scripts take.
func forgetPIDs(file string, ended []*liveProcess) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close() // and unlocks
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil // they were not started with the scripts
	}
	if err != nil {
		return err
	}
	lines := slices.DeleteFunc(slices.Collect(strings.Lines(string(data))), func(line string) bool {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		return err == nil && slices.ContainsFunc(ended, func(p *liveProcess) bool { return p.pid == pid && !p.Alive() })
	})
	return os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644)
}
