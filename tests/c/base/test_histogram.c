#include "harness.h"

#include "base/histogram.h"

static struct nr_histogram histogram;

static struct nori_latency summarize(void)
{
    struct nori_latency latency;
    memset(&latency, 0x55, sizeof(latency));
    nr_histogram_summary(&histogram, &latency);
    return latency;
}

TEST(without_samples_all_is_zero)
{
    struct nori_latency latency;
    memset(&histogram, 0, sizeof(histogram));
    latency = summarize();
    EXPECT_EQ(latency.count, 0);
    EXPECT(latency.p50 == 0 && latency.p95 == 0 && latency.p99 == 0 && latency.p999 == 0 && latency.max == 0);
}

TEST(one_sample_is_found_within_its_relative_width)
{
    for (uint64_t nanoseconds = 1; nanoseconds < 1ull << 42; nanoseconds += nanoseconds / 3 + 1) {
        struct nori_latency latency;
        double microseconds = (double)nanoseconds / 1000;
        memset(&histogram, 0, sizeof(histogram));
        nr_histogram_record(&histogram, nanoseconds);
        latency = summarize();
        EXPECT(latency.max == microseconds);
        EXPECT(latency.p50 >= microseconds * 15 / 16 && latency.p50 <= microseconds);
        EXPECT(latency.p999 == latency.p50);
    }
}

TEST(percentiles_of_even_samples_are_near)
{
    struct nori_latency latency;
    memset(&histogram, 0, sizeof(histogram));
    for (uint64_t i = 1; i <= 100000; i++) nr_histogram_record(&histogram, i * 10);
    histogram.count = 123456;
    latency = summarize();
    EXPECT_EQ(latency.count, 123456);
    EXPECT(latency.p50 > 500 * 0.95 && latency.p50 < 500 * 1.05);
    EXPECT(latency.p95 > 950 * 0.95 && latency.p95 < 950 * 1.05);
    EXPECT(latency.p99 > 990 * 0.95 && latency.p99 < 990 * 1.05);
    EXPECT(latency.p999 <= latency.max && latency.p99 <= latency.p999);
    EXPECT(latency.max == 1000);
}

TEST(a_quantile_is_the_time_up_to_which_its_share_lies)
{
    memset(&histogram, 0, sizeof(histogram));
    EXPECT(nr_histogram_quantile_ns(&histogram, 0.5) == 0);
    for (uint64_t i = 1; i <= 100000; i++) nr_histogram_record(&histogram, i * 10);
    for (double share = 0.1; share < 1; share += 0.1) {
        double found = nr_histogram_quantile_ns(&histogram, share);
        EXPECT(found > share * 1e6 * 0.95 && found < share * 1e6 * 1.05);
    }
}

TEST(the_rarest_share_is_not_lost)
{
    struct nori_latency latency;
    memset(&histogram, 0, sizeof(histogram));
    for (int i = 0; i < 990; i++) nr_histogram_record(&histogram, 1000);
    for (int i = 0; i < 10; i++) nr_histogram_record(&histogram, 1000000);
    latency = summarize();
    EXPECT(latency.p95 < 1.1);
    EXPECT(latency.p999 > 900);
}

TEST(times_beyond_the_last_bucket_are_kept_in_it)
{
    memset(&histogram, 0, sizeof(histogram));
    nr_histogram_record(&histogram, UINT64_MAX);
    nr_histogram_record(&histogram, 0);
    EXPECT_EQ(histogram.buckets[NR_HISTOGRAM_BUCKETS - 1], 1);
    EXPECT_EQ(histogram.buckets[0], 1);
    EXPECT(summarize().p50 == 0);
}
