// Package httpserver serves HTTP for as long as a context lasts: the REST endpoint, the blob server and the
// metrics reporter run on it. It owns nothing but the server while Run runs, on the caller's goroutine, one
// of its own and one for each connection.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Run serves on l, which it closes, until ctx ends. Requests in progress then get grace to finish; after it their
// connections are closed. It returns when no handler runs any more. The error is why it could not serve; the end of
// ctx is none.
func Run(ctx context.Context, server *http.Server, l net.Listener, grace time.Duration) error {
	var connections sync.WaitGroup
	defer connections.Wait() // Shutdown gives up waiting for handlers, and Close never did
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew: // on the goroutine that serves: none is new when Serve has returned
			connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			connections.Done()
		}
	}
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
