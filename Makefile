# make demo    everything from nothing: packages, build, a tour on a small Grok-2
# make test    everything from nothing: packages, build, all tests
# Variables: config=release|debug|sanitize, CC CFLAGS CPPFLAGS LDFLAGS LDLIBS PREFIX DESTDIR V=1

config ?= release
PREFIX ?= /usr/local
CC     ?= cc
B      := build/$(config)
Q      := $(if $(V),,@)

VERSION := 0.1.0
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla \
        $(if $(CI),-Werror)
OPT_release  := -O2 -g
OPT_debug    := -O0 -g3
OPT_sanitize := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_fuzz     := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link \
                -fno-sanitize-recover=all -fprofile-instr-generate -fcoverage-mapping
# bytes that a run did not write show: new files are filled first
FILL := $(if $(filter debug sanitize,$(config)),-DGK_FILL=0xA5)
override CPPFLAGS += $(FILL) -I. -D_GNU_SOURCE -DGK_VERSION='"$(VERSION)"'
override CFLAGS := -std=c11 $(WARN) $(OPT_$(config)) -fopenmp -ffp-contract=off -fno-math-errno \
                   -ffile-prefix-map=$(CURDIR)=. $(CFLAGS)
override LDFLAGS += $(filter -fsanitize%,$(OPT_$(config)))
override LDLIBS += -ljansson -lcrypto -lpcre2-8 -lmsgpackc -larchive -lz -ldl -lm

LIB_SRC  := $(wildcard formats/*.c quant/*.c verify/*.c)
CMD_SRC  := $(wildcard cmd/*.c)
TEST_SRC := $(wildcard tests/test_*.c)
TOOL_SRC := $(wildcard tests/make_*.c tests/bench/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
obj       = $(patsubst %.c,$(B)/%.o,$(1))
# what is compiled once more for each vector unit
BLOCKS   := $(addprefix quant/blocks_,search legacy kquant iq fp4 table)
LIB_OBJ  := $(call obj,$(LIB_SRC)) $(foreach isa,avx2 avx512,$(BLOCKS:%=$(B)/%_$(isa).o))
TESTS    := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_SRC))
TOOLS    := $(patsubst tests/%.c,$(B)/tests/%,$(TOOL_SRC))

.PHONY: all demo test bench bench-json lint fmt deps install uninstall clean interop interop-full valgrind fuzz static
.SECONDARY: $(call obj,$(TEST_SRC) $(TOOL_SRC) $(FUZZ_SRC))
all: $(B)/grokkit
	$(Q)ln -sfn $(B:build/%=%)/grokkit build/grokkit

$(B)/grokkit: $(call obj,$(CMD_SRC)) $(B)/libgrokkit.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libgrokkit.a: $(LIB_OBJ)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(TESTS): $(B)/tests/%: $(B)/tests/%.o $(B)/libgrokkit.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) -lcmocka $(LDLIBS)

$(TOOLS): $(B)/tests/%: $(B)/tests/%.o $(B)/libgrokkit.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# vector units know no file; a fuzzer's counters in them take minutes to compile
$(B)/quant/%_avx2.o $(B)/quant/%_avx512.o: override CFLAGS += $(if $(filter fuzz,$(config)),\
    -fno-sanitize=all -fno-profile-instr-generate -fno-coverage-mapping)
$(B)/quant/%_avx2.o: ISA := -O3 -mavx2 -mf16c -mfma -Wno-psabi
$(B)/quant/%_avx512.o: ISA := -O3 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mf16c -mfma -mprefer-vector-width=512
$(B)/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA) $(if $(filter formats/%,$<),-Wconversion) -MMD -MP -c -o $@ $<
define BLOCKS_FOR
$(BLOCKS:%=$(B)/%_$(1).o): $(B)/%_$(1).o: %.c
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) -DGK_BLOCKS_ISA=$(1) $$(CFLAGS) $$(ISA) -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,avx2 avx512,$(eval $(call BLOCKS_FOR,$(isa))))

# the AVX-512 text with emulated instructions, which two tests compare with the others
ifeq ($(shell uname -m),x86_64)
EMULATED := $(patsubst %,$(B)/tests/emulated/%.o,kernels_avx512 $(notdir $(BLOCKS)))
$(EMULATED): $(B)/tests/emulated/%.o: quant/%.c tests/emulated/avx512.h
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DGK_BLOCKS_ISA=emulated -include tests/emulated/avx512.h $(CFLAGS) \
	    -mavx2 -mf16c -mfma -Wno-psabi -Wno-unused-function -MMD -MP -c -o $@ $<
$(B)/tests/test_kernels $(B)/tests/test_blocks_isa: $(EMULATED)
endif

# the program in a test: its main under another name
$(B)/tests/grokkit_main.o: cmd/main.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Dmain=grokkit_main $(CFLAGS) -Wno-missing-prototypes -MMD -MP -c -o $@ $<
$(B)/tests/test_alloc_commands: $(B)/tests/grokkit_main.o $(call obj,$(filter-out cmd/main.c,$(CMD_SRC)))

deps:
	$(Q)CC='$(CC)' tests/deps.sh

# with goals that start from nothing, packages come before anything is compiled
demo test bench bench-json: deps
demo:
	$(Q)$(MAKE) --no-print-directory config=$(config) all
	$(Q)tests/demo.sh build/$(config)/grokkit

test:
	$(Q)$(MAKE) --no-print-directory config=$(config) all tests-built
	$(Q)tests/run.sh $(B)

bench bench-json:
	$(Q)$(MAKE) --no-print-directory config=$(config) all tests-built
	$(Q)tests/bench/bench.sh $(B) $(if $(filter bench-json,$@),--json)

# loaded before libc, it lets single system calls fail
$(B)/tests/fault/shim.so: tests/fault/shim.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=c11 $(WARN) -O1 -shared -fPIC -o $@ $< -ldl

.PHONY: tests-built
tests-built: $(TESTS) $(TOOLS) $(B)/tests/fault/shim.so

# parsers under a fuzzer, FUZZ_SECONDS each (FUZZ_TARGETS: only these); test_fuzz replays what it found
$(B)/tests/test_fuzz: $(call obj,tests/fuzz/targets.c tests/fuzz/mutate.c)
$(B)/tests/fuzz/fuzz: $(call obj,$(FUZZ_SRC)) $(B)/libgrokkit.a
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

fuzz:
	$(Q)CC=clang tests/deps.sh libclang-rt-14-dev llvm
	$(Q)$(MAKE) --no-print-directory config=fuzz CC=clang build/fuzz/grokkit \
		build/fuzz/tests/make_model build/fuzz/tests/fuzz/fuzz
	$(Q)tests/fuzz/run.sh build/fuzz $(FUZZ_TARGETS)

# other people's software reads what we write (Python in build/venv); -full needs torch
interop interop-full: deps
	$(Q)$(MAKE) --no-print-directory config=$(config) all tests-built
	$(Q)tests/interop/run.sh $(B) $@

valgrind: deps
	$(Q)$(MAKE) --no-print-directory config=debug build/debug/grokkit tests-built
	$(Q)tests/valgrind.sh build/debug

lint:
	$(Q)tests/lint.sh

# programs that read the code; what they may say stands in tests/static.known
static:
	$(Q)tests/deps.sh clang-tidy cppcheck shellcheck
	$(Q)tests/static.sh

# the lines of the work at hand; tables and columns that were laid by hand stay
fmt:
	git clang-format --extensions c,h

install: all
	install -D -m 755 build/$(config)/grokkit $(DESTDIR)$(PREFIX)/bin/grokkit

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/grokkit

clean:
	rm -rf build

-include $(patsubst %.o,%.d,$(B)/tests/grokkit_main.o $(LIB_OBJ) $(EMULATED) $(call obj,\
    $(CMD_SRC) $(TEST_SRC) $(TOOL_SRC) $(FUZZ_SRC)))
