/* unit/gc/test_environment.c: what the environment asks of the collector. The program runs itself with it. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ouro/ouro.h>

struct wanted {
    const char *name, *value;
};

static void run_self(void *arg)
{
    const struct wanted *wanted = arg;
    setenv(wanted->name, wanted->value, 1);
    dup2(2, 1);
    execl("/proc/self/exe", "self", "say", (char *)NULL);
}

static void expect(const char *name, const char *value, const char *settings, const char *complaint)
{
    struct wanted wanted = { name, value };
    char text[1024];
    int status = unit_in_child(run_self, &wanted, text, sizeof text);
    assert_true(unit_child_returned(status));
    const char *said = strstr(text, "settings: ");
    assert_non_null(said);
    assert_string_equal(said, settings);
    if (complaint == NULL)
        assert_ptr_equal(said, text);
    else
        assert_non_null(strstr(text, complaint));
}

static void variables(void **state)
{
    (void)state;
    expect("OURO_GC_THRESHOLD", "700,10,10", "settings: 700 10 10, on, debug 0, workers any\n", NULL);
    expect("OURO_GC_THRESHOLD", "0", "settings: 0 10 10, on, debug 0, workers any\n", NULL);
    expect("OURO_GC_THRESHOLD", "12,,3", "settings: 8192 10 10, on, debug 0, workers any\n",
           "ouro: OURO_GC_THRESHOLD=12,,3: not understood, ignored\n");
    expect("OURO_GC_THRESHOLD", "1,2,3,4", "settings: 8192 10 10, on, debug 0, workers any\n", "not understood");
    expect("OURO_GC_WORKERS", "5", "settings: 8192 10 10, on, debug 0, workers 5\n", NULL);
    expect("OURO_GC_WORKERS", "1025", "settings: 8192 10 10, on, debug 0, workers any\n", "OURO_GC_WORKERS=1025");
    expect("OURO_GC_WORKERS", "many", "settings: 8192 10 10, on, debug 0, workers any\n", "OURO_GC_WORKERS=many");
    expect("OURO_GC_DISABLE", "1", "settings: 8192 10 10, off, debug 0, workers any\n", NULL);
    expect("OURO_GC_DISABLE", "0", "settings: 8192 10 10, on, debug 0, workers any\n", NULL);
    expect("OURO_GC_DISABLE", "", "settings: 8192 10 10, on, debug 0, workers any\n", NULL);
    expect("OURO_GC_DEBUG", "38", "settings: 8192 10 10, on, debug 38, workers any\n", NULL);
    expect("OURO_GC_DEBUG", "stats,saveall", "settings: 8192 10 10, on, debug 33, workers any\n", NULL);
    expect("OURO_GC_DEBUG", "64", "settings: 8192 10 10, on, debug 0, workers any\n", "OURO_GC_DEBUG=64");
    expect("OURO_GC_DEBUG", "leek", "settings: 8192 10 10, on, debug 0, workers any\n", "OURO_GC_DEBUG=leek");
}

static void say_settings(void)
{
    size_t threshold[3];
    ouro_gc_get_threshold(threshold);
    printf("settings: %zu %zu %zu, %s, debug %u, workers ", threshold[0], threshold[1], threshold[2],
           ouro_gc_is_enabled() ? "on" : "off", ouro_gc_get_debug());
    unsigned workers = ouro_gc_get_workers();
    ouro_gc_set_workers(0);
    if (workers == ouro_gc_get_workers())
        printf("any\n");
    else
        printf("%u\n", workers);
}

/* The lines that debug flags ask for. */
struct node {
    ouro_object header;
    struct node *next;
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next));

static void collect_with_flags(void *arg)
{
    (void)arg;
    ouro_gc_disable();
    struct node *node = ouro_new(&node_type);
    node->next = node;
    ouro_gc_set_debug(OURO_GC_DEBUG_STATS | OURO_GC_DEBUG_COLLECTABLE);
    CHILD_EXPECT(ouro_gc_collect(1) == 1);
    ouro_gc_set_debug(0);
}

static void debug_lines(void **state)
{
    (void)state;
    char text[1024];
    assert_true(unit_child_returned(unit_in_child(collect_with_flags, NULL, text, sizeof text)));
    assert_non_null(strstr(text, "ouro: gc: collecting generation 1; counts 1, 0, 0\n"));
    assert_non_null(strstr(text, "ouro: gc: collectable <node 0x"));
    assert_non_null(strstr(text, "ouro: gc: done, 1 looked at, 1 unreachable, 0 uncollectable, "));
}

/* The object graph: two nodes that refer to each other, one of them held from outside. */

static size_t read_number(const uint8_t *bytes, size_t *at)
{
    size_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = bytes[(*at)++];
        value |= (size_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
}

static intptr_t read_signed(const uint8_t *bytes, size_t *at, size_t less)
{
    size_t folded = read_number(bytes, at) - less;
    return (intptr_t)(folded >> 1) ^ -(intptr_t)(folded & 1);
}

/* Looks for a chunk; its payload. */
static const uint8_t *find_chunk(const uint8_t *file, size_t used, const char *kind, size_t *bytes)
{
    for (size_t at = 16; at < used; at += 16 + *bytes) {
        memcpy(bytes, file + at + 8, sizeof *bytes);
        if (memcmp(file + at, kind, 4) == 0)
            return file + at + 16;
    }
    return NULL;
}

static void dump(void **state)
{
    (void)state;
    static uint8_t file[4096];
    struct node *first = ouro_new(&node_type), *second = ouro_new(&node_type);
    struct node *lower = first < second ? first : second, *upper = first < second ? second : first;
    first->next = ouro_newref(second);
    second->next = ouro_newref(first);
    ouro_decref(second);
    FILE *out = tmpfile();
    assert_non_null(out);
    assert_int_equal(ouro_gc_dump_graph(fileno(out)), 0);
    rewind(out);
    size_t used = fread(file, 1, sizeof file, out), bytes, at = 0;
    fclose(out);
    assert_memory_equal(file, "\x89OUROGR\n\1\0\0\0\0\0\0\0", 16);

    const uint8_t *chunk = find_chunk(file, used, "TYPE", &bytes);
    assert_non_null(chunk);
    size_t number = read_number(chunk, &at);
    assert_int_equal(read_number(chunk, &at), sizeof(struct node));
    assert_int_equal(read_number(chunk, &at), 0);
    assert_int_equal(read_number(chunk, &at), 1); /* it has a map */
    assert_int_equal(read_number(chunk, &at), 4);
    assert_memory_equal(chunk + at, "node", 4);
    assert_int_equal(at + 4, bytes);

    chunk = find_chunk(file, used, "OBJS", &bytes);
    assert_non_null(chunk);
    at = 0;
    intptr_t apart = ((intptr_t)upper - (intptr_t)lower) / 16;
    assert_int_equal(read_number(chunk, &at), 7);
    assert_int_equal(read_number(chunk, &at), ouro_block_size(lower));
    assert_int_equal(chunk[at++], 8 | (lower == first ? 32 : 0)); /* generation 0; type; count */
    assert_int_equal(read_signed(chunk, &at, 0), (intptr_t)lower / 16);
    assert_int_equal(read_number(chunk, &at), number);
    if (lower == first)
        assert_int_equal(read_number(chunk, &at), 2);
    assert_int_equal(read_signed(chunk, &at, 1), apart);
    assert_int_equal(chunk[at++], 0);
    assert_int_equal(chunk[at++], upper == first ? 32 : 0);
    assert_int_equal(read_signed(chunk, &at, 0), apart);
    if (upper == first)
        assert_int_equal(read_number(chunk, &at), 2);
    assert_int_equal(read_signed(chunk, &at, 1), -apart);
    assert_int_equal(chunk[at++], 0);
    assert_int_equal(at, bytes);

    chunk = find_chunk(file, used, "END ", &bytes);
    assert_int_equal(chunk + bytes, file + used);
    assert_memory_equal(chunk, "\2\2", 2);
    ouro_decref(first);
    ouro_gc_collect(2);
}

static void dump_errors(void **state)
{
    (void)state;
    int ends[2];
    errno = 0;
    assert_int_equal(ouro_gc_dump_graph(-1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(pipe(ends), 0);
    errno = 0;
    assert_int_equal(ouro_gc_dump_graph(ends[0]), -1);
    assert_int_equal(errno, EBADF);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    errno = 0;
    assert_int_equal(ouro_gc_dump_graph(ends[1]), -1);
    assert_int_equal(errno, EPIPE);
    close(ends[1]);
    int full = open("/dev/full", O_WRONLY);
    errno = 0;
    assert_int_equal(ouro_gc_dump_graph(full), -1);
    assert_int_equal(errno, ENOSPC);
    close(full);
    ouro_blocking_begin();
    errno = 0;
    assert_int_equal(ouro_gc_dump_graph(STDERR_FILENO), -1);
    assert_int_equal(errno, EPERM);
    ouro_blocking_end();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables),
        cmocka_unit_test(debug_lines),
        cmocka_unit_test(dump),
        cmocka_unit_test(dump_errors),
    };
    if (argc > 1 && strcmp(argv[1], "say") == 0) {
        say_settings();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
