package filesystem_test

import (
	"testing"
	"testing/synctest"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/filesystem/fstest"
)

func TestLocal(t *testing.T) {
	fstest.Conformance(t, func(t *testing.T) fstest.Fixture {
		return fstest.Fixture{FS: filesystem.NewLocal(), Dir: "file://" + t.TempDir()}
	})
}

func TestLocalWithTemporaryNames(t *testing.T) {
	fstest.Conformance(t, func(t *testing.T) fstest.Fixture {
		return fstest.Fixture{FS: filesystem.NewLocalNamed(), Dir: t.TempDir()}
	})
}

func TestMemory(t *testing.T) {
	fstest.Conformance(t, func(t *testing.T) fstest.Fixture {
		return fstest.Fixture{FS: filesystem.NewMemory(), Dir: "mem:///test"}
	})
}

func TestMemoryInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := filesystem.NewMemory()
		done := make(chan error)
		go func() { done <- fs.Delete(t.Context(), "/x") }()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
