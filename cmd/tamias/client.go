package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tamias-project/tamias/pkg/config"
)

// firstRetry is the pause before the first repetition of a call; it doubles up to rest.retry.delay.
const firstRetry = 100 * time.Millisecond

var (
	// errUnavailable: no JobManager answered, or none leads. The request may be repeated.
	errUnavailable = errors.New("no JobManager answers")
	// errMoved: another JobManager leads than the one that was asked. The request is repeated there at once.
	errMoved = errors.New("another JobManager leads")
)

// client makes calls to the cluster's REST endpoint. All calls that it makes are idempotent.
type client struct {
	locator  locator
	http     *http.Client
	attempts int           // after the first one
	delay    time.Duration // longest pause between two attempts
}

func (c *cli) client(cfg *config.Configuration) (*client, error) {
	locator, err := locate(cfg, c.jobManager)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: config.RestConnectionTimeout.In(cfg)}
	return &client{
		locator:  locator,
		attempts: config.RestRetryMaxAttempts.In(cfg),
		delay:    config.RestRetryDelay.In(cfg),
		http: &http.Client{Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			ResponseHeaderTimeout: config.ClientTimeout.In(cfg),
			IdleConnTimeout:       10 * time.Second,
		}},
	}, nil
}

func (c *client) close() {
	c.http.CloseIdleConnections()
	c.locator.close()
}

// call is one request. body is made anew for each attempt; nil = none.
type call struct {
	method, path string
	body         func() (content io.ReadCloser, contentType string, err error)
}

// do makes a call and reads the answer into into, unless that is nil. It repeats the call while no
// JobManager answers, as often as rest.retry.max-attempts says.
func (c *client) do(ctx context.Context, request call, into any) error {
	pause := min(firstRetry, c.delay)
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, request, into)
		if err == nil || !errors.Is(err, errUnavailable) || attempt >= c.attempts {
			return err
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, c.delay)
	}
}

func (c *client) get(ctx context.Context, path string, into any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path}, into)
}

// once makes one attempt: errUnavailable, statusError, or a local error. It begins anew where the leader is when
// that changes meanwhile: one that is frozen never answers.
func (c *client) once(ctx context.Context, request call, into any) error {
	for {
		base, moved, err := c.locator.base(ctx)
		if err != nil {
			return err
		}
		attempt, giveUp := context.WithCancelCause(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-moved:
				giveUp(errMoved)
			case <-attempt.Done():
			}
		}()
		err = c.ask(attempt, base, request, into)
		again := err != nil && errors.Is(context.Cause(attempt), errMoved)
		giveUp(nil)
		<-watched
		if !again {
			return err
		}
	}
}

// ask makes a request to one JobManager.
func (c *client) ask(ctx context.Context, base string, request call, into any) error {
	var body io.Reader
	var contentType string
	if request.body != nil {
		content, kind, err := request.body()
		if err != nil {
			return err
		}
		defer content.Close()
		body, contentType = content, kind
	}
	r, err := http.NewRequestWithContext(ctx, request.method, base+"/v1"+request.path, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w at %s: %w", errUnavailable, base, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%w at %s: %w", errUnavailable, base, err)
	}
	return parseAnswer(base, response, content, into)
}

func parseAnswer(base string, response *http.Response, content []byte, into any) error {
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%w at %s: %w", errUnavailable, base, readError(response.StatusCode, content))
	case response.StatusCode >= 300:
		return readError(response.StatusCode, content)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("answer of %s is not what was expected; is it a Tamias JobManager? %w", base, err)
	}
	return nil
}

// statusError is an answer of the server that is an error.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func readError(status int, content []byte) error {
	var body struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(content, &body) != nil || len(body.Errors) == 0 {
		text := string(bytes.TrimSpace(content[:min(len(content), 500)]))
		return &statusError{status, strings.TrimSpace(fmt.Sprintf("%d %s: %s", status, http.StatusText(status), text))}
	}
	lines := make([]string, len(body.Errors))
	for i, line := range body.Errors {
		lines[i] = plain(line)
	}
	return &statusError{status, strings.Join(lines, "\n")}
}

// plain takes away the Java class names that errors begin with for the sake of Flink's clients.
func plain(s string) string {
	for {
		class, rest, ok := strings.Cut(s, ": ")
		if !ok || !strings.HasPrefix(class, "org.apache.flink.") || strings.ContainsAny(class, " \n") {
			return s
		}
		s = rest
	}
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
