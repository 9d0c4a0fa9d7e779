/* unit/gc/test_environment.c: what the environment asks of the collector. The program runs itself with it. */
#define _GNU_SOURCE
#include "unit/unit.h"

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

/* The object graph. */

static void dump(void **state)
{
    (void)state;
    char text[4096], line[256];
    struct node *first = ouro_new(&node_type), *second = ouro_new(&node_type);
    first->next = ouro_newref(second);
    second->next = ouro_newref(first);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(ouro_gc_dump_graph(fileno(file)), 0);
    rewind(file);
    size_t used = fread(text, 1, sizeof text - 1, file);
    text[used] = '\0';
    fclose(file);
    assert_int_equal(strncmp(text, "ouro-graph 1\ntype ", 18), 0);
    assert_non_null(strstr(text, " 24 0 node\n"));
    unsigned number = 0;
    assert_int_equal(sscanf(text, "ouro-graph 1\ntype %u", &number), 1);
    snprintf(line, sizeof line, "object %p %u 0 2 1 24 %zu %p\n", (void *)first, number, ouro_block_size(first),
             (void *)second);
    if (strstr(text, line) == NULL)
        fail_msg("%swanted: %s", text, line);
    assert_non_null(strstr(text, "\nend 2 2\n"));
    assert_int_equal(ouro_gc_dump_graph(-1), -1);
    ouro_decref(first);
    ouro_decref(second);
    ouro_gc_collect(2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables),
        cmocka_unit_test(debug_lines),
        cmocka_unit_test(dump),
    };
    if (argc > 1 && strcmp(argv[1], "say") == 0) {
        say_settings();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
