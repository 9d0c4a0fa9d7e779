/* unit/arena/test_bitmap.c: sets of slices against an array of bools. */
#include "unit/unit.h"

#include <string.h>

#include "arena/bitmap.h"

static struct ouroi_bitmap map;
static bool model[OUROI_CHUNK_SLICES + 1];

static void make(unsigned seed, unsigned density)
{
    uint64_t state = seed;
    memset(&map, 0, sizeof map);
    memset(model, 0, sizeof model);
    for (unsigned at = 0; at < OUROI_CHUNK_SLICES;) {
        unsigned length = 1 + (unsigned)(ouroi_random_next(&state) % (seed % 3 == 0 ? 200 : 9));
        if (at + length > OUROI_CHUNK_SLICES)
            length = OUROI_CHUNK_SLICES - at;
        if (ouroi_random_next(&state) % 100 < density) {
            ouroi_bitmap_set(&map, at, length);
            for (unsigned i = 0; i < length; i++)
                model[at + i] = true;
        }
        at += length;
    }
}

static unsigned model_next(unsigned at, bool value)
{
    while (at < OUROI_CHUNK_SLICES && model[at] != value)
        at++;
    return at;
}

static void test_set_clear_count(void **state)
{
    (void)state;
    uint64_t random = 3;
    make(1, 0);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned first = (unsigned)(ouroi_random_next(&random) % OUROI_CHUNK_SLICES);
        unsigned count = (unsigned)(ouroi_random_next(&random) % (OUROI_CHUNK_SLICES - first + 1));
        bool on = ouroi_random_next(&random) % 2 != 0;
        unsigned sum = 0;
        for (unsigned k = first; k < first + count; k++)
            sum += model[k];
        assert_int_equal(ouroi_bitmap_count(&map, first, count), sum);
        if (on)
            ouroi_bitmap_set(&map, first, count);
        else
            ouroi_bitmap_clear(&map, first, count);
        memset(model + first, on, count);
        if (i % 50 == 0) {
            for (unsigned k = 0; k < OUROI_CHUNK_SLICES; k++)
                assert_int_equal((map.words[k / 64] >> (k % 64)) & 1, model[k]);
        }
    }
}

static void test_next_and_run_start(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 60; seed++) {
        make(seed, seed * 5 % 101);
        for (unsigned at = 0; at <= OUROI_CHUNK_SLICES; at++) {
            assert_int_equal(ouroi_bitmap_next(&map, at, true), model_next(at, true));
            assert_int_equal(ouroi_bitmap_next(&map, at, false), model_next(at, false));
            unsigned start = at;
            while (start > 0 && model[start - 1])
                start--;
            assert_int_equal(ouroi_bitmap_run_start(&map, at), start);
        }
    }
}

/* The smallest run that fits, the lowest of equals. */
static unsigned model_best(unsigned count, unsigned align, unsigned *longest)
{
    unsigned best = OUROI_CHUNK_SLICES, best_length = OUROI_CHUNK_SLICES + 1;
    *longest = 0;
    for (unsigned at = model_next(0, true); at < OUROI_CHUNK_SLICES;) {
        unsigned end = model_next(at, false), first = (at + align - 1) / align * align;
        *longest = end - at > *longest ? end - at : *longest;
        if (first + count <= end && end - at < best_length) {
            best = first;
            best_length = end - at;
        }
        at = model_next(end, true);
    }
    return best;
}

static void test_best_run(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 200; seed++) {
        make(seed, 1 + seed * 7 % 100);
        for (unsigned count = 1; count <= 256; count = count * 3 / 2 + 1) {
            for (unsigned align = 1; align <= 256; align *= 4) {
                unsigned longest, model_longest, found = ouroi_bitmap_best_run(&map, count, align, &longest);
                assert_int_equal(found, model_best(count, align, &model_longest));
                if (found == OUROI_CHUNK_SLICES)
                    assert_int_equal(longest, model_longest);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_clear_count),
        cmocka_unit_test(test_next_and_run_start),
        cmocka_unit_test(test_best_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
