package process_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

// busyBinary is a Fetcher of a copy of this program that is open for writing for a while.
type busyBinary struct {
	files
	path  string
	while time.Duration
}

func (b busyBinary) Fetch(context.Context, id.Job, jobgraph.Binary, string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	from, err := os.Open(self)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.OpenFile(b.path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(to, from); err != nil {
		return "", err
	}
	time.AfterFunc(b.while, func() { to.Close() })
	return b.path, nil
}

func TestABusyBinaryIsTriedAgain(t *testing.T) {
	h := newHostOf(t, busyBinary{path: filepath.Join(t.TempDir(), "program"), while: 30 * time.Millisecond})
	h.launch(t, spec())
}
