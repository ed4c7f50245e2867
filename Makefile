# make demo: see it work. make test: everything CI checks. Both set up all they
# need by themselves on a Debian machine with Go.

GO       ?= go
NUMALAB  := bin/numalab
# Caches of downloaded Debian packages and of built tools.
CACHE    := $(or $(NUMA_AGENT_CACHE),$(HOME)/.cache/numa-agent)
GOLANGCI := $(CACHE)/bin/golangci-lint-v2.15.0
# Tests that run in the lab: those that need several NUMA nodes, and those that
# hold what is read from a server's memory against the server's own word.
LAB_PKGS := ./keyspace ./mover ./cmd/numa-agent
LAB_RUN  := ^(TestLab|TestEveryEncoding|TestValueBytes)

export CGO_ENABLED = 0
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

.PHONY: build
build: ## Build bin/numa-agent.
	$(GO) build -trimpath -o bin/ ./cmd/numa-agent

.PHONY: demo
demo: ## Boot the lab, put a Redis on the wrong node, bring it home.
	$(GO) build -trimpath -o bin/ ./cmd/numa-agent ./internal/numalab/cmd/numalab ./internal/demo
	$(NUMALAB) -nodes 2 -mem 1GiB -timeout 5m -file bin/numa-agent:/usr/bin/numa-agent -- bin/demo

.PHONY: test
test: check unit lab ## Everything below.

.PHONY: check
check: $(GOLANGCI) ## gofmt, vet, linters, module files.
	$(GO) mod tidy -diff
	$(GO) vet -tags numalab ./...
	GOARCH=arm64 $(GO) vet -tags numalab ./...
	$(GOLANGCI) run ./...

.PHONY: unit
unit: ## Unit tests, fuzz corpora and real servers, under the race detector.
	CGO_ENABLED=1 $(GO) test -race -timeout 20m -v ./... | grep -vE '^(=== |PASS$$| *--- PASS)' # what is skipped, and why, is shown

.PHONY: lab
lab: lab-tools ## The tests that need NUMA: two nodes, then four of which one has no CPUs.
	$(GO) test -tags numalab -run '$(LAB_RUN)' -count=1 -timeout 20m -exec "$(CURDIR)/$(NUMALAB) -nodes 2 -mem 1GiB -timeout 10m --" $(LAB_PKGS)
	$(GO) test -tags numalab -run '$(LAB_RUN)' -count=1 -timeout 20m -exec "$(CURDIR)/$(NUMALAB) -nodes 4 -cpus 1,1,1,0 -mem 512MiB -timeout 10m --" $(LAB_PKGS)

.PHONY: lab-tools
lab-tools:
	$(GO) build -trimpath -o bin/ ./internal/numalab/cmd/numalab

$(GOLANGCI):
	mkdir -p $(@D)
	GOBIN=$(@D) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv $(@D)/golangci-lint $@

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 12
