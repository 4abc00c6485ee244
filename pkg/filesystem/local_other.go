//go:build !linux

package filesystem

import "os"

// openUnnamed is for Linux: elsewhere files are written under a temporary name.
func openUnnamed(string) (*os.File, temporary, bool) { return nil, temporary{}, false }
