package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tamias-project/tamias/pkg/haservices/embedded"
)

// The leader is frozen: it takes the request and says nothing more. When another one leads, that one is asked,
// long before client.timeout.
func TestAFrozenLeaderIsNotWaitedFor(t *testing.T) {
	backend := embedded.NewCluster(embedded.Config{})
	asked, thaw := make(chan struct{}, 1), make(chan struct{})
	frozen := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-thaw
	}))
	defer frozen.Close()
	defer close(thaw)
	healthy := newCluster(t)

	resign := publish(t, backend.Driver("first"), frozen.URL)
	f := follow(backend.Driver("client"), time.Minute)
	defer f.close()
	c := &client{locator: f, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	ctx, stop := context.WithCancelCause(t.Context())
	defer time.AfterFunc(time.Minute, func() { stop(errors.New("the frozen leader is waited for")) }).Stop()
	answered := make(chan error, 1)
	go func() { answered <- c.do(ctx, call{method: http.MethodPatch, path: "/jobs/" + theJob.String()}, nil) }()
	<-asked
	resign()
	publish(t, backend.Driver("second"), healthy.server.URL)
	if err := <-answered; err != nil {
		t.Errorf("cancel = %v (%v), want an answer of the new leader", err, context.Cause(ctx))
	}
}
