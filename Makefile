# Tranche: everything a checkout can do. `make help` explains.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup web demo test check bench clean
MAKEFLAGS += --no-print-directory

TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
export CARGO_TARGET_DIR := $(TARGET_DIR)
WEB := controller/web
WEB_SOURCES := $(shell find $(WEB) -path $(WEB)/node_modules -prune -o -path $(WEB)/dist -prune -o -type f -print 2>/dev/null)

define HELP
NAME
    make - set up, run and check Tranche

SYNOPSIS
    make TARGET [ARGS="..."]

TARGETS
    demo     Two nodes on one channel, two tenants owed 30 % and 70 %: a table in the terminal and the operator's page.
             Runs until Ctrl-C. ARGS="--for 45s" ends by itself; ARGS="--help" lists the rest.
    test     Every test: Rust, foreign NETCONF clients, the page in Chromium. Last line: tests: N passed, M failed.
             ARGS="rust interop page-unit page" picks parts.
    check    fmt, pyang, the page's types, clippy and doc with warnings as errors, deny (licences, duplicate
             versions, advisories).
             ARGS="fmt clippy" picks checks.
    bench    All benchmarks, and their results as one table. ARGS="session" picks those whose name contains it.
    web      Build the operator's page, which the controller embeds.
    setup    Install what is missing (Debian, PyPI and npm packages), saying what. The targets above do it themselves.
    clean    Remove what was built; what set-up installed stays (in .tools and node_modules).
    help     This text.

FILES
    .tools/            What set-up installed.
    target/            What cargo built; target/ci/ holds the logs of the last test run.
    .ci/run            What continuous integration runs: cheap checks, then test.

ENVIRONMENT
    CARGO_TARGET_DIR   Where cargo builds, instead of target/.
endef
export HELP

help:
	@echo "$$HELP"

setup:
	@.ci/setup

demo:
	@.ci/setup build web
	@$(MAKE) web
	@cargo build --locked --workspace --bins
	@$(TARGET_DIR)/debug/figure-21 $(ARGS)

test: setup
	@$(MAKE) web
	@.ci/test $(ARGS)

check:
	@.ci/setup build web $(if $(or $(filter deny,$(ARGS)),$(if $(ARGS),,all)),deny)
	@$(MAKE) web
	@.ci/check $(ARGS)

bench:
	@.ci/setup build web
	@$(MAKE) web
	@.ci/bench $(ARGS)

web:
	@.ci/setup build web
ifneq ($(wildcard $(WEB)/package.json),)
	@$(MAKE) -s $(WEB)/dist/index.html
endif

$(WEB)/dist/index.html: $(WEB_SOURCES)
	@source .ci/env && npm --prefix $(WEB) run --silent build
	@touch $@

clean:
	cargo clean
	rm -rf $(WEB)/dist netconf-tests/web/test-results
