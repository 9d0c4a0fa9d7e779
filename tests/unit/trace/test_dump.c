/* unit/trace/test_dump.c: dumps come back as they were; those that are cut, changed or newer are told. */
#define _GNU_SOURCE
#include "unit/trace/make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/snapshot_format.h"

static const struct made some[] = {
    { .first = 0, .count = 3, .size = 100, .blocks = 1 },
    { .first = 1, .count = 2, .size = 70000, .blocks = 2, .type = "node" },
    { .first = 2, .count = 1, .size = 1, .blocks = 1, .type = "leaf" },
    { .count = 0, .size = 0, .blocks = 1 },
};

static ouro_snapshot *make(void)
{
    return snapshot_of_all(load_known("full.so"), some, COUNT_OF(some));
}

static void check_same(ouro_snapshot *one, ouro_snapshot *other)
{
    ouro_snapshot_info info[2];
    ouro_snapshot_get_info(one, &info[0]);
    ouro_snapshot_get_info(other, &info[1]);
    assert_string_equal(info[0].program, info[1].program);
    assert_true(info[0].time_ns == info[1].time_ns && info[0].pid == info[1].pid);
    assert_true(info[0].sample_bytes == info[1].sample_bytes && info[0].max_frames == info[1].max_frames);
    assert_true(info[0].traces == info[1].traces && info[0].size == info[1].size && info[0].count == info[1].count);
    for (ouro_trace_key key = OURO_BY_LINE; key <= OURO_BY_TRACEBACK; key++) {
        const ouro_trace_stat *stats[2];
        size_t count = ouro_snapshot_statistics(one, key, &stats[0]);
        assert_int_equal(ouro_snapshot_statistics(other, key, &stats[1]), count);
        for (size_t i = 0; i < count; i++) {
            const ouro_trace_stat *a = &stats[0][i], *b = &stats[1][i];
            assert_true(a->size == b->size && a->count == b->count && a->line == b->line);
            assert_true((a->file == NULL) == (b->file == NULL) && (a->file == NULL || !strcmp(a->file, b->file)));
            assert_true((a->type == NULL) == (b->type == NULL) && (a->type == NULL || !strcmp(a->type, b->type)));
            assert_true((a->function == NULL) == (b->function == NULL) &&
                        (a->function == NULL || !strcmp(a->function, b->function)));
            assert_int_equal(a->frame_count, b->frame_count);
            if (a->frame_count != 0)
                assert_memory_equal(a->frames, b->frames, a->frame_count * sizeof(void *));
        }
    }
}

static void comes_back(void **state)
{
    (void)state;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("one")), 0);
    ouro_snapshot *loaded = ouro_snapshot_load(scratch("one"));
    assert_non_null(loaded);
    check_same(snapshot, loaded);
    assert_int_equal(ouro_snapshot_dump(loaded, scratch("two")), 0);
    size_t bytes[2];
    char *one = read_whole(scratch("one"), &bytes[0]), *two = read_whole(scratch("two"), &bytes[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(one, two, bytes[0]);
    free(one);
    free(two);
    ouro_snapshot_free(snapshot);
    ouro_snapshot_free(loaded);
}

static void check_refused(const void *bytes, size_t count, int error)
{
    int rc = 0;
    uint8_t *exact = malloc(count + (count == 0)); /* so that sanitizers see a read past the end */
    memcpy(exact, bytes, count);
    ouro_snapshot *snapshot = ouroi_snapshot_parse(exact, count, &rc);
    assert_null(snapshot);
    assert_int_equal(rc, -error);
    free(exact);
}

static void put_crc(uint8_t *bytes, size_t count)
{
    memset(bytes + OUROI_HEADER_CRC, 0, 4);
    uint32_t crc = ouroi_crc(0, bytes, count);
    memcpy(bytes + OUROI_HEADER_CRC, &crc, 4);
}

static void cut_anywhere_is_told(void **state)
{
    (void)state;
    size_t bytes;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("whole")), 0);
    ouro_snapshot_free(snapshot);
    char *whole = read_whole(scratch("whole"), &bytes);
    for (size_t cut = 0; cut < bytes; cut++)
        check_refused(whole, cut, EBADMSG);
    write_whole(scratch("cut"), whole, bytes - 1);
    assert_null(ouro_snapshot_load(scratch("cut")));
    assert_int_equal(errno, EBADMSG);
    whole[bytes] = 'x';
    write_whole(scratch("longer"), whole, bytes + 1);
    assert_null(ouro_snapshot_load(scratch("longer")));
    assert_int_equal(errno, EBADMSG);
    free(whole);
}

/* Any byte changed: the checksum tells. With the checksum made right again it may be a snapshot, or is refused. */
static void changed_anywhere_is_told(void **state)
{
    (void)state;
    size_t bytes, accepted = 0, refused = 0;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("whole")), 0);
    ouro_snapshot_free(snapshot);
    uint8_t *whole = (uint8_t *)read_whole(scratch("whole"), &bytes);
    ouroi_names_without_files = true;
    for (size_t at = 0; at < bytes; at++) {
        static const uint8_t changes[] = { 0x80, 1 };
        for (size_t i = 0; i < COUNT_OF(changes); i++) {
            uint8_t saved[4], was = whole[at];
            int rc = 0;
            whole[at] ^= changes[i];
            bool newer = at >= OUROI_HEADER_VERSION && at < OUROI_HEADER_SIZE && whole[OUROI_HEADER_VERSION] != 0;
            check_refused(whole, bytes, newer ? ENOTSUP : EBADMSG);
            memcpy(saved, whole + OUROI_HEADER_CRC, 4);
            put_crc(whole, bytes);
            snapshot = ouroi_snapshot_parse(whole, bytes, &rc);
            assert_true(snapshot != NULL || rc == -EBADMSG || rc == -ENOTSUP);
            *(snapshot != NULL ? &accepted : &refused) += 1;
            for (ouro_trace_key key = OURO_BY_LINE; snapshot != NULL && key <= OURO_BY_TRACEBACK; key += 4) {
                const ouro_trace_stat *stats;
                assert_true(ouro_snapshot_statistics(snapshot, key, &stats) > 0);
            }
            ouro_snapshot_free(snapshot);
            memcpy(whole + OUROI_HEADER_CRC, saved, 4);
            whole[at] = was;
        }
    }
    ouroi_names_without_files = false;
    assert_true(accepted > 0 && refused > 0);
    free(whole);
}

static void newer_version_is_told(void **state)
{
    (void)state;
    size_t bytes;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("whole")), 0);
    ouro_snapshot_free(snapshot);
    uint8_t *whole = (uint8_t *)read_whole(scratch("whole"), &bytes);
    whole[OUROI_HEADER_VERSION]++;
    put_crc(whole, bytes);
    write_whole(scratch("newer"), whole, bytes);
    assert_null(ouro_snapshot_load(scratch("newer")));
    assert_int_equal(errno, ENOTSUP);
    free(whole);
}

/* A section that this version does not know is left out. */
static void unknown_sections_are_left_out(void **state)
{
    (void)state;
    size_t bytes;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("whole")), 0);
    uint8_t *whole = (uint8_t *)read_whole(scratch("whole"), &bytes), more[8192];
    static const uint8_t section[] = "NEWS\0\0\0\0\5\0\0\0\0\0\0\0hello";
    size_t length = sizeof section - 1;
    assert_true(bytes + length < sizeof more);
    memcpy(more, whole, OUROI_HEADER_BYTES);
    memcpy(more + OUROI_HEADER_BYTES, section, length);
    memcpy(more + OUROI_HEADER_BYTES + length, whole + OUROI_HEADER_BYTES, bytes - OUROI_HEADER_BYTES);
    uint64_t all = bytes + length;
    memcpy(more + OUROI_HEADER_FILE_BYTES, &all, 8);
    put_crc(more, all);
    int rc;
    ouro_snapshot *loaded = ouroi_snapshot_parse(more, all, &rc);
    assert_non_null(loaded);
    check_same(snapshot, loaded);
    ouro_snapshot_free(loaded);
    ouro_snapshot_free(snapshot);
    free(whole);
}

static void what_is_no_file_of_ours(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int error;
    } files[] = { { "/nonexistent/file", ENOENT },
                  { "/dev/null", EBADMSG },
                  { "/proc/self/exe", EBADMSG },
                  { "/", EISDIR },
                  { "/dev/zero", EBADMSG } };
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        assert_null(ouro_snapshot_load(files[i].path));
        assert_int_equal(errno, files[i].error);
    }
}

/* Hostile counts ask for no memory, which -EBADMSG and not -ENOMEM shows. */
static void huge_counts_are_refused(void **state)
{
    (void)state;
    size_t bytes;
    ouro_snapshot *snapshot = make();
    assert_int_equal(ouro_snapshot_dump(snapshot, scratch("whole")), 0);
    ouro_snapshot_free(snapshot);
    uint8_t *whole = (uint8_t *)read_whole(scratch("whole"), &bytes);
    static const char *const tags[] = { "MODS", "ADDR", "TYPE", "TRAC" };
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        uint8_t *at = memmem(whole, bytes, tags[i], 4), saved[10];
        assert_non_null(at);
        memcpy(saved, at + OUROI_SECTION_BYTES, 10);
        memset(at + OUROI_SECTION_BYTES, 0xff, 9); /* 2^64 - 1 */
        at[OUROI_SECTION_BYTES + 9] = 1;
        put_crc(whole, bytes);
        check_refused(whole, bytes, EBADMSG);
        memcpy(at + OUROI_SECTION_BYTES, saved, 10);
    }
    free(whole);
}

static void dumps_replace_files_whole(void **state)
{
    (void)state;
    char path[256], link[256];
    struct stat before, after;
    ouro_snapshot *snapshot = make();
    snprintf(path, sizeof path, "%s", scratch("replaced"));
    snprintf(link, sizeof link, "%s", scratch("link"));
    write_whole(path, "old", 3);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(ouro_snapshot_dump(snapshot, path), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(symlink(path, link), 0); /* a link stays one */
    assert_int_equal(ouro_snapshot_dump(snapshot, link), 0);
    assert_int_equal(lstat(link, &after), 0);
    assert_true(S_ISLNK(after.st_mode));
    ouro_snapshot *loaded = ouro_snapshot_load(link);
    assert_non_null(loaded);
    ouro_snapshot_free(loaded);
    assert_int_equal(ouro_snapshot_dump(snapshot, "/nonexistent/file"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(ouro_snapshot_dump(snapshot, "/"), -1);
    assert_int_equal(errno, EISDIR);
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(ouro_snapshot_dump(snapshot, "/dev/full"), -1);
        assert_int_equal(errno, ENOSPC);
    }
    ouro_snapshot_free(snapshot);
}

static void null_is_einval(void **state)
{
    (void)state;
    const ouro_trace_stat *stats;
    ouro_trace_symbol symbol;
    ouro_snapshot *snapshot = make();
#define EXPECT_EINVAL(failure)           \
    do {                                 \
        errno = 0;                       \
        assert_true(failure);            \
        assert_int_equal(errno, EINVAL); \
    } while (0)
    EXPECT_EINVAL(ouro_snapshot_load(NULL) == NULL);
    EXPECT_EINVAL(ouro_snapshot_dump(NULL, scratch("x")) == -1);
    EXPECT_EINVAL(ouro_snapshot_dump(snapshot, NULL) == -1);
    EXPECT_EINVAL(ouro_snapshot_write_pprof(NULL, scratch("x")) == -1);
    EXPECT_EINVAL(ouro_snapshot_write_pprof(snapshot, NULL) == -1);
    EXPECT_EINVAL(ouro_snapshot_write_folded(NULL, scratch("x")) == -1);
    EXPECT_EINVAL(ouro_snapshot_write_folded(snapshot, NULL) == -1);
    EXPECT_EINVAL(ouro_snapshot_statistics(NULL, OURO_BY_LINE, &stats) == 0);
    EXPECT_EINVAL(ouro_snapshot_compare(NULL, snapshot, OURO_BY_LINE, &stats) == 0);
    EXPECT_EINVAL(ouro_snapshot_compare(snapshot, NULL, OURO_BY_LINE, &stats) == 0);
    EXPECT_EINVAL(ouro_snapshot_filter(NULL, "*", true) == NULL);
    EXPECT_EINVAL(ouro_snapshot_symbols(NULL, NULL, &symbol, 1) == 0);
    EXPECT_EINVAL(ouro_snapshot_set_symbol_path(NULL, "/") == -1);
    ouro_snapshot_free(NULL);
    ouro_snapshot_free(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(cut_anywhere_is_told),
        cmocka_unit_test(changed_anywhere_is_told),
        cmocka_unit_test(newer_version_is_told),
        cmocka_unit_test(unknown_sections_are_left_out),
        cmocka_unit_test(what_is_no_file_of_ours),
        cmocka_unit_test(huge_counts_are_refused),
        cmocka_unit_test(dumps_replace_files_whole),
        cmocka_unit_test(null_is_einval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
