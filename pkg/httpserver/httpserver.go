// Package httpserver serves HTTP for as long as a context lasts: the REST endpoint, the blob server and the
// metrics reporter run on it. It owns nothing but the server while Run runs, on the caller's goroutine and one
// of its own.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Run serves on l, which it closes, until ctx ends. Requests in progress then get grace to finish. The
// error is why it could not serve; the end of ctx is none.
func Run(ctx context.Context, server *http.Server, l net.Listener, grace time.Duration) error {
	stopped := make(chan struct{})
	defer func() { <-stopped }()
	served, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(stopped)
		<-served.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}
