package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/filesystem"
	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a Store in memory.
type store struct {
	mu      sync.Mutex // guards all below
	content map[string][]byte
	opened  int
	err     error
}

func (s *store) Open(_ context.Context, job id.Job, key string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	if s.err != nil {
		return nil, s.err
	}
	content, ok := s.content[job.String()+"/"+key]
	if !ok {
		return nil, fmt.Errorf("open: %w", filesystem.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (s *store) put(job id.Job, content []byte) jobgraph.Binary {
	sum := sha256.Sum256(content)
	key := hex.EncodeToString(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[job.String()+"/"+key] = content
	return jobgraph.Binary{Key: key, Size: int64(len(content))}
}

func newStore() *store { return &store{content: map[string][]byte{}} }

func newCache(t *testing.T, s Store) *Cache {
	t.Helper()
	c := NewCache(CacheConfig{Dir: t.TempDir(), Store: s, RetryDelay: time.Millisecond, Log: zap.NewNop()})
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func handlerOf(s Store) http.Handler {
	return NewServer(ServerConfig{Store: s, Log: zap.NewNop()}).Handler()
}

func checkFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("file %s: %q, %v; want %q", path, got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode of %s = %v, %v; want 0755", path, info.Mode(), err)
	}
}

func TestFetchFromServer(t *testing.T) {
	far, job, content := newStore(), id.NewJob(), []byte("#!/bin/true")
	binary := far.put(job, content)
	c := newCache(t, nil)
	path, err := c.Fetch(t.Context(), job, binary, serve(t, handlerOf(far)))
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, content)
	if again, err := c.Fetch(t.Context(), job, binary, ""); again != path || err != nil {
		t.Errorf("second Fetch = %q, %v; want %q from the cache", again, err, path)
	}
	if err := c.Release(job); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory after Release: %v, want it gone", err)
	}
	if _, err := c.Fetch(t.Context(), job, binary, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("Fetch after Release without a server = %v, want ErrNotFound", err)
	}
}

func TestFetchAsksTheStoreFirst(t *testing.T) {
	near, job, content := newStore(), id.NewJob(), []byte("binary")
	binary := near.put(job, content)
	c := newCache(t, near)
	path, err := c.Fetch(t.Context(), job, binary, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, content)
}

func TestFetchFallsBackToTheServer(t *testing.T) {
	near, far, job, content := newStore(), newStore(), id.NewJob(), []byte("binary")
	near.err = errors.New("mount is gone")
	binary := far.put(job, content)
	c := newCache(t, near)
	path, err := c.Fetch(t.Context(), job, binary, serve(t, handlerOf(far)))
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, content)
}

func TestFetchRetriesBrokenDownloads(t *testing.T) {
	far, job, content := newStore(), id.NewJob(), bytes.Repeat([]byte("x"), 100_000)
	binary := far.put(job, content)
	good := handlerOf(far)
	var tries atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch tries.Add(1) {
		case 1:
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		case 2:
			w.Write(content[:500]) // looks whole
		case 3:
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content[:500])
			panic(http.ErrAbortHandler)
		default:
			good.ServeHTTP(w, r)
		}
	}))
	c := newCache(t, nil)
	path, err := c.Fetch(t.Context(), job, binary, address)
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, content)
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files left in the cache: %v, want the blob alone", files)
	}
}

func TestFetchGivesUp(t *testing.T) {
	far, job := newStore(), id.NewJob()
	other := far.put(job, []byte("other content"))
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		key     string
		want    error
	}{
		{"unknown blob", handlerOf(newStore()).ServeHTTP, other.Key, ErrNotFound},
		{"wrong content", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "forged") }, other.Key, ErrCorrupt},
	} {
		c := newCache(t, nil)
		_, err := c.Fetch(t.Context(), job, jobgraph.Binary{Key: tc.key}, serve(t, tc.handler))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: Fetch = %v, want %v", tc.name, err, tc.want)
		}
	}
	if _, err := newCache(t, nil).Fetch(t.Context(), job, jobgraph.Binary{Key: "../../etc/passwd"}, ""); err == nil {
		t.Error("Fetch of a key that is a path succeeded")
	}
}

func TestConcurrentFetchesShareOneDownload(t *testing.T) {
	far, job, content := newStore(), id.NewJob(), []byte("binary")
	binary := far.put(job, content)
	good := handlerOf(far)
	var downloads atomic.Int32
	release := make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		downloads.Add(1)
		<-release
		good.ServeHTTP(w, r)
	}))
	c := newCache(t, nil)

	impatient, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := c.Fetch(impatient, job, binary, address); !errors.Is(err, context.Canceled) {
			t.Errorf("Fetch of the caller that left = %v, want context.Canceled", err)
		}
	})
	waitFor(t, func() bool { return downloads.Load() == 1 })
	for range 4 {
		all.Go(func() {
			path, err := c.Fetch(t.Context(), job, binary, address)
			if err != nil {
				t.Errorf("Fetch = %v", err)
				return
			}
			checkFile(t, path, content)
		})
	}
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.entries[entryKey{job, binary.Key}].waiters == 5
	})
	leave()
	close(release)
	all.Wait()
	if n := downloads.Load(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestLastCallerLeavingCancelsTheDownload(t *testing.T) {
	stuck := make(chan struct{})
	address := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(stuck)
		<-r.Context().Done()
	}))
	c := newCache(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-stuck; cancel() }()
	_, err := c.Fetch(ctx, id.NewJob(), jobgraph.Binary{Key: strings.Repeat("ab", 32)}, address)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch = %v, want context.Canceled", err)
	}
	c.Close() // waits for the download: hangs if it was not cancelled
}

func TestCacheChecksFilesOfAnEarlierProcess(t *testing.T) {
	far, job, content := newStore(), id.NewJob(), []byte("binary")
	binary := far.put(job, content)
	c := newCache(t, nil)
	dir := c.jobDir(job)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, binary.Key), []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := c.Fetch(t.Context(), job, binary, serve(t, handlerOf(far)))
	if err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, content)
}

func TestServer(t *testing.T) {
	s, job := newStore(), id.NewJob()
	binary := s.put(job, []byte("binary"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(ServerConfig{Store: s, Listener: listener, Host: "127.0.0.1", Log: zap.NewNop()})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	for _, tc := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/blobs/" + job.String() + "/" + binary.Key, 200},
		{"HEAD", "/blobs/" + job.String() + "/" + binary.Key, 200},
		{"HEAD", "/blobs/" + id.NewJob().String() + "/" + binary.Key, 404},
		{"GET", "/blobs/" + job.String() + "/" + strings.Repeat("0", 64), 404},
		{"GET", "/blobs/nonsense/" + binary.Key, 400},
		{"GET", "/blobs/" + job.String() + "/nonsense", 400},
		{"PUT", "/blobs/" + job.String() + "/" + binary.Key, 405},
	} {
		request, _ := http.NewRequest(tc.method, "http://"+server.Address()+tc.path, nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != tc.want {
			t.Errorf("%s %s = %d, want %d", tc.method, tc.path, response.StatusCode, tc.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil after its ctx ended", err)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("condition did not come true within 10 s")
		}
	}
}
