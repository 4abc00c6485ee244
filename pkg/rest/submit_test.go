package rest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/tamias-project/tamias/pkg/id"
	"github.com/tamias-project/tamias/pkg/jobgraph"
	"github.com/tamias-project/tamias/pkg/protocol"
)

type part struct {
	name, file string
	content    []byte
}

// multi writes parts as Java clients do: lower-case headers, a length in each.
func multi(parts ...part) (body []byte, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		disposition := fmt.Sprintf("form-data; name=%q", p.name)
		if p.file != "" {
			disposition += fmt.Sprintf("; filename=%q", p.file)
		}
		header := textproto.MIMEHeader{
			"content-disposition": {disposition},
			"content-length":      {fmt.Sprint(len(p.content))},
			"content-type":        {"application/octet-stream"},
		}
		pw, _ := w.CreatePart(header) // a buffer takes everything
		pw.Write(p.content)
	}
	w.Close()
	return b.Bytes(), w.FormDataContentType()
}

func sampleSubmission(content []byte) (jobgraph.JobGraph, part) {
	g := sampleJob(id.NewJob(), "new", protocol.JobRunning).Graph
	sum := sha256.Sum256(content)
	g.Binary = jobgraph.Binary{Key: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	request, _ := json.Marshal(map[string]any{"jobGraph": g, "from-the-future": 1}) // plain data
	return g, part{"request", "", request}
}

// post sends without a length, in chunks.
func (f *fixture) post(body []byte, contentType string) (*http.Response, string) {
	f.t.Helper()
	return f.do("POST", "/v1/jobs", io.MultiReader(bytes.NewReader(body)), func(r *http.Request) { r.Header.Set("Content-Type", contentType) })
}

func TestSubmit(t *testing.T) {
	f := newFixture(t)
	l := f.lead("jm:1")
	f.announce(l)
	content := bytes.Repeat([]byte("ELF"), 100_000)
	g, request := sampleSubmission(content)
	for range 2 { // the second time the binary is there already
		response, body := f.post(multi(request, part{"jobbinary", "job", content}))
		if response.StatusCode != 202 || body != `{"jobUrl":"/jobs/`+g.ID.String()+`"}` {
			t.Fatalf("POST /jobs = %d %s", response.StatusCode, body)
		}
	}
	if len(l.submitted) != 2 || l.submitted[0].Graph.ID != g.ID || l.submitted[0].Graph.Binary != g.Binary {
		t.Errorf("submitted = %+v", l.submitted)
	}
	r, err := f.blobs.Open(t.Context(), g.ID, g.Binary.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("blob of %d bytes, %v; want %d", len(got), err, len(content))
	}
}

func TestSubmissionsTurnedOff(t *testing.T) {
	f := newFixture(t)
	f.server.cfg.RefuseJobs, f.server.cfg.HideCancel, f.server.cfg.AllowOrigin = true, true, "https://here"
	l := f.lead("jm:1")
	f.announce(l)
	content := bytes.Repeat([]byte("ELF"), 1_000_000)
	_, request := sampleSubmission(content)
	response, body := f.post(multi(request, part{"jobbinary", "job", content}))
	if response.StatusCode != http.StatusForbidden || !strings.Contains(body, "web.submit.enable is false") {
		t.Errorf("POST /jobs = %d %s", response.StatusCode, body)
	}
	if origin := response.Header.Get("Access-Control-Allow-Origin"); origin != "https://here" {
		t.Errorf("Access-Control-Allow-Origin is %q", origin)
	}
	if len(l.submitted) > 0 {
		t.Error("the job was submitted all the same")
	}
	if _, body := f.do("GET", "/config", nil); !strings.Contains(body, `"web-cancel":false`) {
		t.Errorf("GET /config = %s", body)
	}
}

func TestRefusedSubmissions(t *testing.T) {
	f := newFixture(t)
	l := f.lead("jm:1")
	f.announce(l)
	content := []byte("binary")
	_, request := sampleSubmission(content)
	binary := part{"jobbinary", "job", content}
	nameless, _ := json.Marshal(map[string]any{"jobGraph": jobgraph.JobGraph{Name: "x"}})
	java := `{"executionPlanFileName":"plan.bin","jobJarFileNames":["a.jar"],"jobArtifactFileNames":[]}`
	for _, tc := range []struct {
		name   string
		parts  []part
		status int
		want   string
	}{
		{"wrong content", []part{request, {"jobbinary", "job", []byte("forged")}}, 400, "does not match"},
		{"binary first", []part{binary, request}, 400, "must come before"},
		{"nothing", nil, 400, "missing"},
		{"no job ID", []part{{"request", "", nameless}}, 400, "no job ID"},
		{"no graph", []part{{"request", "", []byte("{}")}}, 400, "no member jobGraph"},
		{"not JSON", []part{{"request", "", []byte("hello")}}, 400, "did not match expected format"},
		{"unknown part", []part{request, {"extra", "", nil}}, 400, "unknown attribute extra"},
		{"Java plan", []part{{"request", "", []byte(java)}, {"file_0", "plan.bin", content}}, 400, "Go programs"},
		{"too large a graph", []part{{"request", "", make([]byte, maxRequestPart+1)}}, 413, "larger than"},
		{"too large a binary to be right", []part{request, {"jobbinary", "job", make([]byte, 2<<20)}}, 400, "does not match"},
	} {
		response, body := f.post(multi(tc.parts...))
		if got := errorsOf(t, body); response.StatusCode != tc.status || !strings.Contains(got[0], tc.want) {
			t.Errorf("%s: %d %q, want %d with %q", tc.name, response.StatusCode, got, tc.status, tc.want)
		}
	}
	if response, body := f.do("POST", "/jobs", strings.NewReader("{}"), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }); response.StatusCode != 400 {
		t.Errorf("POST /jobs with JSON = %d %s, want 400", response.StatusCode, errorsOf(t, body))
	}
	if len(l.submitted) != 0 || len(f.files.Files()) != 0 {
		t.Errorf("after refusals only: submitted %v, stored %v", l.submitted, f.files.Files())
	}
	for _, tc := range []struct {
		err  error
		want int
	}{{protocol.ErrInvalidJob, 400}, {protocol.ErrJobConflict, 409}} {
		l.locked(func() { l.err = tc.err })
		if response, _ := f.post(multi(request, binary)); response.StatusCode != tc.want {
			t.Errorf("when the dispatcher says %v = %d, want %d", tc.err, response.StatusCode, tc.want)
		}
	}
}

func TestJavaThrowable(t *testing.T) {
	b := javaThrowable("C", "m\x00é😀", "trace")
	for _, want := range [][]byte{
		{0xac, 0xed, 0, 5}, {0x74, 0, 11, 'm', 0xc0, 0x80, 0xc3, 0xa9, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80}, []byte("\x74\x00\x05trace\x74\x00\x01C"),
	} {
		if !bytes.Contains(b, want) {
			t.Errorf("bytes % x do not contain % x", b, want)
		}
	}
	if long := appendJavaString(nil, strings.Repeat("é", 40_000)); len(long) != 3+65534 {
		t.Errorf("a long string takes %d bytes, want 65537", len(long))
	}
}
