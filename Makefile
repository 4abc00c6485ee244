# `make` lists the targets.
SHELL      := /bin/bash
GO         ?= go
TOOL       := $(GO) tool -modfile=internal/tools/go.mod
BIN        := $(CURDIR)/bin
SEEDS      ?= 1000
FIRST      ?= 0
JOBS       ?= 2
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -X github.com/tamias-project/tamias/pkg/entrypoint.Version=$(VERSION)
export CGO_ENABLED ?= 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## programs into bin/: jobmanager, taskmanager, tamias, and the example jobs
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/... ./examples/... ./bench/workloads

.PHONY: demo
demo: build ## a local cluster of 2+2 processes; its leader is killed; the job does not notice
	scripts/demo.sh

.PHONY: deps
deps: ## what tests need from the system: ZooKeeper's jars and a JRE, shellcheck
	scripts/install-test-deps.sh

.PHONY: lint
lint: ## gofmt, vet, staticcheck, errorlint, misspell, shellcheck
	@test -z "$$(gofmt -l cmd pkg stream internal examples test bench 2>/dev/null)" || { gofmt -l cmd pkg stream internal examples test bench; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) go-errorlint ./...
	git ls-files -- '*.go' '*.md' '*.sh' | xargs $(TOOL) misspell -error
	shellcheck scripts/*.sh

.PHONY: unit
unit: ## tests beside the code, with the race detector
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /tamias/test)

.PHONY: simulation
simulation: ## the whole control plane in memory under SEEDS (1000) random failure schedules, from FIRST (0) on
	$(GO) test -timeout 3h ./test/simulation -seeds $(SEEDS) -first $(FIRST)

.PHONY: mutants
mutants: ## break the code on purpose, one way at a time (JOBS of them at once, 2): the tests have to notice
	$(GO) run ./internal/mutants -jobs $(JOBS)

.PHONY: cluster-test
cluster-test: build ## real processes, real ZooKeeper, real signals
	$(GO) test -timeout 15m -count 1 $$($(GO) list ./test/... | grep -v /test/simulation)

.PHONY: test
test: deps lint unit simulation cluster-test ## everything, from a fresh machine

.PHONY: bench
bench: build ## figures, beside a real Flink when one is set up (see bench/README.md)
	bench/run.sh

.PHONY: clean
clean: ## remove what make built
	rm -rf $(BIN)
