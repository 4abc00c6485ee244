package rpc

import (
	"strings"
	"time"
)

// FencedMessages counts the requests that this process refused because their token was not good: those of
// leaders of the past, and of processes that believed in one.
func (s *Service) FencedMessages() int64 { return s.fenced.Load() }

// Busy is how much time the main threads of this process's endpoints have spent in posted functions, by
// component: the endpoint's name without what follows a slash. Endpoints that are gone count too.
func (s *Service) Busy() map[string]time.Duration {
	s.endpointsMu.RLock()
	defer s.endpointsMu.RUnlock()
	busy := map[string]time.Duration{}
	for component, d := range s.retired {
		busy[component] = d
	}
	for _, e := range s.endpoints {
		busy[e.component()] += e.main.Busy()
	}
	return busy
}

// retire keeps what an endpoint that goes has counted. It needs s.endpointsMu.
func (s *Service) retire(e *Endpoint) {
	if s.retired == nil {
		s.retired = map[string]time.Duration{}
	}
	s.retired[e.component()] += e.main.Busy()
}

func (e *Endpoint) component() string {
	name, _, _ := strings.Cut(e.name, "/")
	return name
}

// note counts an answer.
func (s *Service) note(answer *Response) *Response {
	if answer.Code == fencedCode {
		s.fenced.Add(1)
	}
	return answer
}
