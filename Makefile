# sliding_sync: keeps the room-list tables of a Matrix homeserver exact.
#
#   make              build the extension              make install      install it (PG_CONFIG=... picks the server)
#   make tool         build the program sliding-sync      make install-tool install it (DESTDIR, PREFIX)
#   make demo         see it work, in a private cluster  make check        all tests
#   make installcheck SQL tests on a running server, after make install install-tests
#   make help         the rest

EXTENSION = control/sliding_sync
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" control/sliding_sync.control)
SQL_SCRIPT = extension/sliding_sync--$(EXTVERSION).sql
RELEASED = $(patsubst extension/released/sliding_sync--%.sql,%,$(wildcard extension/released/*.sql))
UPDATES = $(RELEASED:%=extension/sliding_sync--%--$(EXTVERSION).sql)
DATA_built = $(SQL_SCRIPT) $(UPDATES)
# in the order of the script; attaching comes last
SQL_PARTS = $(patsubst %,extension/install/%.sql,schema triggers quarantine runs attach backfill verify flush version \
	readiness replication corrections views preflight room_list explain columns attach_at_creation)
MODULE_big = sliding_sync
SOURCES = $(sort $(wildcard src/*/*.cpp))
OBJS = $(SOURCES:.cpp=.o)

# SQL tests; `make check` adds the oracle after each of them.
REGRESS = $(notdir $(basename $(sort $(wildcard sql/*.sql))))
ISOLATION = $(notdir $(basename $(sort $(wildcard specs/*.spec))))
REGRESS_OPTS = --inputdir=. --load-extension=sliding_sync --load-extension=sliding_sync_test
ISOLATION_OPTS = $(REGRESS_OPTS)

PG_CPPFLAGS = -I$(srcdir)/src
# packages are built by compilers that we have not seen: they say WERROR=
WERROR = -Werror
PG_CXXFLAGS = -std=c++20 -O2 -fvisibility=hidden -Wall -Wextra $(WERROR) -Wno-register -Wno-unused-parameter \
	-Wno-missing-field-initializers -Wno-cast-function-type -MMD -MP
# nothing else: a server must not need a package that the system may remove (libstdc++ is what apt itself stands on)
# Most of what is looked up by name when the library is loaded are its own instances of templates.
SHLIB_LINK = -lstdc++ -Wl,-Bsymbolic-functions
EXTRA_CLEAN = $(SOURCES:.cpp=.d) build

PG_CONFIG ?= pg_config
# bitcode would be compiled by another compiler without our flags
override with_llvm = no
srcdir ?= .
which_server = Install postgresql-server-dev-$(1), and name the server's own: PG_CONFIG=/usr/lib/postgresql/$(1)/bin/pg_config
# PGXS has a `check` target of its own, which only says that it is not supported
ifeq ($(filter tool install-tool deb rpm dist matrix check check-long demo help bench bench-instructions bench-backfill bench-list bench-rules,$(MAKECMDGOALS)),)
PG_MAJOR := $(shell $(PG_CONFIG) --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
PG_HEADER := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)
ifeq ($(PG_MAJOR),)
$(error PG_CONFIG=$(PG_CONFIG) is no pg_config that runs. $(call which_server,15))
endif
ifeq ($(shell expr $(PG_MAJOR) '>=' 15),0)
$(error PG_CONFIG=$(PG_CONFIG) is that of PostgreSQL $(PG_MAJOR), and 15 or newer is needed. $(call which_server,15))
endif
ifeq ($(and $(PGXS),$(PG_HEADER)),)
$(error PG_CONFIG=$(PG_CONFIG) is that of a PostgreSQL $(PG_MAJOR) without headers and makefiles. $(call which_server,$(PG_MAJOR)))
endif
include $(PGXS)
# What was built for another server is built anew.
$(shell mkdir -p build && { $(PG_CONFIG) | cmp -s - build/server || $(PG_CONFIG) >build/server; })
$(OBJS): build/server
# another version is one file to compile
src/entry/functions.o: control/sliding_sync.control
src/entry/functions.o: override CPPFLAGS += -DSLIDING_SYNC_VERSION=\"$(EXTVERSION)\"
else
check: ## every test; the last line is "N passed, N failed"
	@scripts/install-packages && scripts/check

check-long: ## check, then what takes an hour: fuzzing, long variants, 10^5 random transactions, memcheck, asserts, other majors, packages
	@scripts/install-packages && scripts/check --long
endif

-include $(SOURCES:.cpp=.d)

.DELETE_ON_ERROR:
$(SQL_SCRIPT): $(SQL_PARTS)
	cat $(SQL_PARTS) > $@

# what a released script lacks
$(UPDATES): extension/sliding_sync--%--$(EXTVERSION).sql: extension/released/sliding_sync--%.sql extension/update/%.sql $(SQL_SCRIPT)
	awk -f extension/update/step.awk $(wordlist 1,3,$^) > $@
$(UPDATES): extension/update/step.awk
$(SQL_SCRIPT) $(UPDATES): control/sliding_sync.control

# The homeserver that the tests play on; `install` leaves it out.
install-tests:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/extension'
	$(INSTALL_DATA) tests/extension/sliding_sync_test.control '$(DESTDIR)$(datadir)/extension/'
	cat tests/extension/*.sql > '$(DESTDIR)$(datadir)/extension/sliding_sync_test--1.sql'

.PHONY: install-tests help tool install-tool deb rpm dist matrix demo check check-long bench bench-instructions bench-backfill bench-list bench-rules

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 20

PREFIX ?= /usr/local

tool: ## builds the program sliding-sync: build/tool/cli/sliding-sync
	@mkdir -p build && cmake -S . -B build/tool -DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_INSTALL_PREFIX=$(PREFIX) \
		>build/tool.log 2>&1 || { cat build/tool.log; exit 1; }
	@cmake --build build/tool

install-tool: tool ## installs it with its man page and completion (DESTDIR, PREFIX)
	@cmake --install build/tool

rpm: ## RPM packages of the last commit, from packaging/rpm: build/rpm
	@scripts/make-rpm

deb: ## Debian packages of both, for the servers whose headers are installed: build/deb
	@scripts/make-deb

dist: ## the last commit as reproducible archives: build/dist
	@scripts/make-dist

matrix: ## every major of PostgreSQL, with its own compiler and libraries: one table (an hour and a half; needs root)
	@scripts/install-packages && scripts/matrix

demo: ## installs what is missing, builds, shows the extension at work in a private cluster
	@scripts/demo

bench: ## what keeping the tables costs, and what others cost: processor time of the backend, side by side
	@scripts/install-packages && scripts/test-environment tests synapse-1.163.2 && bench/run

bench-instructions: ## the same in instructions, under callgrind: repeatable on a busy machine; then of a real homeserver's statements
	@scripts/install-packages && scripts/test-environment tests synapse-1.163.2 && bench/run --instructions && bench/real

bench-backfill: ## what filling both tables costs a row: Synapse, plain SQL and the extension
	@scripts/install-packages && scripts/test-environment tests synapse-1.163.2 && bench/backfill

bench-list: ## what a user's room list costs: Synapse, plain SQL and the extension
	@scripts/install-packages && scripts/test-environment tests synapse-1.163.2 && bench/list

bench-rules: ## what the rules cost by themselves, without a server
	@scripts/install-packages && cmake -S bench/rules -B build/bench -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
	@cmake --build build/bench && build/bench/rules_benchmark
