package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/tamias-project/tamias/pkg/protocol"
)

// Class names under which Flink clients know the kinds of errors.
const (
	classNotFound   = "org.apache.flink.runtime.rest.NotFoundException"
	classHandler    = "org.apache.flink.runtime.rest.handler.RestHandlerException"
	classBadRequest = "org.apache.flink.runtime.rest.handler.HandlerRequestException"
)

const leaderElectionMessage = "Service temporarily unavailable due to an ongoing leader election. Please refresh."

// statusError is an answer other than success: a status and the strings of its body.
type statusError struct {
	status   int
	messages []string
}

func (e *statusError) Error() string { return strings.Join(e.messages, "\n") }

// failWith returns a client error whose text begins with a class name, as Flink's do.
func failWith(status int, class, format string, args ...any) error {
	return &statusError{status, []string{class + ": " + fmt.Sprintf(format, args...)}}
}

func notFound(format string, args ...any) error {
	return failWith(http.StatusNotFound, classNotFound, format, args...)
}

func badParameter(kind, name, value string) error {
	return &statusError{http.StatusBadRequest, []string{fmt.Sprintf(
		"Bad request, could not parse parameters: %s: Cannot resolve %s parameter (%s) from value %q.",
		classBadRequest, kind, name, value)}}
}

// answerOf turns any error into a status and the strings of the body.
func answerOf(err error) *statusError {
	var known *statusError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLarge):
		return &statusError{http.StatusRequestEntityTooLarge, []string{fmt.Sprintf(
			"HTTP request is larger than %d bytes, the limit set by rest.server.max-content-length.", tooLarge.Limit)}}
	case errors.Is(err, protocol.ErrNotReady):
		return &statusError{http.StatusServiceUnavailable, []string{"Service temporarily unavailable: " + err.Error()}}
	case errors.Is(err, errNoLeader):
		return &statusError{http.StatusServiceUnavailable, []string{leaderElectionMessage}}
	case isAny(err, protocol.ErrJobEnded, protocol.ErrJobConflict):
		return &statusError{http.StatusConflict, []string{classHandler + ": " + remoteText(err)}}
	case errors.Is(err, protocol.ErrInvalidJob):
		return &statusError{http.StatusBadRequest, []string{classHandler + ": " + remoteText(err)}}
	default:
		return &statusError{http.StatusInternalServerError, []string{
			"Internal server error.",
			"<Exception on server side:\n" + err.Error() + "\nEnd of exception on server side>",
		}}
	}
}

// remoteText is what the leader said, without our words on how it was asked.
func remoteText(err error) string {
	if said := errors.Unwrap(err); said != nil && errors.Unwrap(said) != nil {
		return said.Error()
	}
	return err.Error()
}

// handler answers a request with a status and a value that becomes JSON, or with an error.
type handler func(r *http.Request) (status int, body any, err error)

// get is a handler for requests that are answered 200 or with an error.
func get[T any](f func(r *http.Request) (T, error)) handler {
	return func(r *http.Request) (int, any, error) {
		body, err := f(r)
		return http.StatusOK, body, err
	}
}

// respond serves h after the request's body has been read and dropped: Java clients send one with every
// GET and PATCH, and left unread it would be taken for the next request.
func (s *Server) respond(h handler) http.HandlerFunc {
	return s.upload(func(r *http.Request) (int, any, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return 0, nil, fmt.Errorf("read request: %w", err)
		}
		return h(r)
	}, s.cfg.MaxContentLength)
}

// upload serves h, which reads the request's body, of at most so many bytes, 0 = of any size.
func (s *Server) upload(h handler, most int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if most > 0 {
			r.Body = http.MaxBytesReader(w, r.Body, most)
		}
		status, body, err := h(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, r, status, body)
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerOf(err)
	switch {
	case answer.status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
		s.cfg.Log.Debug("request found no leader", zap.String("path", r.URL.Path), zap.Error(err))
	case answer.status >= 500:
		s.cfg.Log.Warn("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
	s.write(w, r, answer.status, struct {
		Errors []string `json:"errors"`
	}{answer.messages})
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		s.cfg.Log.Error("answer could not be encoded", zap.String("path", r.URL.Path), zap.Error(err))
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	content := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("Access-Control-Allow-Origin", s.cfg.AllowOrigin)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if !r.Close {
		h.Set("Connection", "keep-alive")
	}
	w.WriteHeader(status)
	w.Write(content) // a client that has left notices nothing, and there is nobody else to tell
}
