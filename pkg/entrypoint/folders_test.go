package entrypoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

func settings(t *testing.T, key, value string) *config.Configuration {
	t.Helper()
	cfg, err := config.FromMap(map[string]string{key: value})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Below /proc nobody can make a directory, and the error is the one of a missing parent.
func TestStorageBelowProc(t *testing.T) {
	for _, kind := range []string{config.HANone, config.HALocal} {
		cfg, err := config.FromMap(map[string]string{config.HAType.Key: kind, config.HAStorageDir.Key: "/proc/tamias/storage"})
		if err != nil {
			t.Fatal(err)
		}
		driver, err := NewDriver(cfg, DriverConfig{FileSystem: filesystem.NewResolver(), Log: zap.NewNop()})
		if err == nil {
			driver.Close()
			t.Errorf("%s: a driver whose nodes cannot be written", kind)
		}
	}
}

// Folders that cannot be used are start-up failures that name the option, and those that can be used are left
// as they were.
func TestFoldersAreTriedAtTheStart(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	storage := func(cfg *config.Configuration) error {
		return checkStorage(t.Context(), filesystem.NewResolver(), cfg, id.NewInstance())
	}
	for _, tc := range []struct {
		key, value string
		check      func(*config.Configuration) error
		ok         bool
	}{
		{config.HAStorageDir.Key, "file://" + dir + "/storage", storage, true},
		{config.HAStorageDir.Key, file + "/storage", storage, false},
		{config.LogDir.Key, dir + "/log", makeLogDir, true},
		{config.LogDir.Key, file + "/log", makeLogDir, false},
		{"rest.port", "1", storage, true},
		{"rest.port", "1", makeLogDir, true},
	} {
		err := tc.check(settings(t, tc.key, tc.value))
		if (err == nil) != tc.ok || err != nil && (!errors.Is(err, ErrStartup) || !strings.HasPrefix(err.Error(), tc.key)) {
			t.Errorf("%s %s: %v, want ok %t", tc.key, tc.value, err, tc.ok)
		}
	}
	for _, made := range []string{"storage", "log"} {
		if entries, err := os.ReadDir(filepath.Join(dir, made)); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v, %v; want an empty folder", made, entries, err)
		}
	}
}
