package rest

import (
	"net/http"
	"strings"

	"github.com/tamias-project/tamias/pkg/id"
)

// methods that some path of the API serves.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete}

// Handler serves the whole API, each path bare and below /v1.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range s.routes() {
		mux.HandleFunc(pattern, s.respond(h))
	}
	mux.HandleFunc("POST /jobs", s.upload(s.submit, 0)) // binaries may be of any size, as in Flink
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		original := r.URL.RequestURI()
		if path, ok := strings.CutPrefix(r.URL.Path, "/v1"); ok && strings.HasPrefix(path, "/") {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = path, ""
		}
		if serves(mux, r, r.Method) {
			mux.ServeHTTP(w, r)
			return
		}
		s.respond(func(r *http.Request) (int, any, error) { return 0, nil, missing(mux, r, original) })(w, r)
	})
}

func (s *Server) routes() map[string]handler {
	return map[string]handler{
		"GET /config":                           get(s.webConfig),
		"GET /overview":                         get(s.overview),
		"DELETE /cluster":                       s.stopCluster,
		"GET /cluster/leadership":               get(s.leadership),
		"GET /jobs":                             get(s.jobIDs),
		"GET /jobs/overview":                    get(s.jobsOverview),
		"GET /jobs/{jobid}":                     get(s.jobDetails),
		"PATCH /jobs/{jobid}":                   s.cancel,
		"GET /jobs/{jobid}/yarn-cancel":         s.cancel,
		"GET /jobs/{jobid}/details":             get(s.describe),
		"GET /jobs/{jobid}/status":              get(s.jobStatus),
		"GET /jobs/{jobid}/plan":                get(s.jobPlan),
		"GET /jobs/{jobid}/config":              get(s.jobConfig),
		"GET /jobs/{jobid}/exceptions":          get(s.jobExceptions),
		"GET /jobs/{jobid}/execution-result":    get(s.jobResult),
		"GET /jobs/{jobid}/checkpoints":         get(s.checkpoints),
		"GET /jobs/{jobid}/checkpoints/config":  get(s.checkpointConfig),
		"GET /jobs/{jobid}/vertices/{vertexid}": get(s.vertex),
		"GET /taskmanagers":                     get(s.taskManagers),
		"GET /taskmanagers/{taskmanagerid}":     get(s.taskManager),
		"GET /jobmanager/config":                get(s.configuration),
		"GET /jobmanager/environment":           get(s.environment),
	}
}

// serves reports whether mux has a pattern for r under method. A GET pattern does not serve HEAD here,
// as in Flink.
func serves(mux *http.ServeMux, r *http.Request, method string) bool {
	if method == http.MethodHead {
		return false
	}
	probe := *r
	probe.Method = method
	_, pattern := mux.Handler(&probe)
	return pattern != ""
}

// missing is the answer to what no route serves. Flink takes an unknown GET for a static file.
func missing(mux *http.ServeMux, r *http.Request, uri string) error {
	for _, method := range methods {
		if r.Method != http.MethodGet || serves(mux, r, method) {
			return &statusError{http.StatusNotFound, []string{"Not found: " + uri}}
		}
	}
	return &statusError{http.StatusNotFound, []string{"Unable to load requested file " + r.URL.Path + "."}}
}

func jobParameter(r *http.Request) (id.Job, error) {
	job, err := id.ParseJob(r.PathValue("jobid"))
	if err != nil {
		return job, badParameter("path", "jobid", r.PathValue("jobid"))
	}
	return job, nil
}

func vertexParameter(r *http.Request) (id.Vertex, error) {
	vertex, err := id.ParseVertex(r.PathValue("vertexid"))
	if err != nil {
		return vertex, badParameter("path", "vertexid", r.PathValue("vertexid"))
	}
	return vertex, nil
}
