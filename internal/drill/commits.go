package drill

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// commits notes when files of committed output appear.
type commits struct {
	watcher *fsnotify.Watcher
	running sync.WaitGroup

	mu    sync.Mutex // guards times
	times []time.Time
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
	c := &commits{watcher: w}
	c.running.Go(c.run)
	return c, nil
}

func (c *commits) run() {
	for e := range c.watcher.Events {
		// Uncommitted files are hidden; a commit renames them.
		if e.Has(fsnotify.Create) && !strings.HasPrefix(filepath.Base(e.Name), ".") {
			c.mu.Lock()
			c.times = append(c.times, time.Now())
			c.mu.Unlock()
		}
	}
}

func (c *commits) close() {
	c.watcher.Close()
	c.running.Wait()
}

// since counts the commits after a point in time.
func (c *commits) since(t time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, at := range c.times {
		if at.After(t) {
			n++
		}
	}
	return n
}

// longestGap between two commits of which the later one falls between from and to.
func (c *commits) longestGap(from, to time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return longestGap(c.times, from, to)
}

// longestGap between two successive times of which the later one falls between from and to.
func longestGap(times []time.Time, from, to time.Time) (longest time.Duration) {
	for i := 1; i < len(times); i++ {
		if at := times[i]; at.After(from) && !at.After(to) {
			longest = max(longest, at.Sub(times[i-1]))
		}
	}
	return longest
}
