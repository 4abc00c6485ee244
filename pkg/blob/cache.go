package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
)

// CacheConfig is what a Cache needs.
type CacheConfig struct {
	// Dir receives job_<jobid>/<key>. It is made when needed.
	Dir string
	// Store is asked before the blob server; nil when the HA storage directory cannot be reached from here.
	Store Store
	// Retries after a download that failed or came out corrupt. Flink's blob.fetch.retries; default 5.
	Retries int
	// RetryDelay is the pause before the first retry; it doubles up to 16 times its value. Default 100 ms.
	RetryDelay time.Duration
	Log        *zap.Logger
}

// Cache keeps the binaries of the jobs that a TaskManager runs. Flink's PermanentBlobCache.
type Cache struct {
	cfg    CacheConfig
	client *http.Client

	mu      sync.Mutex // guards all below
	entries map[entryKey]*entry
	closed  bool
	work    sync.WaitGroup // downloads; Add only with mu held and closed false
}

type entryKey struct {
	job id.Job
	key string
}

// entry is one blob: being fetched until done is closed, then a path or an error.
type entry struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int // guarded by Cache.mu; the last one to leave cancels the download
	path    string
	err     error
}

// NewCache returns an empty cache. Files of an earlier process below cfg.Dir are used again after their
// hash has been checked.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Retries == 0 {
		cfg.Retries = 5
	}
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = 100 * time.Millisecond
	}
	return &Cache{
		cfg:     cfg,
		entries: map[entryKey]*entry{},
		client: &http.Client{Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			ResponseHeaderTimeout: 30 * time.Second,
			MaxIdleConnsPerHost:   1,
			IdleConnTimeout:       10 * time.Second,
		}},
	}
}

// Fetch returns the path of an executable file with the binary's content: from the cache, else from the
// store, else from blobServer (host:port). Callers that want the same binary share one download, which
// ends when the last of them leaves. The error wraps ErrNotFound when nobody has the blob.
func (c *Cache) Fetch(ctx context.Context, job id.Job, binary jobgraph.Binary, blobServer string) (string, error) {
	if err := checkKey(binary.Key); err != nil {
		return "", err
	}
	e, err := c.join(ctx, entryKey{job, binary.Key}, binary, blobServer)
	if err != nil {
		return "", err
	}
	select {
	case <-e.done:
		c.leave(e)
		return e.path, e.err
	case <-ctx.Done():
		c.leave(e)
		return "", fmt.Errorf("fetch blob %s of job %s: %w", binary.Key, job, ctx.Err())
	}
}

// join returns the entry of k, and begins its download if nobody has.
func (c *Cache) join(ctx context.Context, k entryKey, binary jobgraph.Binary, blobServer string) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("blob: cache is closed")
	}
	if e := c.entries[k]; e != nil && e.usable() {
		e.waiters++
		return e, nil
	}
	// The download outlives its first caller as long as others wait for it.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &entry{done: make(chan struct{}), cancel: cancel, waiters: 1}
	c.entries[k] = e
	c.work.Go(func() {
		defer cancel()
		e.path, e.err = c.fetch(work, k.job, binary, blobServer)
		if e.err != nil {
			c.forget(k, e) // the next caller tries again
		}
		close(e.done)
	})
	return e, nil
}

// usable reports whether another caller may join: the file is there, or someone still waits for its
// download (else that has been cancelled). Called with Cache.mu held.
func (e *entry) usable() bool {
	select {
	case <-e.done:
		_, err := os.Stat(e.path) // someone may have tidied up the directory
		return e.err == nil && err == nil
	default:
		return e.waiters > 0
	}
}

func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.waiters--; e.waiters == 0 {
		e.cancel() // no effect on a finished download
	}
}

func (c *Cache) forget(k entryKey, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[k] == e {
		delete(c.entries, k)
	}
}

// Release stops the downloads of a job and removes its files. Releasing a job that is not there succeeds.
func (c *Cache) Release(job id.Job) error {
	c.mu.Lock()
	var ending []*entry
	for k, e := range c.entries {
		if k.job == job {
			e.cancel()
			ending = append(ending, e)
			delete(c.entries, k)
		}
	}
	c.mu.Unlock()
	for _, e := range ending {
		<-e.done
	}
	if err := os.RemoveAll(c.jobDir(job)); err != nil {
		return fmt.Errorf("remove blobs of job %s: %w", job, err)
	}
	return nil
}

// Close stops all downloads and waits for them. Files stay for the next process.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, e := range c.entries {
		e.cancel()
	}
	c.mu.Unlock()
	c.work.Wait()
	c.client.CloseIdleConnections()
}

func (c *Cache) jobDir(job id.Job) string { return filepath.Join(c.cfg.Dir, "job_"+job.String()) }

// fetch makes the file, retrying.
func (c *Cache) fetch(ctx context.Context, job id.Job, binary jobgraph.Binary, blobServer string) (string, error) {
	path := filepath.Join(c.jobDir(job), binary.Key)
	if verifyFile(path, binary.Key) == nil {
		return path, nil
	}
	start, delay := time.Now(), c.cfg.RetryDelay
	for try := 0; ; try++ {
		err := c.download(ctx, job, binary, blobServer, path)
		switch {
		case err == nil:
			c.cfg.Log.Info("job binary fetched", logging.Job(job), zap.Int64("bytes", binary.Size), logging.Took(time.Since(start)))
			return path, nil
		case ctx.Err() != nil:
			return "", fmt.Errorf("fetch blob %s of job %s: %w", binary.Key, job, ctx.Err())
		case try >= c.cfg.Retries:
			return "", fmt.Errorf("fetch blob %s of job %s, %d tries: %w", binary.Key, job, try+1, err)
		}
		c.cfg.Log.Warn("job binary could not be fetched", logging.Job(job), zap.Error(err), logging.RetryIn(delay))
		pause := time.NewTimer(delay)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		delay = min(2*delay, 16*c.cfg.RetryDelay)
	}
}

// download tries the store, then the blob server.
func (c *Cache) download(ctx context.Context, job id.Job, binary jobgraph.Binary, blobServer, path string) error {
	var errStore error
	if c.cfg.Store != nil {
		errStore = c.save(path, binary.Key, func() (io.ReadCloser, error) { return c.cfg.Store.Open(ctx, job, binary.Key) })
		if errStore == nil || ctx.Err() != nil {
			return errStore
		}
	}
	if blobServer == "" {
		if errStore == nil {
			errStore = fmt.Errorf("%w: no blob server is known", ErrNotFound)
		}
		return errStore
	}
	err := c.save(path, binary.Key, func() (io.ReadCloser, error) { return c.get(ctx, job, binary.Key, blobServer) })
	if err != nil && errStore != nil && !isNotFound(errStore) {
		return errors.Join(errStore, err)
	}
	return err
}

// get opens the blob at a blob server.
func (c *Cache) get(ctx context.Context, job id.Job, key, blobServer string) (io.ReadCloser, error) {
	url := fmt.Sprintf("http://%s/blobs/%s/%s", blobServer, job, key)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("blob server address %q: %w", blobServer, err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // an error's text: whatever arrived is enough
	if response.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w: blob server %s: %s", ErrNotFound, blobServer, reason)
	}
	return nil, fmt.Errorf("blob server %s: %s: %s", blobServer, response.Status, reason)
}

// save writes what open gives to a temporary name, checks its hash, and renames it to path.
func (c *Cache) save(path, key string, open func() (io.ReadCloser, error)) (err error) {
	content, err := open()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), key+".part-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, hash), content)
	if err == nil {
		err = f.Chmod(0o755)
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != key {
		return fmt.Errorf("%w: %s instead of %s", ErrCorrupt, got, key)
	}
	return os.Rename(f.Name(), path)
}

func verifyFile(path, key string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != key {
		return ErrCorrupt
	}
	return nil
}
