/* unit/base/test_base.c: bits, numbers, messages. */
#include "unit/unit.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/base.h"

static void test_bits(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t x = (uint64_t)1 << shift;
        assert_int_equal(ouroi_log2(x), shift);
        assert_int_equal(ouroi_log2(x | (x - 1)), shift);
        assert_int_equal(ouroi_ctz64(x), shift);
        assert_int_equal(ouroi_ctz64(UINT64_MAX << shift), shift);
        assert_int_equal(ouroi_popcount64(x - 1), shift);
        assert_true(ouroi_is_pow2(x));
        assert_true(shift < 2 || !ouroi_is_pow2(x - 1));
        assert_true(ouroi_low_bits(shift) == x - 1);
    }
    assert_false(ouroi_is_pow2(0));
    assert_true(ouroi_low_bits(64) == UINT64_MAX);
}

static void test_alignment(void **state)
{
    (void)state;
    for (size_t a = 1; a <= 4096; a *= 2) {
        for (size_t x = 0; x < 10000; x += 7) {
            assert_int_equal(ouroi_align_up(x, a), (x + a - 1) / a * a);
            assert_int_equal(ouroi_align_down(x, a), x / a * a);
        }
    }
    assert_int_equal(ouroi_align_up(SIZE_MAX, 16), 0); /* wraps, as it says */
    assert_int_equal(ouroi_align_up(SIZE_MAX - 15, 16), SIZE_MAX - 15);
}

static void test_random_is_spread(void **state)
{
    (void)state;
    uint64_t seed = 1, same = 1;
    unsigned counts[64] = { 0 };
    for (unsigned i = 0; i < 64000; i++) {
        uint64_t x = ouroi_random_next(&seed);
        assert_true(x == ouroi_random_next(&same));
        for (unsigned bit = 0; bit < 64; bit++)
            counts[bit] += (unsigned)(x >> bit & 1);
    }
    for (unsigned bit = 0; bit < 64; bit++)
        assert_in_range(counts[bit], 31000, 33000);
}

#define SAME_AS_SNPRINTF(size, ...)                                            \
    do {                                                                       \
        char ours[64], libcs[64];                                              \
        memset(ours, 'x', sizeof ours);                                        \
        size_t used = ouroi_format(ours, (size), __VA_ARGS__);                 \
        int all = snprintf(libcs, (size), __VA_ARGS__);                        \
        assert_string_equal(ours, libcs);                                      \
        assert_int_equal(used, (size_t)all < (size) ? (size_t)all : (size)-1); \
        assert_int_equal(ours[(size)], 'x');                                   \
    } while (0)

static void test_format_as_snprintf(void **state)
{
    (void)state;
    SAME_AS_SNPRINTF(60, "plain");
    SAME_AS_SNPRINTF(60, "%s and %s", "one", "");
    SAME_AS_SNPRINTF(60, "%d %d %d", 0, INT_MAX, INT_MIN);
    SAME_AS_SNPRINTF(60, "%u %x", UINT_MAX, UINT_MAX);
    SAME_AS_SNPRINTF(60, "%zu|%lu", SIZE_MAX, ULONG_MAX);
    SAME_AS_SNPRINTF(60, "%p", (void *)&state);
    SAME_AS_SNPRINTF(60, "100%%");
    for (size_t size = 1; size < 20; size++)
        SAME_AS_SNPRINTF(size, "%s%d%zu", "abc", -45678, (size_t)90123);
}

static void test_format_of_nothing(void **state)
{
    (void)state;
    char text[4] = "xyz";
    assert_int_equal(ouroi_format(text, 1, "%s", "long"), 0);
    assert_int_equal(text[0], '\0');
    assert_int_equal(text[1], 'y');
    const char *none = NULL;
    __asm__ volatile("" : "+r"(none)); /* the compiler must not know */
    assert_int_equal(ouroi_format(text, sizeof text, "%s", none), 3);
}

static void fail_for_good(void *arg)
{
    ouroi_fail("what went wrong: %s at %p", "this", arg);
}

static void test_fail_is_one_line_and_abort(void **state)
{
    (void)state;
    char text[600];
    int status = unit_in_child(fail_for_good, (void *)0x1234, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(text, "ouro: what went wrong: this at 0x1234\n");
}

static void fail_at_length(void *arg)
{
    (void)arg;
    static char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    ouroi_warn("%s", longest);
    ouroi_fail("%s", longest);
}

static void test_long_messages_are_cut_but_whole_lines(void **state)
{
    (void)state;
    char text[4000];
    int status = unit_in_child(fail_at_length, NULL, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *first = strchr(text, '\n');
    assert_non_null(first);
    assert_non_null(strchr(first + 1, '\n'));
    assert_null(strchr(strchr(first + 1, '\n') + 1, '\n'));
    assert_memory_equal(text, "ouro: aaaa", 10);
    assert_memory_equal(first + 1, "ouro: aaaa", 10);
}

static void check_false(void *arg)
{
    OURO_CHECK(arg != NULL);
}

static void assert_false_condition(void *arg)
{
    OURO_ASSERT(arg != NULL);
}

static void test_checks_and_asserts(void **state)
{
    (void)state;
    char text[600];
    assert_true(unit_child_returned(unit_in_child(check_false, text, text, sizeof text)));
    assert_true(WIFSIGNALED(unit_in_child(check_false, NULL, text, sizeof text)));
    assert_non_null(strstr(text, "check failed: arg != NULL"));
    assert_int_equal(unit_child_returned(unit_in_child(assert_false_condition, NULL, text, sizeof text)), !OURO_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_random_is_spread),
        cmocka_unit_test(test_format_as_snprintf),
        cmocka_unit_test(test_format_of_nothing),
        cmocka_unit_test(test_fail_is_one_line_and_abort),
        cmocka_unit_test(test_long_messages_are_cut_but_whole_lines),
        cmocka_unit_test(test_checks_and_asserts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
