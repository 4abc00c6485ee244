package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var (
	// packages are built unless TAMIAS_BIN has them already; ours are always built.
	packages = []string{"./cmd/...", "./examples/..."}
	ours     = []string{"./test/harness/faulty"}

	buildOnce sync.Once
	buildDir  string // "" when nothing was built
	buildErr  error
)

// Main runs the tests of a package, and removes what was built for them:
//
//	func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir) // in the temporary directory: what stays does no harm
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// Bin is the directory with the programs under test: jobmanager, taskmanager, tamias, the examples, and
// faulty. They are built with the race detector when the tests are.
func Bin(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() { buildErr = build() })
	if buildErr != nil {
		t.Fatalf("build the programs: %v", buildErr)
	}
	return buildDir
}

func build() (err error) {
	root, err := root()
	if err != nil {
		return err
	}
	if buildDir, err = os.MkdirTemp("", "tamias-test-bin-"); err != nil {
		return err
	}
	build := slices.Clone(ours)
	if given := os.Getenv("TAMIAS_BIN"); given != "" {
		if err := linkAll(given, buildDir); err != nil {
			return err
		}
	} else {
		build = append(build, packages...)
	}
	args := []string{"build", "-trimpath", "-o", buildDir + "/"}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, build...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// linkAll makes symbolic links to all files of a directory.
func linkAll(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	for _, f := range files {
		err = errors.Join(err, os.Symlink(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())))
	}
	return err
}

// Root is the repository's directory.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
