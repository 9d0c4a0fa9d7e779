/* unit/trace/test_statistics.c: groups, differences and filters, over known code. */
#include "unit/trace/make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"
#include "trace/snapshot.h"

static const struct known *known, *other;

static int load_both(void **state)
{
    (void)state;
    known = load_known("full.so");
    other = load_known("link.so");
    return 0;
}

/* Of one library: at the inlined function by two ways, and at known_middle; with types. */
static const struct made some[] = {
    { .first = 0, .count = 3, .size = 100, .blocks = 1 },
    { .first = 0, .count = 2, .size = 50, .blocks = 5 },
    { .first = 1, .count = 2, .size = 1000, .blocks = 2, .type = "node" },
    { .first = 0, .count = 3, .size = 11, .blocks = 1, .type = "node" },
    { .first = 0, .count = 3, .size = 7, .blocks = 1 },
};
enum { SOME = COUNT_OF(some) };

static const ouro_trace_stat *statistics(ouro_snapshot *snapshot, ouro_trace_key key, size_t expected)
{
    const ouro_trace_stat *stats;
    size_t count = ouro_snapshot_statistics(snapshot, key, &stats);
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(stats[i].size_diff, 0);
        assert_int_equal(stats[i].count_diff, 0);
        if (i > 0)
            assert_true(stats[i - 1].size >= stats[i].size);
    }
    return stats;
}

static void check_sums(const ouro_trace_stat *stat, size_t size, size_t count)
{
    assert_int_equal(stat->size, size);
    assert_int_equal(stat->count, count);
}

static void by_line(void **state)
{
    (void)state;
    ouro_snapshot *snapshot = snapshot_of_all(known, some, SOME);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_LINE, 2);
    check_sums(&stats[0], 1000, 2);
    assert_string_equal(stats[0].function, "known_middle");
    assert_int_equal(stats[0].line, known->lines[KNOWN_MIDDLE]);
    check_sums(&stats[1], 168, 8);
    assert_string_equal(stats[1].function, "known_deepest");
    assert_int_equal(stats[1].line, known->lines[KNOWN_DEEPEST]);
    assert_ptr_equal(stats[0].file, stats[1].file);
    assert_null(stats[0].type);
    assert_null(stats[0].frames);
    assert_ptr_equal(statistics(snapshot, OURO_BY_LINE, 2), stats); /* asked again, the same */
    ouro_snapshot_free(snapshot);
}

static void by_file_and_function(void **state)
{
    (void)state;
    ouro_snapshot *snapshot = snapshot_of_all(known, some, SOME);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_FILE, 1);
    check_sums(stats, 1168, 10);
    assert_non_null(strstr(stats->file, "/known.c"));
    assert_null(stats->function);
    assert_int_equal(stats->line, 0);
    stats = statistics(snapshot, OURO_BY_FUNCTION, 2);
    check_sums(&stats[0], 1000, 2);
    assert_string_equal(stats[1].function, "known_deepest");
    assert_int_equal(stats[1].line, 0);
    assert_non_null(stats[1].file);
    ouro_snapshot_free(snapshot);
}

static void by_type(void **state)
{
    (void)state;
    ouro_snapshot *snapshot = snapshot_of_all(known, some, SOME);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_TYPE, 2);
    check_sums(&stats[0], 1011, 3);
    assert_string_equal(stats[0].type, "node");
    check_sums(&stats[1], 157, 7);
    assert_null(stats[1].type);
    assert_null(stats[1].file);
    ouro_snapshot_free(snapshot);
}

static void by_traceback(void **state)
{
    (void)state;
    ouro_snapshot *snapshot = snapshot_of_all(known, some, SOME);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_TRACEBACK, 4);
    check_sums(&stats[0], 1000, 2);
    check_sums(&stats[1], 107, 2); /* two of the same traceback and type */
    check_sums(&stats[2], 50, 5);
    check_sums(&stats[3], 11, 1);
    assert_int_equal(stats[1].frame_count, 3);
    assert_memory_equal(stats[1].frames, known->frames, 3 * sizeof(void *));
    assert_int_equal(stats[1].line, known->lines[KNOWN_DEEPEST]);
    assert_null(stats[1].type);
    assert_int_equal(stats[0].frame_count, 2);
    assert_ptr_equal(stats[0].frames[0], known->frames[1]);
    assert_string_equal(stats[0].type, "node");
    ouro_snapshot_free(snapshot);
}

static void nothing_and_no_frames(void **state)
{
    (void)state;
    const ouro_trace_stat *stats;
    ouro_snapshot *snapshot = snapshot_of_all(known, NULL, 0);
    for (ouro_trace_key key = OURO_BY_LINE; key <= OURO_BY_TRACEBACK; key++) {
        errno = 0;
        assert_int_equal(ouro_snapshot_statistics(snapshot, key, &stats), 0);
        assert_int_equal(errno, 0);
    }
    ouro_snapshot_free(snapshot);
    struct made made = { .size = 5, .blocks = 1 };
    snapshot = snapshot_of_all(known, &made, 1);
    stats = statistics(snapshot, OURO_BY_LINE, 1);
    check_sums(stats, 5, 1);
    assert_null(stats->file);
    assert_null(stats->function);
    stats = statistics(snapshot, OURO_BY_TRACEBACK, 1);
    assert_int_equal(stats->frame_count, 0);
    assert_int_equal(ouro_snapshot_statistics(snapshot, (ouro_trace_key)5, &stats), 0);
    assert_int_equal(errno, EINVAL);
    assert_null(stats);
    ouro_snapshot_free(snapshot);
}

static void info_says_what_was_added(void **state)
{
    (void)state;
    ouro_snapshot_info info;
    ouro_snapshot *snapshot = snapshot_of_all(known, some, SOME);
    ouro_snapshot_get_info(snapshot, &info);
    assert_int_equal(info.traces, SOME);
    assert_int_equal(info.size, 1168);
    assert_int_equal(info.count, 10);
    assert_int_equal(info.max_frames, 8);
    assert_int_equal(info.sample_bytes, 0);
    assert_non_null(strstr(info.program, "unit_trace.statistics"));
    ouro_snapshot_free(snapshot);
}

/* The difference of two, `before` from the library at another place, as a program's next run would have it. */
static void compare_by_line(void **state)
{
    (void)state;
    static const struct made then[] = {
        { .first = 1, .count = 2, .size = 600, .blocks = 1 },
        { .first = 2, .count = 1, .size = 5000, .blocks = 50 },
    };
    ouro_snapshot *now = snapshot_of_all(known, some, SOME), *before = snapshot_of_all(other, then, COUNT_OF(then));
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_compare(now, before, OURO_BY_LINE, &stats), 3);
    assert_string_equal(stats[0].function, "known_run"); /* only before */
    check_sums(&stats[0], 0, 0);
    assert_int_equal(stats[0].size_diff, -5000);
    assert_int_equal(stats[0].count_diff, -50);
    assert_string_equal(stats[1].function, "known_middle"); /* in both */
    check_sums(&stats[1], 1000, 2);
    assert_int_equal(stats[1].size_diff, 400);
    assert_int_equal(stats[1].count_diff, 1);
    assert_string_equal(stats[2].function, "known_deepest"); /* new */
    assert_int_equal(stats[2].size_diff, 168);
    assert_int_equal(stats[2].count_diff, 8);
    ouro_snapshot_free(before); /* what was given out is now's */
    assert_string_equal(stats[0].function, "known_run");
    assert_non_null(strstr(stats[0].file, "known.c"));
    ouro_snapshot_free(now);
}

static void compare_tracebacks_of_one_library_at_two_places(void **state)
{
    (void)state;
    char copy[256], command[512];
    snprintf(copy, sizeof copy, "%s", scratch("full.so"));
    snprintf(command, sizeof command, "cp %s/full.so %s", KNOWN_FOLDER, copy);
    assert_int_equal(system(command), 0);
    const struct known *again = load_known(copy);
    assert_ptr_not_equal(again->frames[0], known->frames[0]);
    ouro_snapshot *now = snapshot_of_all(known, some, SOME), *before = snapshot_of_all(again, some, SOME - 1);
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_compare(now, before, OURO_BY_TRACEBACK, &stats), 4);
    assert_int_equal(stats[0].size_diff, 7);
    check_sums(&stats[0], 107, 2);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(stats[i].size_diff, 0);
    assert_int_equal(stats[1].size, 1000);
    assert_int_equal(ouro_snapshot_compare(now, now, OURO_BY_TYPE, &stats), 2);
    assert_int_equal(stats[0].size_diff, 0);
    assert_int_equal(stats[0].size, 1011);
    assert_int_equal(ouro_snapshot_compare(now, before, (ouro_trace_key)-1, &stats), 0);
    assert_int_equal(errno, EINVAL);
    ouro_snapshot_free(before);
    ouro_snapshot_free(now);
}

static void compare_with_nothing(void **state)
{
    (void)state;
    const ouro_trace_stat *stats;
    ouro_snapshot *empty = snapshot_of_all(known, NULL, 0), *full = snapshot_of_all(known, some, SOME);
    assert_int_equal(ouro_snapshot_compare(empty, full, OURO_BY_FUNCTION, &stats), 2);
    assert_int_equal(stats[0].size_diff, -1000);
    assert_int_equal(ouro_snapshot_compare(full, empty, OURO_BY_FUNCTION, &stats), 2);
    assert_int_equal(stats[0].size_diff, 1000);
    assert_int_equal(ouro_snapshot_compare(empty, empty, OURO_BY_FUNCTION, &stats), 0);
    ouro_snapshot_free(empty);
    ouro_snapshot_free(full);
}

static void check_filter(ouro_snapshot *snapshot, const char *glob, size_t in, size_t out)
{
    ouro_snapshot_info info;
    ouro_snapshot *chosen = ouro_snapshot_filter(snapshot, glob, true);
    assert_non_null(chosen);
    ouro_snapshot_get_info(chosen, &info);
    assert_int_equal(info.size, in);
    ouro_snapshot_free(chosen);
    chosen = ouro_snapshot_filter(snapshot, glob, false);
    ouro_snapshot_get_info(chosen, &info);
    assert_int_equal(info.size, out);
    ouro_snapshot_free(chosen);
}

static void filters(void **state)
{
    (void)state;
    struct known mixed = *known;
    mixed.frames[2] = (const void *)((uintptr_t)memcpy + 1); /* in libc, whose lines are hardly known */
    static const struct made made[] = { { .first = 0, .count = 3, .size = 1, .blocks = 1 },
                                        { .first = 2, .count = 1, .size = 10, .blocks = 1, .type = "t" },
                                        { .size = 100, .blocks = 1 } };
    ouro_snapshot *snapshot = snapshot_of_all(&mixed, made, COUNT_OF(made));
    check_filter(snapshot, "known.c", 1, 110);
    check_filter(snapshot, "*known.c", 1, 110);
    check_filter(snapshot, "*/unit/trace/*", 1, 110);
    check_filter(snapshot, "unit/trace/known.c", 0, 111);
    check_filter(snapshot, "*", 11, 100); /* what is in no file matches nothing */
    ouro_snapshot *once = ouro_snapshot_filter(snapshot, "known.c", false);
    ouro_snapshot_free(snapshot);
    const ouro_trace_stat *stats = statistics(once, OURO_BY_TYPE, 2);
    assert_string_equal(stats[1].type, "t");
    ouro_snapshot *twice = ouro_snapshot_filter(once, "known.c", true);
    assert_int_equal(ouro_snapshot_statistics(twice, OURO_BY_LINE, &stats), 0);
    assert_null(ouro_snapshot_filter(once, NULL, true));
    assert_int_equal(errno, EINVAL);
    ouro_snapshot_free(once);
    ouro_snapshot_free(twice);
}

/* What a skipped file allocates belongs to its caller, in what is filtered too. */
static void skips(void **state)
{
    (void)state;
    struct known mixed = *known;
    mixed.frames[0] = other->frames[1]; /* in link.so, called by full.so */
    static const struct made made = { .first = 0, .count = 3, .size = 1, .blocks = 1 };
    ouro_snapshot *snapshot = snapshot_of_all(&mixed, &made, 1);
    assert_int_equal(ouro_snapshot_skip(snapshot, "*/nothing/*"), 0);
    assert_int_equal(ouro_snapshot_skip(snapshot, "*known.c"), 0);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_LINE, 1);
    assert_string_equal(stats->function, "known_middle"); /* all are skipped: the first */
    assert_int_equal(ouro_snapshot_skip(snapshot, "x"), -1);
    assert_int_equal(errno, EBUSY);
    ouro_snapshot_free(snapshot);

    mixed.frames[1] = (const void *)((uintptr_t)memcpy + 1);
    snapshot = snapshot_of_all(&mixed, &made, 1);
    assert_int_equal(ouro_snapshot_skip(snapshot, "known.c"), 0);
    ouro_snapshot *filtered = ouro_snapshot_filter(snapshot, "known.c", false);
    ouro_snapshot_free(snapshot);
    stats = statistics(filtered, OURO_BY_TRACEBACK, 1);
    assert_null(strstr(stats->file, "known.c"));
    assert_int_equal(stats->frame_count, 3);
    ouro_trace_symbol symbol;
    assert_int_equal(ouro_snapshot_symbols(filtered, mixed.frames[0], &symbol, 1), 1);
    assert_true(symbol.own);
    assert_int_equal(ouro_snapshot_symbols(filtered, mixed.frames[1], &symbol, 1), 1);
    assert_false(symbol.own);
    ouro_snapshot_free(filtered);
}

/* Many groups, against sums made otherwise; sorted. */
static void many_traces(void **state)
{
    (void)state;
    enum { TRACES = 200000, FRAMES = 6, PLACES = 997 };
    ouro_snapshot *snapshot = ouroi_snapshot_begin(FRAMES, 512);
    const void *frames[FRAMES];
    uint64_t random = 5;
    size_t total = 0, sizes[PLACES] = { 0 };
    for (size_t i = 0; i < TRACES; i++) {
        for (size_t frame = 0; frame < FRAMES; frame++)
            frames[frame] = (const void *)(uintptr_t)(0x1000 + ouroi_random_next(&random) % PLACES);
        size_t size = ouroi_random_next(&random) % 100000;
        sizes[(uintptr_t)frames[0] - 0x1000] += size;
        total += size;
        assert_int_equal(ouroi_snapshot_add(snapshot, frames, 1 + i % FRAMES, NULL, size, 1), 0);
    }
    snapshot = ouroi_snapshot_finish(snapshot);
    const ouro_trace_stat *stats = statistics(snapshot, OURO_BY_FUNCTION, PLACES);
    for (size_t i = 0; i < PLACES; i++)
        assert_int_equal(stats[i].size, sizes[strtoul(stats[i].function, NULL, 16) - 0x1000]);
    size_t count = ouro_snapshot_statistics(snapshot, OURO_BY_TRACEBACK, &stats), sum = 0;
    assert_true(count > TRACES / 2 && count < TRACES);
    for (size_t i = 0; i < count; i++) {
        sum += stats[i].size;
        assert_true(i == 0 || stats[i - 1].size >= stats[i].size);
    }
    assert_int_equal(sum, total);
    ouro_snapshot_free(snapshot);
}

/* Every request for memory fails once: the caller is told, and nothing is lost or left. */
static void no_memory_is_told(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        const ouro_trace_stat *stats;
        ouro_snapshot *before = snapshot_of_all(known, some, SOME);
        ouroi_os_inject(n, UINT64_MAX);
        ouro_snapshot *now = ouroi_snapshot_begin(8, 0);
        int rc = now != NULL ? ouroi_snapshot_add(now, known->frames, 3, "type", 1, 1) : -ENOMEM;
        if (rc == 0)
            now = ouroi_snapshot_finish(now);
        else
            assert_int_equal(rc, -ENOMEM);
        ouro_snapshot *some_of_it = NULL;
        bool whole = rc == 0 && now != NULL && ouro_snapshot_statistics(now, OURO_BY_TRACEBACK, &stats) == 1 &&
                     ouro_snapshot_compare(now, before, OURO_BY_LINE, &stats) == 2 &&
                     (some_of_it = ouro_snapshot_filter(now, "known.c", true)) != NULL &&
                     ouro_snapshot_write_folded(now, scratch("folded")) == 0 &&
                     ouro_snapshot_write_pprof(now, scratch("pprof")) == 0 &&
                     ouro_snapshot_dump(now, scratch("dump")) == 0;
        if (!whole && rc == 0 && now != NULL)
            assert_int_equal(errno, ENOMEM);
        ouroi_os_inject(0, 0);
        ouro_snapshot_free(some_of_it);
        ouro_snapshot_free(now);
        assert_int_equal(ouro_snapshot_statistics(before, OURO_BY_LINE, &stats), 2); /* as if nothing had been */
        ouro_snapshot_free(before);
        if (whole) {
            assert_true(n > 20);
            break;
        }
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_line),
        cmocka_unit_test(by_file_and_function),
        cmocka_unit_test(by_type),
        cmocka_unit_test(by_traceback),
        cmocka_unit_test(nothing_and_no_frames),
        cmocka_unit_test(info_says_what_was_added),
        cmocka_unit_test(compare_by_line),
        cmocka_unit_test(compare_tracebacks_of_one_library_at_two_places),
        cmocka_unit_test(compare_with_nothing),
        cmocka_unit_test(filters),
        cmocka_unit_test(skips),
        cmocka_unit_test(many_traces),
        cmocka_unit_test(no_memory_is_told),
    };
    return cmocka_run_group_tests(tests, load_both, NULL);
}
