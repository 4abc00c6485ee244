package drill

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// commits notes when files of committed output appear, by the subtask of the sink that wrote them.
type commits struct {
	watcher *fsnotify.Watcher
	running sync.WaitGroup

	mu      sync.Mutex // guards all below
	times   series
	changed chan struct{} // closed and replaced with each file
}

func watchCommits(dir string) (*commits, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(dir); err != nil {
		w.Close()
		return nil, err
	}
	c := &commits{watcher: w, times: series{}, changed: make(chan struct{})}
	c.running.Go(c.run)
	return c, nil
}

func (c *commits) run() {
	for {
		select {
		case e, ok := <-c.watcher.Events:
			if !ok {
				return
			}
			// Uncommitted files are hidden; a commit renames them.
			if e.Has(fsnotify.Create) && !hidden(e.Name) {
				c.add(filepath.Base(e.Name), time.Now())
			}
		case _, ok := <-c.watcher.Errors: // too many events at a time: some commits are not noticed
			if !ok {
				return
			}
		}
	}
}

func (c *commits) add(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subtask := subtaskOf(name)
	c.times[subtask] = append(c.times[subtask], at)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *commits) close() {
	c.watcher.Close()
	c.running.Wait()
}

// since is how many commits of each subtask came after a point in time, at least, and a channel that is
// closed when there are more.
func (c *commits) since(t time.Time, subtasks int) (int, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.times) < subtasks {
		return 0, c.changed
	}
	fewest := -1
	for _, times := range c.times {
		n := 0
		for i := len(times) - 1; i >= 0 && times[i].After(t); i-- {
			n++
		}
		if fewest < 0 || n < fewest {
			fewest = n
		}
	}
	return max(fewest, 0), c.changed
}

// longestGap between two commits of one subtask of which the later one falls between from and to.
func (c *commits) longestGap(from, to time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times.longestGap(from, to)
}

// hidden files are not committed.
func hidden(name string) bool { return strings.HasPrefix(filepath.Base(name), ".") }

// subtaskOf is the subtask in the name of a committed file, part-SUBTASK-RUN-ATTEMPT-NUMBER.
func subtaskOf(name string) string {
	parts := strings.SplitN(name, "-", 3)
	if len(parts) < 2 {
		return name
	}
	return parts[1]
}
