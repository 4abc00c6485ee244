package filesystem

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Resolver finds the file system of a URI by its scheme: "file", or any other that was put in. It is
// itself a FileSystem, so that one value serves directories of different schemes.
type Resolver map[string]FileSystem

// NewResolver knows the schemes that this build supports.
func NewResolver() Resolver { return Resolver{"file": NewLocal()} }

// For returns the file system that a URI or absolute path lies in. The error says which schemes there
// are; it is for the user, who must change the setting the URI came from.
func For(uri string) (FileSystem, error) { return NewResolver().For(uri) }

// For returns the file system that a URI or absolute path lies in, as the function For does.
func (r Resolver) For(uri string) (FileSystem, error) {
	scheme := Scheme(uri)
	if fs, ok := r[scheme]; ok {
		return fs, nil
	}
	known := make([]string, 0, len(r))
	for s := range r {
		known = append(known, s)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("filesystem: %s: scheme %q is not supported (supported: %s)", uri, scheme, strings.Join(known, ", "))
}

// Check says what is wrong with a URI or path as such: its scheme is not supported, or it is not absolute. It
// does not look at what is there.
func (r Resolver) Check(uri string) error {
	if _, err := r.For(uri); err != nil || Scheme(uri) != "file" {
		return err
	}
	_, err := LocalPath(uri)
	return err
}

// Scheme is the scheme of a URI in lower case; "file" for a plain path.
func Scheme(uri string) string {
	scheme, _, found := strings.Cut(uri, ":")
	if !found || scheme == "" || strings.ContainsAny(scheme, "/\\.") {
		return "file"
	}
	return strings.ToLower(scheme)
}

// Join appends names to a path or URI with one slash between each.
func Join(path string, names ...string) string {
	for _, name := range names {
		path = strings.TrimRight(path, "/") + "/" + strings.TrimLeft(name, "/")
	}
	return path
}

// Create writes a new file, see FileSystem.
func (r Resolver) Create(ctx context.Context, path string, content io.Reader) error {
	fs, err := r.For(path)
	if err != nil {
		return err
	}
	return fs.Create(ctx, path, content)
}

// Open reads a file, see FileSystem.
func (r Resolver) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	fs, err := r.For(path)
	if err != nil {
		return nil, err
	}
	return fs.Open(ctx, path)
}

// Delete removes a file or directory, see FileSystem.
func (r Resolver) Delete(ctx context.Context, path string) error {
	fs, err := r.For(path)
	if err != nil {
		return err
	}
	return fs.Delete(ctx, path)
}

// List returns the names in a directory, see FileSystem.
func (r Resolver) List(ctx context.Context, path string) ([]string, error) {
	fs, err := r.For(path)
	if err != nil {
		return nil, err
	}
	return fs.List(ctx, path)
}
