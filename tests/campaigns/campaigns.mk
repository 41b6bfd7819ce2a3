# Part of tests/c/Makefile: the programs of campaigns that are not tests.
RECORDER := $(BUILD)/tests/campaigns/linear
.PHONY: recorder
recorder: $(RECORDER)
$(RECORDER): $(BUILD)/tests/campaigns/linear.o $(LIBRARY)
	@$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)
