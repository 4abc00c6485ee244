package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file that has no name until it is published, so that a killed process leaves
// nothing behind. It reports false where the file system or a missing /proc does not allow it.
func openUnnamed(path string) (*os.File, temporary, bool) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return nil, temporary{}, false
	}
	f, err := os.OpenFile(filepath.Dir(path), os.O_WRONLY|unix.O_TMPFILE, 0o666)
	if err != nil {
		return nil, temporary{}, false
	}
	return f, temporary{
		publish: func() error {
			err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
			return os.NewSyscallError("linkat", err)
		},
		discard: func() error { return nil },
	}, true
}

// renameExclusively renames a file unless the new name is taken. errors.ErrUnsupported: the file system cannot.
func renameExclusively(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("renameat2", err)
}
