# Part of tests/c/Makefile: the replay of the kept corpus, with the C tests; the fuzzer itself (MODE=fuzz CC=clang), and
# what makes its first inputs.
FUZZ := $(TOP)/tests/fuzz
CORPUS := $(FUZZ)/corpus
FUZZ_OBJECTS := $(patsubst $(TOP)/%.c,$(BUILD)/%.o,$(wildcard $(FUZZ)/fuzz*.c)) $(BUILD)/fuzzing/checksum.o
REPLAY := $(BUILD)/tests/fuzz/replay
FUZZER := $(BUILD)/tests/fuzz/fuzzer
MAKE_CORPUS := $(BUILD)/tests/fuzz/make_corpus

.PHONY: fuzzer
fuzzer: $(FUZZER) $(MAKE_CORPUS)

# In it any checksum is right; linked before the library it takes its place there.
$(BUILD)/fuzzing/checksum.o: $(TOP)/csrc/base/checksum.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -DNR_FUZZING -MMD -MP -c $< -o $@
$(REPLAY): $(BUILD)/tests/fuzz/replay.o $(FUZZ_OBJECTS) $(LIBRARY)
	@$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)
$(FUZZER): $(BUILD)/tests/fuzz/libfuzzer.o $(FUZZ_OBJECTS) $(LIBRARY)
	@$(CC) $(CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)
$(MAKE_CORPUS): $(BUILD)/tests/fuzz/make_corpus.o $(BUILD)/tests/fuzz/fuzz.o $(LIBRARY)
	@$(CC) $(CFLAGS) -o $@ $(BUILD)/tests/fuzz/make_corpus.o $(LIBRARY) $(LDLIBS)
