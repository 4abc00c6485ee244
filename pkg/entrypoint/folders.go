package entrypoint

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tamias-project/tamias/pkg/config"
	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
)

// checkStorage reports whether this process can write to the storage directory, if there is one: who starts it
// is to learn that now, and not with the first job.
func checkStorage(ctx context.Context, files filesystem.FileSystem, cfg *config.Configuration, me id.Instance) error {
	dir := config.HAStorageDir.In(cfg)
	if dir == "" {
		return nil
	}
	probe := filesystem.Join(dir, ".probe-"+me.String())
	err := files.Create(ctx, probe, strings.NewReader(""))
	if err == nil {
		err = files.Delete(ctx, probe)
	}
	if err != nil {
		return startup(config.HAStorageDir.Key+" cannot be written", err)
	}
	return nil
}

// makeLogDir makes the folder of the job processes' logs, if one is set.
func makeLogDir(cfg *config.Configuration) error {
	dir := config.LogDir.In(cfg)
	if dir == "" {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil && unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		err = fmt.Errorf("%s is not writable", dir)
	}
	if err != nil {
		return startup(config.LogDir.Key, err)
	}
	return nil
}
