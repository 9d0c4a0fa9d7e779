/* unit/trace/test_names.c: functions, files and lines of known code, whatever strip left of it. */
#define _GNU_SOURCE
#include "unit/trace/make.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/snapshot.h"

static void check_symbol(const ouro_trace_symbol *symbol, const char *function, unsigned line)
{
    assert_string_equal(symbol->function, function);
    assert_int_equal(symbol->line, line);
    assert_false(symbol->own);
    if (line == 0) {
        assert_null(symbol->file);
        return;
    }
    const char *end = strstr(symbol->file, "tests/unit/trace/known.c");
    assert_non_null(end);
    assert_string_equal(end, "tests/unit/trace/known.c");
    assert_int_equal(symbol->file[0], '/');
}

/* All that debug information says of the chain. */
static void check_all_names(ouro_snapshot *snapshot, const struct known *known)
{
    ouro_trace_symbol symbols[4];
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[0], symbols, COUNT_OF(symbols)), 3);
    check_symbol(&symbols[0], "known_deepest", known->lines[KNOWN_DEEPEST]);
    check_symbol(&symbols[1], "known_inlined", known->lines[KNOWN_INLINED]);
    check_symbol(&symbols[2], "known::inner(int)", known->lines[KNOWN_INNER]);
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[1], symbols, COUNT_OF(symbols)), 1);
    check_symbol(&symbols[0], "known_middle", known->lines[KNOWN_MIDDLE]);
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[2], symbols, COUNT_OF(symbols)), 1);
    check_symbol(&symbols[0], "known_run", known->lines[KNOWN_OUTER]);
}

static void check_variant(const char *name)
{
    const struct known *known = load_known(name);
    ouro_snapshot *snapshot = snapshot_of(known);
    check_all_names(snapshot, known);
    ouro_trace_symbol symbol;
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[0], &symbol, 1), 3); /* one is written */
    assert_string_equal(symbol.function, "known_deepest");
    const char *end = strrchr(symbol.module, '/');
    assert_string_equal(end + 1, name);
    Dl_info info;
    assert_int_not_equal(dladdr(known->frames[0], &info), 0);
    assert_int_equal(symbol.offset, (uintptr_t)known->frames[0] - (uintptr_t)info.dli_fbase);
    ouro_snapshot_free(snapshot);
}

static void full_debug_information_names_all(void **state)
{
    (void)state;
    check_variant("full.so");
}

static void stripped_with_debuglink_names_all(void **state)
{
    (void)state;
    check_variant("link.so");
}

static void stripped_with_build_id_names_all(void **state)
{
    (void)state;
    const struct known *known = load_known("id.so");
    ouro_snapshot *snapshot = snapshot_of(known);
    assert_int_equal(ouro_snapshot_set_symbol_path(snapshot, "/nowhere:" KNOWN_FOLDER "/id"), 0);
    check_all_names(snapshot, known);
    assert_int_equal(ouro_snapshot_set_symbol_path(snapshot, "/too/late"), -1);
    assert_int_equal(errno, EBUSY);
    ouro_snapshot_free(snapshot);
}

static void symbol_table_names_functions(void **state)
{
    (void)state;
    const struct known *known = load_known("table.so");
    ouro_snapshot *snapshot = snapshot_of(known);
    ouro_trace_symbol symbol;
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[0], &symbol, 1), 1);
    check_symbol(&symbol, "known::inner(int)", 0);
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[1], &symbol, 1), 1);
    check_symbol(&symbol, "known_middle", 0);
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_statistics(snapshot, OURO_BY_LINE, &stats), 1);
    assert_string_equal(strrchr(stats->file, '/'), "/table.so");
    assert_int_equal(stats->line, 0);
    assert_string_equal(stats->function, "known::inner(int)");
    ouro_snapshot_free(snapshot);
}

static void stripped_leaves_what_is_exported(void **state)
{
    (void)state;
    const struct known *known = load_known("bare.so");
    ouro_snapshot *snapshot = snapshot_of(known);
    ouro_trace_symbol symbol;
    char name[64];
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[2], &symbol, 1), 1);
    check_symbol(&symbol, "known_run", 0);
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[1], &symbol, 1), 1);
    snprintf(name, sizeof name, "bare.so+0x%lx", (unsigned long)symbol.offset);
    check_symbol(&symbol, name, 0);
    ouro_snapshot_free(snapshot);
}

static void what_is_in_no_module_is_its_address(void **state)
{
    (void)state;
    struct known nowhere = { .frames = { (void *)0x1234 } };
    struct made made = { .count = 1, .size = 1, .blocks = 1 };
    ouro_snapshot *snapshot = snapshot_of_all(&nowhere, &made, 1);
    ouro_trace_symbol symbol;
    assert_int_equal(ouro_snapshot_symbols(snapshot, nowhere.frames[0], &symbol, 1), 1);
    assert_string_equal(symbol.function, "0x1234");
    assert_null(symbol.module);
    assert_null(symbol.file);
    assert_int_equal(ouro_snapshot_symbols(snapshot, (void *)0x1235, &symbol, 1), 0);
    assert_int_equal(errno, ENOENT);
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_statistics(snapshot, OURO_BY_FILE, &stats), 1);
    assert_null(stats->file);
    ouro_snapshot_free(snapshot);
}

/* As on another machine: what is at the module's path is another build, then nothing, then it is elsewhere. */
static void another_build_names_nothing(void **state)
{
    (void)state;
    char place[256], dump[256], command[1024];
    snprintf(place, sizeof place, "%s", scratch("moved.so"));
    snprintf(dump, sizeof dump, "%s", scratch("moved.ouro"));
    snprintf(command, sizeof command, "cp %s/full.so %s", KNOWN_FOLDER, place);
    assert_int_equal(system(command), 0);
    const struct known *known = load_known(place);
    ouro_snapshot *snapshot = snapshot_of(known);
    assert_int_equal(ouro_snapshot_dump(snapshot, dump), 0);
    ouro_snapshot_free(snapshot);

    ouro_trace_symbol symbol;
    snapshot = ouro_snapshot_load(dump);
    assert_non_null(snapshot);
    check_all_names(snapshot, known);
    ouro_snapshot_free(snapshot);

    snprintf(command, sizeof command, "%s.new", place);
    size_t bytes;
    char *other = read_whole("/proc/self/exe", &bytes); /* a program, and with another build-id */
    write_whole(command, other, bytes);
    free(other);
    assert_int_equal(rename(command, place), 0);
    snapshot = ouro_snapshot_load(dump);
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[2], &symbol, 1), 1);
    snprintf(command, sizeof command, "moved.so+0x%lx", (unsigned long)symbol.offset);
    check_symbol(&symbol, command, 0);
    ouro_snapshot_free(snapshot);

    assert_int_equal(unlink(place), 0);
    snapshot = ouro_snapshot_load(dump);
    assert_int_equal(ouro_snapshot_set_symbol_path(snapshot, KNOWN_FOLDER "/id"), 0);
    check_all_names(snapshot, known); /* by build-id alone */
    ouro_snapshot_free(snapshot);
}

/* The library's own frames are known as such. */
static void own_code_is_the_library(void **state)
{
    (void)state;
    const struct known *known = load_known("full.so");
    struct known mixed = *known;
    uintptr_t own = (uintptr_t)ouroi_snapshot_begin;
    mixed.frames[0] = (const void *)(own + 1);
    ouro_snapshot *snapshot = snapshot_of(&mixed);
    ouro_trace_symbol symbol;
    assert_int_not_equal(ouro_snapshot_symbols(snapshot, mixed.frames[0], &symbol, 1), 0);
    assert_true(symbol.own);
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_statistics(snapshot, OURO_BY_FUNCTION, &stats), 1);
    assert_string_equal(stats->function, "known_middle");
    ouro_snapshot_free(snapshot);
}

/* What is inlined out of the library's headers is the library. */
static void own_headers_are_the_library(void **state)
{
    (void)state;
    const struct known *known = load_known("full.so");
    struct made made = { .first = KNOWN_MADE, .count = 1, .size = 1, .blocks = 1 };
    ouro_snapshot *snapshot = snapshot_of_all(known, &made, 1);
    ouro_trace_symbol symbols[2];
    assert_int_equal(ouro_snapshot_symbols(snapshot, known->frames[KNOWN_MADE], symbols, 2), 2);
    assert_string_equal(symbols[0].function, "make");
    assert_string_equal(symbols[0].file, "/usr/include/ouro/object.h");
    assert_int_equal(symbols[0].line, 9);
    assert_true(symbols[0].own);
    check_symbol(&symbols[1], "known_maker", known->lines[KNOWN_MAKER]);
    const ouro_trace_stat *stats;
    assert_int_equal(ouro_snapshot_statistics(snapshot, OURO_BY_LINE, &stats), 1);
    assert_string_equal(stats->function, "known_maker");
    assert_int_equal(stats->line, known->lines[KNOWN_MAKER]);
    ouro_snapshot *other = ouro_snapshot_filter(snapshot, "known.c", false);
    assert_int_equal(ouro_snapshot_statistics(other, OURO_BY_LINE, &stats), 0);
    ouro_snapshot_free(other);
    ouro_snapshot_free(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_debug_information_names_all), cmocka_unit_test(stripped_with_debuglink_names_all),
        cmocka_unit_test(stripped_with_build_id_names_all), cmocka_unit_test(symbol_table_names_functions),
        cmocka_unit_test(stripped_leaves_what_is_exported), cmocka_unit_test(what_is_in_no_module_is_its_address),
        cmocka_unit_test(another_build_names_nothing),      cmocka_unit_test(own_code_is_the_library),
        cmocka_unit_test(own_headers_are_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
