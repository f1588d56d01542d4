# Everything that is done to this project by hand has a target here: `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The lab is one per machine, and each target uses all cores by itself.
.NOTPARALLEL:

# Built third-party binaries and tools, keyed by version, outside of the work tree.
CACHE := $(abspath $(or $(CEO_LAB_CACHE),$(HOME)/.cache/ceo-lab))
export CEO_LAB_CACHE := $(CACHE)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= clusteretcd.io/ceo:$(VERSION)

# go stamps the commit. Where git does not trust the tree (another user's clone), that would fail every build.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 && echo ok),ok)
export GOFLAGS := $(strip $(shell go env GOFLAGS) -buildvcs=false)
endif
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X clusteretcd.io/ceo/internal/cli.Version=$(VERSION)'

GOLANGCI_VERSION := $(shell awk '$$1 == "github.com/golangci/golangci-lint/v2" { print $$2 }' tools/lint/go.mod)
# A linter that an older go built does not read code of a newer one.
GOLANGCI := $(CACHE)/tools/golangci-lint-$(GOLANGCI_VERSION)-$(shell go env GOVERSION)

# internal/store/s3test has the version too: a test compares the two.
VERSITYGW_VERSION := $(shell awk '$$1 == "github.com/versity/versitygw" { print $$2 }' tools/s3/go.mod)
VERSITYGW := $(CACHE)/tools/versitygw-$(VERSITYGW_VERSION)

# Helm and Prometheus' reader of expressions, for the chart's tests. HELM is built from its own module; promql is ours.
HELM   := $(CACHE)/tools/helm-$(shell awk '$$1 == "helm.sh/helm/v4" { print $$2 }' tools/helm/go.mod)
PROMQL := $(CACHE)/tools/promql-$(shell awk '/github.com\/prometheus\/prometheus v/ { for (i = 1; i <= NF; i++) if ($$i ~ /^v/) print $$i }' tools/promql/go.mod)

# Folders with etcd and etcdctl. internal/etcdtest has the versions too: a test compares them.
old-etcd = $(CACHE)/tools/etcd-$(shell awk '$$1 == "go.etcd.io/etcd/server/v3" && $$2 { print $$2 }' tools/$(1)/go.mod)
ETCD35 := $(call old-etcd,etcd35)
ETCD36 := $(call old-etcd,etcd36)

# One package of these suites may take this long. A wait that hangs ends with a stack, not with the job.
UNIT_LIMIT        := 5m
INTEGRATION_LIMIT := 15m
LAB_LIMIT         := 20m
E2E_LIMIT         := 45m
FUZZ_TIME         ?= 20s
E2E_FULL_LIMIT    := 120m
BENCH_LIMIT       := 60m

##@ The two

.PHONY: demo
demo: deps build image build-load ## Bring a real three-node control plane up, destroy it, recover it, prove it whole
	go run ./test/demo

.PHONY: test
test: integration fuzz lab-test e2e ## Everything that checks the project (the unit tests are part of `integration`); needs root

##@ Working on it

.PHONY: unit
unit: ## The fast loop: no root, no lab, no etcd
	go test -timeout $(UNIT_LIMIT) ./...
	cd lab && go test -timeout $(UNIT_LIMIT) ./...

.PHONY: integration
integration: deps deps-s3 deps-old-etcd deps-helm ## Unit tests and those that run real etcd, kube-apiserver and S3 server processes
	go test -tags integration -timeout $(INTEGRATION_LIMIT) ./...

# As many at once as there are cores, each with one worker. Minimising is bounded by runs: a target with goroutines has no
# stable coverage, and would minimise for all of its time.
.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZ_TIME: what is read from files and stores must not crash ceo
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal | sed 's#/[^/]*:func # #' | sort -u | \
	xargs -P $$(nproc) -L 1 sh -c 'out=$$(go test -run "^$$" -fuzz "^$$1\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 10x -parallel 1 -timeout $(UNIT_LIMIT) ./$$0 2>&1) && \
		echo "ok $$1 in $$0 for $(FUZZ_TIME)" || { echo "$$out"; echo "FAILED: $$1 in $$0"; exit 1; }'

.PHONY: lab-test
lab-test: deps ## The lab's own tests, those that bring a lab up included
	cd lab && go test -tags lab -count=1 -p 1 -timeout $(LAB_LIMIT) ./...

.PHONY: e2e
e2e: deps deps-s3 build build-operator build-failpoints build-lab build-load ## The end-to-end suite on the lab
	go test -tags e2e -count=1 -p 1 -v -timeout $(E2E_LIMIT) ./test/e2e/...

.PHONY: e2e-full
e2e-full: deps deps-s3 deps-old-etcd build build-operator build-failpoints build-clock build-lab build-load ## The same with the long cases (every step killed, worst kubelets)
	CEO_E2E_FULL=1 go test -tags e2e -count=1 -p 1 -v -timeout $(E2E_FULL_LIMIT) ./test/e2e/...

.PHONY: bench
bench: deps build build-lab build-load bench-storage ## All measurements: how long a recovery takes, beside the documented manual procedure in the same run; and bench-storage
	timeout --foreground $(BENCH_LIMIT) go run ./bench

.PHONY: bench-storage
bench-storage: deps-etcd deps-s3 build ## Restores and backups of 100 MB, 1 GB and 4 GB beside etcdutl, etcdctl and cp (needs 25 GB of disk)
	timeout --foreground $(BENCH_LIMIT) go run ./bench/storage -ceo bin/ceo

.PHONY: bench-idle
bench-idle: deps build build-operator ## What operator, agents and guards cost while nothing happens: five members, CEO_IDLE_WINDOW (2m); see docs/idle.md
	CEO_IDLE_BIN=$(abspath bin) CEO_IDLE_REPORT=$(abspath bin)/idle.md \
		go test -tags integration -count=1 -timeout $(BENCH_LIMIT) -run '^$$' -bench '^BenchmarkIdle$$' -benchtime 1x ./test/operator/
	cat bin/idle.md

.PHONY: bench-scale
bench-scale: deps-etcd build ## Write stalls while etcd grows from 1 to 3 to 5 members and back, beside a learner that is promoted at once
	timeout --foreground $(BENCH_LIMIT) go run ./bench/scale -ceo bin/ceo

.PHONY: lint
lint: lint-go lint-imports lint-modules lint-generated ## Linters, import rules, module files, generated files

.PHONY: lint-go
lint-go: $(GOLANGCI)
	$(GOLANGCI) run --build-tags integration,e2e ./...
	cd lab && $(GOLANGCI) run --build-tags lab ./...
	go vet -tags integration,e2e,failpoints,lab ./...
	cd lab && go vet -tags lab ./...

# depguard sees what a package imports itself; this sees what it drags in.
.PHONY: lint-imports
lint-imports:
	@for p in ./internal/agent ./internal/guard ./internal/recovery/engine ./internal/install ./internal/render ./cmd/ceo; do \
		deps=$$(go list -deps $$p); \
		if bad=$$(grep -E '^(k8s\.io/client-go|sigs\.k8s\.io/controller-runtime)(/|$$)' <<<"$$deps"); then \
			echo "$$p must work with the API server down (I24), and depends on:"; echo "$$bad"; exit 1; \
		fi; \
	done; echo "import graph: no API client in what runs on a node"

.PHONY: lint-modules
lint-modules:
	go mod tidy -diff && go mod verify
	cd lab && go mod tidy -diff && go mod verify
	cd tools && go mod tidy -diff && go mod verify
	cd tools/lint && go mod verify
	cd tools/s3 && go mod verify
	cd tools/helm && go mod verify
	cd tools/promql && go mod tidy -diff && go mod verify
	cd tools/etcd35 && go mod verify
	cd tools/etcd36 && go mod verify

.PHONY: lint-generated
lint-generated:
	tools/crds.sh check
	tools/rbac.sh check
	@if command -v protoc >/dev/null; then tools/protoc.sh check; \
	else echo "generated files: not checked, there is no protoc here (apt-get install protobuf-compiler libprotobuf-dev)"; fi

.PHONY: fmt
fmt: $(GOLANGCI) ## Format all Go files as `make lint` wants them
	$(GOLANGCI) fmt ./...
	cd lab && $(GOLANGCI) fmt ./...

.PHONY: generate
generate: ## Generate CRDs and deep copies from the API, the chart's roles from the markers beside the code, and Go from the agent's protocol (needs protoc: apt-get install protobuf-compiler libprotobuf-dev)
	tools/crds.sh write
	tools/rbac.sh write
	tools/protoc.sh write

##@ Building

.PHONY: build
build: ## bin/ceo, static
	$(GOBUILD) -o bin/ceo ./cmd/ceo

.PHONY: build-operator
build-operator: ## bin/ceo-operator, static
	$(GOBUILD) -o bin/ceo-operator ./cmd/ceo-operator

.PHONY: build-failpoints
build-failpoints: ## bin/failpoints/ceo, which dies where a test asks it to; never for use
	$(GOBUILD) -tags failpoints -o bin/failpoints/ceo ./cmd/ceo

.PHONY: build-clock
build-clock: ## bin/clock/ceo-operator, whose wall clock a test moves; never for use
	tools/clock.sh bin/clock/ceo-operator ./cmd/ceo-operator

.PHONY: build-lab
build-lab: ## bin/lab
	cd lab && CGO_ENABLED=0 go build -trimpath -o ../bin/lab .

.PHONY: build-load
build-load: ## bin/load, the writer and watcher beside a lab
	CGO_ENABLED=0 go build -trimpath -o bin/load ./test/load

.PHONY: image
image: build build-operator build-lab ## bin/ceo-image.tar, a container image of bin/ceo and bin/ceo-operator
	bin/lab image bin/ceo-image.tar $(IMAGE) bin/ceo bin/ceo-operator

.PHONY: deps
deps: ## What the lab is made of: Debian packages; Kubernetes, etcd and images built into the cache (minutes, once)
	cd lab && go run . deps

.PHONY: deps-etcd
deps-etcd: ## etcd alone, without root
	cd lab && go run . deps --etcd-only

.PHONY: deps-s3
deps-s3: $(VERSITYGW) ## The S3 server alone, for `make integration`

$(VERSITYGW):
	@echo "building versitygw $(VERSITYGW_VERSION) (a minute, once)"
	mkdir -p $(@D)
	cd tools/s3 && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $@.new github.com/versity/versitygw/cmd/versitygw
	mv $@.new $@

.PHONY: deps-helm
deps-helm: $(HELM) $(PROMQL) ## Helm and Prometheus' reader of expressions, with which `make integration` checks the chart

$(HELM):
	@echo "building $(@F) (some minutes, once)"
	mkdir -p $(@D)
	cd tools/helm && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $@.new helm.sh/helm/v4/cmd/helm
	mv $@.new $@

$(PROMQL): tools/promql/main.go
	mkdir -p $(@D)
	cd tools/promql && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o $@.new .
	mv $@.new $@

.PHONY: deps-old-etcd
deps-old-etcd: $(ETCD35) $(ETCD36) ## etcd 3.5 and 3.6, whose snapshots `make integration` restores

$(ETCD35): OLD := etcd35
$(ETCD36): OLD := etcd36
$(ETCD35) $(ETCD36):
	@echo "building $(@F) (a minute, once)"
	mkdir -p $@.new
	cd tools/$(OLD) && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $@.new/etcd go.etcd.io/etcd/server/v3
	cd tools/$(OLD) && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $@.new/etcdctl go.etcd.io/etcd/etcdctl/v3
	mv $@.new $@

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION) (some minutes, once)"
	mkdir -p $(@D)
	cd tools/lint && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $@.new github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	mv $@.new $@

.PHONY: lab-down
lab-down: ## Remove a lab that a run left behind
	cd lab && go run . down

.PHONY: clean
clean: ## Remove what was built in the work tree, not the cache
	rm -rf bin

.PHONY: help
help: ## This
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Cache: $(CACHE) (CEO_LAB_CACHE)"
