/* Sampling: chances and distances are what they are said to be, and estimates are without bias however blocks come and go. */
#include "unit/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ouro/ouro.h>
#include <ouro/trace.h>

#include "heap/heap.h"

static void test_chance(void **state)
{
    (void)state;
    static const double ratios[] = { 1e-9, 1e-6, 1e-3, 0.01, 0.1, 0.24, 0.26, 0.5, 1, 2, 5, 10, 30, 39 };
    for (size_t i = 0; i < COUNT_OF(ratios); i++) {
        size_t mean = (size_t)1 << 40, slot = (size_t)(ratios[i] * (double)mean);
        double x = (double)slot / (double)mean, want = -expm1(-x), have = ouroi_sample_chance(slot, mean);
        assert_true(fabs(have - want) <= 1e-9 * want);
    }
    assert_true(ouroi_sample_chance(1000000, 1) == 1);
}

/* Against the distribution function, at its deciles (Kolmogorov's distance, which is under 1.63 / sqrt(n) in 99 of 100). */
static void test_distances(void **state)
{
    (void)state;
    enum { DRAWS = 100000 };
    uint64_t random = 12345;
    size_t below[10] = { 0 };
    double mean = 1 << 20, sum = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        double distance = (double)ouroi_sample_distance(ouroi_random_next(&random), (size_t)mean);
        sum += distance;
        for (size_t k = 1; k < 10; k++)
            below[k] += distance < -log(1 - (double)k / 10) * mean;
    }
    assert_true(fabs(sum / DRAWS / mean - 1) < 4 / sqrt(DRAWS));
    for (size_t k = 1; k < 10; k++)
        assert_true(fabs((double)below[k] / DRAWS - (double)k / 10) < 1.7 / sqrt(DRAWS));
    assert_true(ouroi_sample_distance(UINT64_MAX, 1000) <= 1);
    assert_true(ouroi_sample_distance(0, 1000) > 30000);
}

enum { BLOCKS_MAX = 100000, RUNS = 24 };
static void *blocks[BLOCKS_MAX];

/* Programs, each of which leaves the first `count` blocks alive. */
static void grow(size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        blocks[i] = ouro_malloc(size);
}

static void shrink_and_grow(size_t size, size_t count)
{
    grow(size, count);
    for (size_t i = 0; i < count; i += 2)
        ouro_free(blocks[i]);
    for (size_t i = 0; i < count; i += 2)
        blocks[i] = ouro_malloc(size);
}

static void ping_pong(size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < 3; k++)
            ouro_free(ouro_malloc(size));
        blocks[i] = ouro_malloc(size);
    }
}

static void replace_at_random(size_t size, size_t count)
{
    uint64_t random = 7;
    grow(size, count);
    for (size_t i = 0; i < 3 * count; i++) {
        size_t k = ouroi_random_next(&random) % count;
        ouro_free(blocks[k]);
        blocks[k] = ouro_malloc(size);
    }
}

static void by_calloc_and_realloc(size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = ouro_calloc(1, size / 2);
        blocks[i] = ouro_realloc(blocks[i], size);
    }
}

/* The mean of `RUNS` estimates is within four of its standard deviations; these are those of a Poisson sample. */
static void check(void (*program)(size_t, size_t), size_t size, size_t slot, size_t mean)
{
    size_t count = 8 * MIB / (size + 8);
    count = count > BLOCKS_MAX ? BLOCKS_MAX : count;
    double bytes = 0, number = 0, chance = ouroi_sample_chance(slot, mean);
    for (unsigned run = 0; run < RUNS; run++) {
        size_t now;
        assert_int_equal(ouro_trace_start(2, mean), 0);
        program(size, count);
        ouro_snapshot *snapshot = ouro_trace_take_snapshot();
        ouro_snapshot_info info;
        ouro_snapshot_get_info(snapshot, &info);
        bytes += (double)info.size;
        number += (double)info.count;
        ouro_trace_get_traced_memory(&now, NULL);
        assert_int_equal(now, info.size);
        ouro_snapshot_free(snapshot);
        for (size_t i = 0; i < count; i++)
            ouro_free(blocks[i]);
        ouro_trace_get_traced_memory(&now, NULL);
        assert_int_equal(now, 0); /* what was added is taken back to the byte */
        ouro_trace_stop();
    }
    double all = (double)count * RUNS, deviation = sqrt(all * (1 - chance) / chance) / all;
    double error = bytes / (all * (double)size) - 1;
    if (fabs(error) > 4 * deviation)
        fail_msg("size %zu, mean %zu: %+.4f of %.4f", size, mean, error, deviation);
    assert_true(fabs(number / all - 1) < 4 * deviation + 0.01); /* each trace's count is rounded */
}

static void test_estimates(void **state)
{
    (void)state;
    static const size_t slots[] = { 16, 64, 208, 1024, 5120, 40000 };
    static void (*const programs[])(size_t, size_t) = { grow, shrink_and_grow, ping_pong, replace_at_random };
    bool slow = OUROI_RACES_SEEN; /* a few will do there */
    for (size_t p = slow ? 3 : 0; p < COUNT_OF(programs); p++)
        for (size_t s = slow ? 3 : 0; s < COUNT_OF(slots); s++) {
            check(programs[p], slots[s] - 3, slots[s] == 40000 ? slots[s] - 3 : slots[s], 64 * KIB); /* in lists */
            check(programs[p], slots[s] - 3, slots[s] == 40000 ? slots[s] - 3 : slots[s], 10000);    /* one by one */
        }
    check(by_calloc_and_realloc, 1024, 1024, 64 * KIB);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chance),
        cmocka_unit_test(test_distances),
        cmocka_unit_test(test_estimates),
    };
    ouroi_trace_seed = 2026;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
