# phoenix-cached. `make help` lists the targets.
#
# Everything is built below BUILD; sanitizer and compiler variants are the same rules with another BUILD.

BUILD     ?= build
ifeq ($(origin CC),default)
CC        := gcc
endif
MODE      ?= release
VERSION   := 0.1.0
RELEASED  := 2026-11-23
# Where `make install` puts things, below DESTDIR.
PREFIX    ?= /usr/local
SYSCONFDIR ?= /etc

PC        := libmicrohttpd hiredis libcjson libuv libcrypto inih sqlite3
TEST_PC   := check libcurl
DEB_RUN   := gcc libc6-dev make pkg-config libmicrohttpd-dev libhiredis-dev libcjson-dev libuv1-dev libssl-dev libinih-dev libsqlite3-dev curl
DEB_REDIS := redis-server redis-tools
DEB_TEST  := check libcurl4-openssl-dev openssl iproute2 $(DEB_REDIS)
DEB_CHECK := clang clang-format clang-tidy cppcheck shellcheck libclang-rt-14-dev mandoc groff systemd python3-yaml
DEB_IMAGE := podman buildah runc catatonit debootstrap
# Node.js from elsewhere brings its own npm, and Debian's does not install beside it.
DEB_BENCH = webdis wrk strace valgrind $(shell command -v npm >/dev/null || echo nodejs npm)

WARN      := -Wall -Wextra -Wshadow -Wconversion -Werror
FLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
LINK_release  := -pie -Wl,-z,relro,-z,now
FLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LINK_asan     := -fsanitize=address,undefined
FLAGS_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
LINK_tsan     := -fsanitize=thread
FLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LINK_fuzz     := -fsanitize=fuzzer,address,undefined

# Expanded only when something is compiled, after `make deps` had its chance.
# TLS to Redis, where hiredis has it (from 1.0 on); hiredis_ssl.pc does not name OpenSSL's own libraries.
TLS        = $(shell pkg-config --exists hiredis_ssl && echo hiredis_ssl libssl)
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -DPHOENIX_VERSION='"$(VERSION)"' $(if $(TLS),-DPHOENIX_TLS) $(WARN) $(FLAGS_$(MODE)) -Iinclude -Isrc -I$(BUILD)/gen \
             $(shell pkg-config --cflags $(PC) | sed 's/-I/-isystem /g') $(CFLAGS)
LIBS_ALL   = $(shell pkg-config --libs $(TLS) $(PC)) -lpthread -lm
TEST_LIBS  = $(shell pkg-config --libs $(TEST_PC)) $(LIBS_ALL)

SRC       := $(shell find src -name '*.c' ! -name main.c | sort)
OBJ       := $(SRC:%.c=$(BUILD)/obj/%.o)
SUPPORT   := $(sort $(wildcard tests/support/*.c))
SUPPORT_O := $(SUPPORT:%.c=$(BUILD)/obj/%.o)
UNIT      := $(shell find tests/unit -name 'test_*.c' 2>/dev/null | sort)
INTEG     := $(shell find tests/integration -name 'test_*.c' 2>/dev/null | sort)
UNIT_BIN  := $(UNIT:%.c=$(BUILD)/%)
INTEG_BIN := $(INTEG:%.c=$(BUILD)/%)
MODEL     := $(sort $(wildcard tests/model/test_*.c))
MODEL_O   := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(MODEL),$(sort $(wildcard tests/model/*.c))))
MODEL_BIN := $(MODEL:%.c=$(BUILD)/%)
CHAOS     := $(sort $(wildcard tests/chaos/test_*.c))
CHAOS_O   := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(CHAOS),$(sort $(wildcard tests/chaos/*.c))))
CHAOS_BIN := $(CHAOS:%.c=$(BUILD)/%)
FUZZ      := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN  := $(FUZZ:%.c=$(BUILD)/%)
EMBED     := $(sort $(wildcard src/engine/redis/scripts/*.lua)) docs/openapi.json $(BUILD)/gen/page.html $(BUILD)/gen/page.policy
EMBED_H   := $(BUILD)/gen/embed/built_with.h $(addprefix $(BUILD)/gen/embed/,$(addsuffix .h,$(notdir $(EMBED))))

.PHONY: all run test unit integration check format deps deps-test deps-check deps-bench asan tsan clang fuzz bench bench-check \
        clean help docs install uninstall image image-base image-test systemd-test deps-run deps-image
.DELETE_ON_ERROR:

all: $(BUILD)/phoenix-cached

help:
	@sed -n 's/^## //p' Makefile

## make            build build/phoenix-cached
## make run        install what is missing, build, start the daemon (embedded mode unless PHOENIX_REDIS_URL is set)
run:
	@$(MAKE) --no-print-directory need-run
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@BUILD=$(BUILD) tools/run.sh

## make demo       a tour with a Redis and two daemons: cache, session, queue, lock, health, and an outage; a few seconds
.PHONY: demo
demo:
	@tools/deps.sh --if-missing $(DEB_RUN) redis-server redis-tools
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@BUILD=$(BUILD) tools/demo.sh

## make test       install what is missing, build and run all tests
test:
	@$(MAKE) --no-print-directory need-test
	@$(MAKE) --no-print-directory -j$(shell nproc) tests-build
	@BUILD=$(BUILD) tests/run.sh $(UNIT_BIN) $(INTEG_BIN) $(MODEL_BIN) $(CHAOS_BIN)

## make unit / integration   one half of the tests
unit: $(UNIT_BIN)
	@BUILD=$(BUILD) tests/run.sh $(UNIT_BIN)
integration: $(INTEG_BIN) $(BUILD)/phoenix-cached
	@BUILD=$(BUILD) tests/run.sh $(INTEG_BIN)

## make spool-kill the daemon killed in SPOOL_KILL_ROUNDS (20) outages; make test does 3
SPOOL_KILL_ROUNDS ?= 20
.PHONY: spool-kill
spool-kill: $(BUILD)/tests/integration/test_spool_kill $(BUILD)/phoenix-cached
	@SPOOL_KILL_ROUNDS=$(SPOOL_KILL_ROUNDS) BUILD=$(BUILD) tests/run.sh $<

## make gentle     p99 of live requests while GENTLE_ENTRIES (50000) are handed back; make test does 3000, with more slack
GENTLE_ENTRIES ?= 50000
.PHONY: gentle
gentle: $(BUILD)/tests/integration/test_gentle $(BUILD)/phoenix-cached
	@GENTLE_ENTRIES=$(GENTLE_ENTRIES) TEST_TIMEOUT=1200 BUILD=$(BUILD) tests/run.sh $<

## make prometheus-test  alerts, dashboard and /metrics, judged by promtool and a real Prometheus; PROMETHEUS_KEYS (20000) distinct keys
.PHONY: prometheus-test
prometheus-test:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST) prometheus jq iproute2
	@$(MAKE) --no-print-directory $(BUILD)/phoenix-cached
	@BUILD=$(BUILD) tests/prometheus.sh

## make openapi-test  docs/openapi.yaml linted, and every operation and status in it driven; needs node, npm, and the net once
.PHONY: openapi-test
openapi-test:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST) python3-yaml
	@$(MAKE) --no-print-directory $(BUILD)/phoenix-cached $(BUILD)/tests/preload/failing_disk.so
	@BUILD=$(BUILD) tests/openapi.sh

## make kubernetes-test  kubernetes/ rendered and judged strictly; needs kubectl, node, npm, and the net once
.PHONY: kubernetes-test
kubernetes-test: $(BUILD)/phoenix-cached
	@BUILD=$(BUILD) tests/kubernetes.sh

## make kubernetes-redis-test  the start-up scripts of the Sentinel and Cluster deployments, with real servers and the daemon; needs root
## make kubernetes-play  the pods of the standalone overlay run by podman; needs root, the image phoenix-cached and a debian:trixie-slim
.PHONY: kubernetes-redis-test kubernetes-play
kubernetes-redis-test: $(BUILD)/phoenix-cached
	@BUILD=$(BUILD) tests/kubernetes_redis.sh
kubernetes-play: kubernetes-test
	@BUILD=$(BUILD) tests/kubernetes_play.sh

## make test-debian13  the whole test suite on Debian 13, in a root below $(BUILD) that is made once (debian13-root); needs root
## make test-valkey    the whole test suite with the Valkey of Debian 12's backports, likewise; VALKEY_SUITE=trixie: Debian 13's
DEBIAN13 := $(BUILD)/debian13
VALKEY_SUITE ?= bookworm/backports
VALKEY   := $(BUILD)/valkey-$(subst /,-,$(VALKEY_SUITE))
.PHONY: debian13-root valkey-root test-debian13 test-valkey
debian13-root:
	@tools/debian_root.sh trixie $(DEBIAN13) $(DEB_RUN) $(DEB_TEST)
test-debian13: debian13-root
	@tests/in_debian.sh $(DEBIAN13) test
valkey-root:
	@tools/debian_root.sh $(VALKEY_SUITE) $(VALKEY) $(filter-out $(DEB_REDIS),$(DEB_RUN) $(DEB_TEST)) valkey-server
test-valkey: valkey-root
	@REDIS_SERVER=valkey-server tests/in_debian.sh $(VALKEY) test DEB_REDIS=valkey-server

## make page-test  the page at / in a headless Chromium, screenshots in build/page/shots; needs node, npm, and the net once
.PHONY: page-test
page-test:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST) chromium fonts-dejavu-core iproute2
	@$(MAKE) --no-print-directory $(BUILD)/phoenix-cached
	@BUILD=$(BUILD) tests/page.sh

.PHONY: tests-build need-run need-test
tests-build: $(UNIT_BIN) $(INTEG_BIN) $(MODEL_BIN) $(CHAOS_BIN) $(BUILD)/phoenix-cached

## make deps       install the Debian packages to build, run and test (apt; root or sudo)
deps:
	@tools/deps.sh $(DEB_RUN) $(DEB_TEST)
deps-run:
	@tools/deps.sh $(DEB_RUN)
deps-image:
	@tools/deps.sh $(DEB_IMAGE)
deps-check:
	@tools/deps.sh $(DEB_CHECK)
deps-bench:
	@tools/deps.sh $(DEB_BENCH)
need-run:
	@tools/deps.sh --if-missing $(DEB_RUN)
need-test:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST)

$(BUILD)/phoenix-cached: $(BUILD)/obj/src/main.o $(BUILD)/libphoenix.a
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(LIBS_ALL)

$(BUILD)/libphoenix.a: $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/obj/%.o: %.c | $(EMBED_H)
	@mkdir -p $(@D)
	@echo '  CC   $<'
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# What `--version` says of the libraries.
$(BUILD)/gen/built_with: Makefile
	@mkdir -p $(@D)
	@for p in $(PC) $(TLS); do echo "  $$p $$(pkg-config --modversion $$p)"; done > $@
$(BUILD)/gen/embed/built_with.h: $(BUILD)/gen/built_with tools/embed.sh
	@mkdir -p $(@D)
	@tools/embed.sh $< > $@

# The page at / of the admin listener, and the policy that lets run what is in it.
$(BUILD)/gen/page.html $(BUILD)/gen/page.policy &: tools/page.sh $(wildcard src/http/page/*)
	@mkdir -p $(@D)
	@tools/page.sh src/http/page $(BUILD)/gen/page.html $(BUILD)/gen/page.policy

# A file as a C array: scripts and documents that the binary carries.
$(BUILD)/gen/embed/%.h: tools/embed.sh
	@mkdir -p $(@D)
	@tools/embed.sh $(filter %/$*,$(EMBED)) > $@
$(foreach f,$(EMBED),$(eval $(BUILD)/gen/embed/$(notdir $f).h: $f))

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(SUPPORT_O) $(BUILD)/libphoenix.a
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
$(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o $(SUPPORT_O) $(BUILD)/libphoenix.a
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
$(BUILD)/tests/model/%: $(BUILD)/obj/tests/model/%.o $(MODEL_O) $(SUPPORT_O) $(BUILD)/libphoenix.a
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
$(BUILD)/tests/chaos/%: $(BUILD)/obj/tests/chaos/%.o $(CHAOS_O) $(SUPPORT_O) $(BUILD)/libphoenix.a
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
# What tests load into the daemon: no sanitizer, no library of ours.
$(BUILD)/tests/preload/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	@$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O1 -shared -fPIC -o $@ $<
$(INTEG_BIN): | $(BUILD)/tests/preload/failing_disk.so

$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/libphoenix.a
	@mkdir -p $(@D)
	@echo '  LINK $@'
	@$(CC) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $^ $(LIBS_ALL)
.SECONDARY:

## make check      format, clang-tidy, cppcheck, layering, shellcheck, both compilers
check:
	@$(MAKE) --no-print-directory deps-check-if-missing
	@BUILD=$(BUILD) tools/check.sh
.PHONY: deps-check-if-missing flags release
release:
	@echo $(VERSION) $(RELEASED)
# What the compiler is called with, a line each, for the tools of `make check`.
flags:
	@printf '%s\n' $(CFLAGS_ALL)
deps-check-if-missing:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST) $(DEB_CHECK)

## make format     let clang-format lay out the code
format:
	clang-format -i $(shell find src include tests bench -name '*.[ch]')

## make asan, make tsan   the whole test suite under sanitizers
asan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan MODE=asan test
tsan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan MODE=tsan test
## make clang      the build and the unit tests with clang
clang:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/clang CC=clang tests-build

## make model      random operations against a simple model: MODEL_OPERATIONS (200000), MODEL_SEED to see a run again
MODEL_OPERATIONS ?= 200000
.PHONY: model
model:
	@$(MAKE) --no-print-directory need-test
	@$(MAKE) --no-print-directory -j$(shell nproc) $(MODEL_BIN)
	@for test in $(MODEL_BIN); do MODEL_OPERATIONS=$(MODEL_OPERATIONS) "$$test" || exit 1; done

## make chaos      workers, producers, a Redis and a daemon that are killed: CHAOS_TASKS (20000) in CHAOS_SECONDS (60) and
##                 the accounting; TEST_SEED to make the same choices again. make test does 1500 in 6
CHAOS_TASKS ?= 20000
CHAOS_SECONDS ?= 60
.PHONY: chaos
chaos:
	@$(MAKE) --no-print-directory need-test
	@$(MAKE) --no-print-directory -j$(shell nproc) $(CHAOS_BIN) $(BUILD)/phoenix-cached
	@for test in $(CHAOS_BIN); do CHAOS_TASKS=$(CHAOS_TASKS) CHAOS_SECONDS=$(CHAOS_SECONDS) "$$test" || exit 1; done

## make fuzz       each fuzz target for FUZZ_SECONDS (300)
FUZZ_SECONDS ?= 300
.PHONY: fuzz-build
fuzz-build: $(FUZZ_BIN)
fuzz:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz MODE=fuzz CC=clang fuzz-build
	@BUILD=$(BUILD)/fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh

## make bench      side-by-side measurements (minutes; the task queue's against BullMQ: npm, and the net once); bench-check
##                 compares system calls and instructions with the kept file
bench bench-check:
	@tools/deps.sh --if-missing $(DEB_RUN) $(DEB_TEST) $(DEB_BENCH)
	@$(MAKE) --no-print-directory bench-build
	@$(if $(filter bench,$@),$(MAKE) --no-print-directory $(BUILD)/bench/bullmq/installed)
	@BUILD=$(BUILD) CC=$(CC) $(if $(filter bench,$@),bench/all.sh,bench/check.sh)

# BullMQ, of the versions that are measured. Without the packages' own install scripts: none is needed.
$(BUILD)/bench/bullmq/installed: bench/bullmq/package.json bench/bullmq/load.mjs
	@mkdir -p $(@D)
	@cp $^ $(@D)/
	@cd $(@D) && npm install --ignore-scripts --no-audit --no-fund --silent
	@touch $@

BENCH_BIN := $(patsubst bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard bench/*.c)))
.PHONY: bench-build
bench-build: $(BENCH_BIN) $(BUILD)/phoenix-cached $(BUILD)/tests/preload/failing_disk.so
$(BUILD)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LINK_$(MODE)) $(LDFLAGS) -o $@ $< $(LIBS_ALL)

## make docs       regenerate docs/openapi.json from openapi.yaml, and what comes from the tables (sample configuration, man pages)
docs:
	@tools/deps.sh --if-missing $(DEB_RUN) python3-yaml
	@mkdir -p $(BUILD)
	tools/openapi.py docs/openapi.yaml > $(BUILD)/openapi.json
	@cmp -s $(BUILD)/openapi.json docs/openapi.json || cp $(BUILD)/openapi.json docs/openapi.json
	@$(MAKE) --no-print-directory all
	$(BUILD)/phoenix-cached --print-sample > config/phoenix-cached.conf
	tools/man.sh $(BUILD)/phoenix-cached $(VERSION) $(RELEASED)

## make install / uninstall   program, units, man pages, configuration (DESTDIR, PREFIX=/usr/local, SYSCONFDIR=/etc)
INSTALLED := $(PREFIX)/bin/phoenix-cached $(PREFIX)/lib/systemd/system/phoenix-cached.service \
             $(PREFIX)/lib/systemd/system/phoenix-cached.socket $(PREFIX)/share/man/man8/phoenix-cached.8 \
             $(PREFIX)/share/man/man5/phoenix-cached.conf.5
CONF      := $(SYSCONFDIR)/phoenix-cached/phoenix-cached.conf
PLACES    := -e 's|/usr/local/bin/|$(PREFIX)/bin/|' -e 's|/etc/|$(SYSCONFDIR)/|g'
# A configuration that is there stays as it is.
install: all
	install -D -m 755 $(BUILD)/phoenix-cached $(DESTDIR)$(PREFIX)/bin/phoenix-cached
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	sed $(PLACES) systemd/phoenix-cached.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/phoenix-cached.service
	sed $(PLACES) systemd/phoenix-cached.socket > $(DESTDIR)$(PREFIX)/lib/systemd/system/phoenix-cached.socket
	sed $(PLACES) man/phoenix-cached.8 > $(DESTDIR)$(PREFIX)/share/man/man8/phoenix-cached.8
	sed $(PLACES) man/phoenix-cached.conf.5 > $(DESTDIR)$(PREFIX)/share/man/man5/phoenix-cached.conf.5
	chmod 644 $(addprefix $(DESTDIR),$(filter-out %/bin/phoenix-cached,$(INSTALLED)))
	test -e $(DESTDIR)$(CONF) || install -D -m 644 config/phoenix-cached.conf $(DESTDIR)$(CONF)
# A configuration that somebody changed stays too.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	! cmp -s config/phoenix-cached.conf $(DESTDIR)$(CONF) || rm -f $(DESTDIR)$(CONF)
	rmdir $(DESTDIR)$(SYSCONFDIR)/phoenix-cached 2>/dev/null || test ! -e $(DESTDIR)$(CONF) || \
		echo 'kept: $(DESTDIR)$(CONF)'

## make image      the container image, with docker, podman or buildah (make deps-image); image-base makes its base
##                 where no registry can be reached
image:
	@BUILD=$(BUILD) VERSION=$(VERSION) tools/image.sh
image-base:
	@BUILD=$(BUILD) tools/image_base.sh
## make image-test, make systemd-test   the image itself; the service under a real systemd (both in containers)
image-test: image
	@BUILD=$(BUILD) tests/image.sh
systemd-test: image
	@BUILD=$(BUILD) tests/systemd.sh

## make clean
clean:
	rm -rf build

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
