package httpserver_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tamias-project/tamias/pkg/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A request in progress when the context ends is answered if it takes less than the grace, else cut off. Run does not
// return before its handler has: what handlers work with is taken down after that.
func TestRequestInProgress(t *testing.T) {
	for name, tc := range map[string]struct {
		grace time.Duration
		want  string
	}{"answered": {time.Hour, "done"}, "cut off": {time.Millisecond, ""}} {
		t.Run(name, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			var handled atomic.Bool
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				defer handled.Store(true)
				close(begun)
				<-release
				io.WriteString(w, "done")
			})}
			l := listen(t)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- httpserver.Run(ctx, server, l, tc.grace) }()
			answer := make(chan string, 1)
			go func() {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				r, err := client.Get("http://" + l.Addr().String())
				if err != nil {
					answer <- ""
					return
				}
				defer r.Body.Close()
				body, _ := io.ReadAll(r.Body)
				answer <- string(body)
			}()
			<-begun
			stop()
			if tc.want == "" {
				if got := <-answer; got != "" { // before it is released
					t.Errorf("answer %q, want none", got)
				}
			}
			close(release)
			if tc.want != "" {
				if got := <-answer; got != tc.want {
					t.Errorf("answer %q, want %q", got, tc.want)
				}
			}
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
			if !handled.Load() {
				t.Error("Run has returned before the handler")
			}
		})
	}
}

func TestCannotServe(t *testing.T) {
	l := listen(t)
	l.Close()
	err := httpserver.Run(t.Context(), &http.Server{}, l, time.Hour)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run on a closed listener: %v, want an error with the address", err)
	}
}
