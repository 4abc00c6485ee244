//go:build !linux

package filesystem

import (
	"errors"
	"os"
)

// openUnnamed is for Linux: elsewhere files are written under a temporary name.
func openUnnamed(string) (*os.File, temporary, bool) { return nil, temporary{}, false }

// renameExclusively is for Linux, too.
func renameExclusively(string, string) error { return errors.ErrUnsupported }
