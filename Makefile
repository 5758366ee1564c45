# Tranche: everything a checkout can do. `make help` explains.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup web demo demo-vm test test-vm check bench bench-backhaul verticals clean
MAKEFLAGS += --no-print-directory

TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
export CARGO_TARGET_DIR := $(TARGET_DIR)
WEB := controller/web
PORT ?= 8080
WEB_SOURCES := $(shell find $(WEB) -path $(WEB)/node_modules -prune -o -path $(WEB)/dist -prune -o -type f -print 2>/dev/null)

define HELP
NAME
    make - set up, run and check Tranche

SYNOPSIS
    make TARGET [ARGS="..."]

TARGETS
    demo     Two nodes on one channel, two tenants owed 30 % and 70 %: a table in the terminal and the operator's page.
             Runs until Ctrl-C. ARGS="--for 45s" ends by itself; ARGS="--help" lists the rest. ARGS="--backhaul" shows two
             tenants' encrypted paths instead, between agents in network namespaces; needs root, ip and nft. ARGS="--ran" shows
             promises over Wi-Fi, LTE and NR together.
    verticals
             Broadband, robots and meters on one simulated NR cell, ten users each: what each slice is owed and got, and how long its
             packets wait. ARGS="--for 60" measures longer.
    demo-vm  The same on a real radio stack, in a virtual machine without KVM: two agents with a hostapd each, clients, a contended
             medium. The page is at port 8080 of this machine; PORT=N takes another. ARGS as above.
    test     Every test that needs no virtual machine: Rust, foreign NETCONF clients, the page in Chromium. Last line: tests: N passed, M failed.
             ARGS="rust interop page-unit page page-cells" picks parts; vm is one more, and then the virtual machine has to be set up.
    test-vm  The tests that need a real radio stack: Debian's kernel with simulated radios (mac80211_hwsim), a contended
             medium, hostapd and the kernel's airtime scheduler, in a virtual machine without KVM. 20 to 30 minutes; ends
             with a table of what tenants are owed and got, by the medium's ledger, and what a packet costs the scheduler.
             ARGS="NAME" runs those whose name contains NAME. Last line: tests: N passed, M failed.
    check    fmt, pyang, the page's types, clippy and doc with warnings as errors, deny (licences, duplicate
             versions, advisories).
             ARGS="fmt clippy" picks checks.
    bench    All benchmarks, and their results as one table. ARGS="session" picks those whose name contains it.
    bench-backhaul
             Tunnels between agents in network namespaces: peers, rotation, insertion, failover, throughput (also of OpenVPN), many
             tunnels; needs root. ARGS="failover" picks rows; ARGS="--kernel" asks for the kernel's WireGuard.
    web      Build the operator's page, which the controller embeds.
    setup    Install what is missing (Debian, PyPI and npm packages), saying what. The targets above do it themselves.
    clean    Remove what was built; what set-up installed stays (in .tools and node_modules).
    help     This text.

FILES
    .tools/            What set-up installed.
    target/            What cargo built; target/ci/ holds the logs of the last test run.
    .ci/run            What continuous integration runs: cheap checks, then test and test-vm.

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

verticals:
	@.ci/setup build web
	@$(MAKE) web
	@cargo build --locked --workspace --bins
	@$(TARGET_DIR)/debug/verticals $(ARGS)

test: setup
	@$(MAKE) web
	@.ci/test $(ARGS)

demo-vm:
	@.ci/setup build web vm
	@$(MAKE) web
	@cargo build --locked --workspace --bins
	@netconf-tests/vm/run-in-vm --time-limit 0 --publish $(PORT):8080 -- $(TARGET_DIR)/debug/figure-21 --real \
		--relay 10.0.2.15:8080 --shown-as http://127.0.0.1:$(PORT) $(ARGS)

test-vm:
	@.ci/setup build web vm
	@$(MAKE) web
	@TEST_VM_FILTER="$(ARGS)" .ci/test vm

check:
	@.ci/setup build web $(if $(or $(filter deny,$(ARGS)),$(if $(ARGS),,all)),deny)
	@$(MAKE) web
	@.ci/check $(ARGS)

bench:
	@.ci/setup build web
	@$(MAKE) web
	@.ci/bench $(ARGS)

bench-backhaul:
	@.ci/setup build bench
	@cargo bench --locked -p tranche-agent --bench backhaul -- --run $(ARGS)

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
