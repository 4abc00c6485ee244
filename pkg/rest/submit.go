package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime/multipart"
	"net/http"

	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/logging"
	"github.com/tamias-project/tamias/pkg/protocol"
)

// Names of the parts of a submission.
const (
	requestPart = "request"
	binaryPart  = "jobbinary"
)

// maxRequestPart bounds the job graph of a submission, in bytes.
const maxRequestPart = 16 << 20

// errWrongContent: the uploaded binary is not the one that the job graph names.
var errWrongContent = errors.New("content does not match the job graph's SHA-256")

// submission is the request part: ours, or what a Flink client sends.
type submission struct {
	JobGraph *jobgraph.JobGraph `json:"jobGraph"`
	// Flink's names for a Java plan, which we only recognise.
	ExecutionPlan  string `json:"executionPlanFileName"`
	JavaJobGraph   string `json:"jobGraphFileName"`
	JavaJobJarName any    `json:"jobJarFileNames"`
}

type submitted struct {
	JobURL string `json:"jobUrl"`
}

// submit takes a job in: a part with the job graph, then one with the binary, which goes straight to
// the blob store. 202 means that the job is stored durably.
func (s *Server) submit(r *http.Request) (int, any, error) {
	if s.cfg.RefuseJobs {
		return 0, nil, s.refuse(r)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return 0, nil, failWith(http.StatusBadRequest, classHandler, "a job is submitted as multipart/form-data with the parts %q and %q: %s", requestPart, binaryPart, err)
	}
	graph, err := s.receive(r.Context(), parts)
	// The client may still be sending: it would take an answer before the end for a broken connection.
	if _, errDrain := io.Copy(io.Discard, r.Body); err == nil && errDrain != nil {
		err = brokenUpload(errDrain)
	}
	if err != nil {
		return 0, nil, err
	}
	if _, err := ask(r.Context(), s.dispatcher, protocol.SubmitJob, protocol.SubmitJobRequest{Graph: *graph}); err != nil {
		return 0, nil, err
	}
	s.cfg.Log.Info("job submitted", logging.Job(graph.ID))
	return http.StatusAccepted, submitted{"/jobs/" + graph.ID.String()}, nil
}

// refuse reads the request to its end, so that the client reads the answer.
func (s *Server) refuse(r *http.Request) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return brokenUpload(err)
	}
	return failWith(http.StatusForbidden, classHandler, "this cluster takes no jobs through REST: web.submit.enable is false in its configuration")
}

// receive reads all parts, stores the binary, and returns the job graph.
func (s *Server) receive(ctx context.Context, parts *multipart.Reader) (*jobgraph.JobGraph, error) {
	var graph *jobgraph.JobGraph
	for {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF) && graph == nil:
			return nil, failWith(http.StatusBadRequest, classHandler, "the part %q with the job graph is missing", requestPart)
		case errors.Is(err, io.EOF):
			return graph, nil
		case err != nil:
			return nil, brokenUpload(err)
		}
		switch part.FormName() {
		case requestPart:
			if graph, err = readGraph(part); err != nil {
				return nil, err
			}
		case binaryPart:
			if graph == nil {
				return nil, failWith(http.StatusBadRequest, classHandler, "the part %q must come before %q", requestPart, binaryPart)
			}
			if err := s.store(ctx, graph, part); err != nil {
				return nil, err
			}
		default:
			return nil, failWith(http.StatusBadRequest, classHandler, "Received unknown attribute %s.", part.FormName())
		}
	}
}

func readGraph(part io.Reader) (*jobgraph.JobGraph, error) {
	content, err := io.ReadAll(io.LimitReader(part, maxRequestPart+1))
	if err != nil {
		return nil, brokenUpload(err)
	}
	if len(content) > maxRequestPart {
		return nil, failWith(http.StatusRequestEntityTooLarge, classHandler, "the job graph is larger than %d bytes", maxRequestPart)
	}
	var request submission
	if err := json.Unmarshal(content, &request); err != nil {
		return nil, failWith(http.StatusBadRequest, classHandler, "Request did not match expected format JobSubmitRequestBody: %s", err)
	}
	switch {
	case request.JobGraph != nil && request.JobGraph.ID.IsZero():
		return nil, failWith(http.StatusBadRequest, classHandler, "the job graph has no job ID: the client chooses it")
	case request.JobGraph != nil:
		return request.JobGraph, nil
	case request.ExecutionPlan != "" || request.JavaJobGraph != "" || request.JavaJobJarName != nil:
		return nil, failWith(http.StatusBadRequest, classHandler, "this cluster runs Tamias jobs, which are Go programs; a plan of Flink's Java API cannot run here. Submit with: tamias run BINARY")
	default:
		return nil, failWith(http.StatusBadRequest, classHandler, "the part %q has no member jobGraph", requestPart)
	}
}

// store streams the binary into the blob store under the name that the job graph gives it.
func (s *Server) store(ctx context.Context, graph *jobgraph.JobGraph, part io.Reader) error {
	if key, err := hex.DecodeString(graph.Binary.Key); err != nil || len(key) != sha256.Size {
		return failWith(http.StatusBadRequest, classHandler, "binary key %q of the job graph: expected the 64 hex digits of a SHA-256", graph.Binary.Key)
	}
	content := &verifier{content: part, hash: sha256.New(), want: graph.Binary.Key}
	err := s.cfg.Uploads.Put(ctx, graph.ID, graph.Binary.Key, content)
	switch {
	case errors.Is(err, errWrongContent):
		return failWith(http.StatusBadRequest, classHandler, "job binary: %s", err)
	case content.failed != nil:
		return brokenUpload(content.failed)
	case err != nil:
		return fmt.Errorf("store binary of job %s: %w", graph.ID, err)
	}
	return nil
}

// brokenUpload is the answer to a body that could not be read, for whoever still listens.
func brokenUpload(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return failWith(http.StatusBadRequest, classHandler, "the upload broke off or is no multipart/form-data: %s", err)
}

// verifier passes content on and fails at its end, instead of io.EOF, when its hash is not want: a
// store that writes all or nothing then writes nothing.
type verifier struct {
	content io.Reader
	hash    hash.Hash
	want    string // lower-case hex
	failed  error  // of content, when it is not io.EOF
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.content.Read(p)
	v.hash.Write(p[:n])
	switch {
	case err == io.EOF:
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want {
			return n, fmt.Errorf("%w: %s instead of %s", errWrongContent, got, v.want)
		}
	case err != nil:
		v.failed = err
	}
	return n, err
}
