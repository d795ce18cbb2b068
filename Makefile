# Each target is a line or two that calls cargo or loadgen. `make` alone prints this help:
#
#   make bench      build everything, load every server, print latency tables (about two minutes)
#                   PROFILE=quick|standard|full   SERVERS=epoll,poll   SCENARIOS=ping,idle
#   make answers    try published claims, write docs/answers.md (about half an hour); ANSWER=idle,herd for some
#   make report     print the tables of the newest bench again, from results/latest
#   make build      build everything, optimised
#   make test       formatting, lints, all tests
#   make soak       every server in turn under mixed hostile load, SOAK=7s each
#   make chaos      every server while its system calls fail, CHAOS="--seed 1" (needs strace; --all for every error)
#   make hosts      the recipes of docs/hosts on three hosts in namespaces, and what goes wrong there (as root; it says
#                   what is missing), HOSTS=--quick
#   make fuzz       hostile bytes to every parser, FUZZ=60 seconds each (needs cargo-fuzz)
#   make prove      the generator against closed forms, on a quiet machine (about twenty minutes)
#   make docs       bring the figures in the documents up to date with results/reference
#   make pictures   draw docs/pictures anew, from runs of every server
#   make fmt        format the code
#   make lint       clippy, warnings are errors
#   make clean      remove what was built (results stay)

PROFILE   ?= quick
SERVERS   ?=
SCENARIOS ?=
ANSWER    ?=
SOAK      ?= 7s
CHAOS     ?= --seed 1
FUZZ      ?= 60
HOSTS     ?=
CARGO     ?= cargo
LOADGEN    = $(CARGO) run --release --locked --quiet --package loadgen --

.PHONY: help build bench answers test soak chaos hosts fuzz prove docs pictures fmt lint report clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

build:
	$(CARGO) build --release --locked --workspace

bench: build
	@$(LOADGEN) bench --profile '$(PROFILE)' \
		$(if $(SERVERS),--servers '$(SERVERS)') $(if $(SCENARIOS),--scenarios '$(SCENARIOS)')

answers: build
	@$(LOADGEN) answers --docs docs/answers.md $(if $(ANSWER),--only '$(ANSWER)')

test:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --workspace --no-fail-fast

soak: build
	@set -e; for server in target/release/*-server; do echo "$$server"; \
		$(LOADGEN) check --soak '$(SOAK)' --server "$$server"; done

chaos: build
	@.ci/chaos $(CHAOS)

hosts: build
	@.ci/hosts $(HOSTS)

fuzz:
	@.ci/fuzz '$(FUZZ)'

prove:
	$(CARGO) test --release --locked --package loadgen --test generator -- --ignored --nocapture --test-threads=1

docs:
	UPDATE_DOCS=1 $(CARGO) test --locked --quiet --package loadgen --test reference

pictures: build
	@.ci/pictures

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

report:
	@$(LOADGEN) report results/latest

clean:
	$(CARGO) clean
