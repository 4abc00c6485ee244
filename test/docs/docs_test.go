package docs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tamias-project/tamias/internal/localcluster"
	"github.com/tamias-project/tamias/test/harness"
)

// patience bounds a block of commands, which may build everything.
const patience = 10 * time.Minute

// notRun marks a block that is not for tests, with the reason after it.
const notRun = "# not run:"

// Every block marked ```sh is typed into a shell in the repository's root, in the order of the file.
func TestPrintedCommandsWork(t *testing.T) {
	root := harness.Root(t)
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append([]string{filepath.Join(root, "README.md")}, files...) {
		blocks := readBlocks(t, file)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := newCheckout(t, root)
			for _, block := range blocks {
				if !c.run(block) {
					break // what follows builds on it
				}
			}
		})
	}
}

// readBlocks lists the blocks of commands in a file.
func readBlocks(t *testing.T, file string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(text), "\n```") {
		commands, isShell := strings.CutPrefix(part, "sh\n")
		if isShell && i%2 == 1 && !strings.HasPrefix(commands, notRun) {
			blocks = append(blocks, commands)
		}
	}
	return blocks
}

// checkout is a copy of the repository, as a reader has it. Its clusters have ports and folders of their own.
type checkout struct {
	t      *testing.T
	dir    string
	root   string
	change *strings.Replacer // what is different here from what is printed
}

func newCheckout(t *testing.T, root string) *checkout {
	t.Helper()
	c := &checkout{t: t, dir: harness.NewDir(t)}
	c.root = filepath.Join(c.dir, "checkout")
	t.Cleanup(c.end)
	if err := copyTree(root, c.root); err != nil {
		t.Fatal(err)
	}
	ports, err := localcluster.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	c.change = strings.NewReplacer("/tmp/tamias", c.dir+"/tamias", "6123", ports[0], "8081", ports[1])
	for _, name := range []string{"conf/config.yaml", "conf/masters"} {
		path := filepath.Join(c.root, name)
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(c.change.Replace(string(text))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// copyTree copies the repository without what is built or written in it.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "log", "run"}, relative) {
			return filepath.SkipDir
		}
		target := filepath.Join(to, relative)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
}

func (c *checkout) command(commands string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = c.root
	cmd.Env = append(os.Environ(), harness.Environment(c.dir)...)
	cmd.Env = append(cmd.Env, "TAMIAS_PID_DIR="+filepath.Join(c.dir, "pids"), "TAMIAS_BIN_DIR=", "TAMIAS_LOG_DIR=")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (c *checkout) run(block string) bool {
	c.t.Helper()
	out, err := c.command(c.change.Replace(block)).CombinedOutput()
	if err != nil {
		c.t.Errorf("%s\n%v\n%s", block, err, out)
	}
	return err == nil
}

// end makes sure that nothing runs on, also after a block that failed.
func (c *checkout) end() {
	if c.t.Failed() {
		_ = c.command("scripts/stop-cluster.sh").Run() // there may be none
	}
	for _, left := range harness.ProcessesOf(c.dir) {
		c.t.Errorf("left behind: %s", left)
		pid, err := strconv.Atoi(strings.TrimSuffix(strings.Fields(left)[1], ":"))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			c.t.Error(err)
		}
	}
}
