#include "harness.h"

#include "base/buffer.h"
#include "base/coding.h"

static nori_status fill(struct nr_buffer *buffer, struct nori_error *err)
{
    nori_status rc;
    char large[300];
    memset(large, 'x', sizeof(large));
    NR_CHECK(nr_buffer_append(buffer, nr_slice_text("abc"), err));
    NR_CHECK(nr_buffer_append_format(buffer, err, "%d-%s", 42, "z"));
    NR_CHECK(nr_buffer_append_varint(buffer, 300, err));
    NR_CHECK(nr_buffer_append_fixed32(buffer, 7, err));
    NR_CHECK(nr_buffer_append_fixed64(buffer, 1ull << 40, err));
    NR_CHECK(nr_buffer_append_sized(buffer, nr_slice(large, sizeof(large)), err));
    NR_CHECK(nr_buffer_append_sized(buffer, nr_slice(NULL, 0), err));
out:
    return rc;
}

TEST(what_is_appended_is_read_back)
{
    struct nr_buffer buffer;
    struct nori_error err;
    nori_slice rest, bytes;
    uint64_t value64;
    uint32_t value32;

    nr_buffer_init(&buffer);
    EXPECT_OK(fill(&buffer, &err), &err);
    rest = nr_buffer_slice(&buffer);
    EXPECT(nr_take_bytes(&rest, 7, &bytes));
    EXPECT_SLICE(bytes, "abc42-z");
    EXPECT(nr_take_varint(&rest, &value64));
    EXPECT_EQ(value64, 300);
    EXPECT(nr_take_fixed32(&rest, &value32));
    EXPECT_EQ(value32, 7);
    EXPECT(nr_take_fixed64(&rest, &value64));
    EXPECT_EQ(value64, 1ll << 40);
    EXPECT(nr_take_sized(&rest, &bytes));
    EXPECT_EQ(bytes.size, 300);
    EXPECT(nr_take_sized(&rest, &bytes));
    EXPECT_EQ(bytes.size, 0);
    EXPECT_EQ(rest.size, 0);
    nr_buffer_clear(&buffer);
    EXPECT_EQ(buffer.size, 0);
}

TEST(any_failed_allocation_is_returned)
{
    for (uint64_t nth = 1;; nth++) {
        struct nr_buffer buffer = {0};
        struct nori_error err;
        nori_status rc;
        nr_alloc_fail_at(nth);
        rc = fill(&buffer, &err);
        nr_alloc_fail_at(0);
        nr_buffer_clear(&buffer);
        if (rc == NORI_OK) {
            EXPECT(nth > 1);
            break;
        }
        EXPECT_EQ(rc, NORI_NO_MEMORY);
    }
}

TEST(assign_replaces_and_keeps_the_old_content_when_it_fails)
{
    struct nr_buffer buffer = {0};
    struct nori_error err;
    char large[200] = {0};

    EXPECT_OK(nr_buffer_assign(&buffer, nr_slice_text("first"), &err), &err);
    EXPECT_OK(nr_buffer_assign(&buffer, nr_slice_text("no"), &err), &err);
    EXPECT_SLICE(nr_buffer_slice(&buffer), "no");
    nr_alloc_fail_at(1);
    EXPECT_STATUS(nr_buffer_assign(&buffer, nr_slice(large, sizeof(large)), &err), NORI_NO_MEMORY, &err);
    EXPECT_SLICE(nr_buffer_slice(&buffer), "no");
    EXPECT_OK(nr_buffer_assign(&buffer, nr_slice(NULL, 0), &err), &err);
    EXPECT_EQ(buffer.size, 0);
    nr_buffer_clear(&buffer);
}

TEST(a_size_that_overflows_is_out_of_memory)
{
    struct nr_buffer buffer = {0};
    struct nori_error err;
    EXPECT_OK(nr_buffer_append(&buffer, nr_slice_text("x"), &err), &err);
    EXPECT_STATUS(nr_buffer_reserve(&buffer, SIZE_MAX, &err), NORI_NO_MEMORY, &err);
    EXPECT_STATUS(nr_buffer_append_sized(&buffer, nr_slice("x", SIZE_MAX), &err), NORI_NO_MEMORY, &err);
    EXPECT_SLICE(nr_buffer_slice(&buffer), "x");
    nr_buffer_clear(&buffer);
}
