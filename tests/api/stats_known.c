/* api/stats_known.c: does known things, then writes the statistics: for the parsers in test_formats.py.
 *
 * usage: stats_known json|prometheus|both|wait [OUT]     OUT: a file, or stdout. wait: JSON, then it stays until its
 * standard input ends
 * On stderr: what it did, as NAME=VALUE lines. With OBJECTS, collections too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if OBJECTS
#include <ouro/ouro.h>
#else
#include <ouro/alloc.h>
#include <ouro/stats.h>
#endif

enum { SMALL = 1000, FREED = 400, SMALL_BYTES = 2000, LARGE = 3, LARGE_BYTES = 300000, RINGS = 50 };

static void *small[SMALL], *large[LARGE];

#if OBJECTS
struct node {
    ouro_object base;
    struct node *next;
};
static ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next));

static void collect(void)
{
    ouro_gc_disable();
    for (int i = 0; i < RINGS; i++) {
        struct node *a = ouro_new(&node_type), *b = ouro_new(&node_type);
        a->next = ouro_newref(b);
        b->next = ouro_newref(a);
        ouro_decref(a);
        ouro_decref(b);
    }
    fprintf(stderr, "collected=%ld\n", ouro_gc_collect(2));
    ouro_gc_collect(0);
    ouro_gc_collect(0);
    ouro_gc_collect(1);
    size_t threshold[3] = { 701, 11, 12 };
    ouro_gc_set_threshold(threshold);
}
#else
static void collect(void)
{
}
#endif

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "json";
    int fd = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600) : STDOUT_FILENO;
    ouro_heap *heap = ouro_heap_new();
    void *in_heap = ouro_heap_malloc(heap, 64);
    for (int i = 0; i < SMALL; i++)
        small[i] = ouro_malloc(SMALL_BYTES);
    for (int i = 0; i < FREED; i++)
        ouro_free(small[i]);
    for (int i = 0; i < LARGE; i++)
        large[i] = ouro_malloc(LARGE_BYTES);
    collect();
    fprintf(stderr, "class=%zu\nliving=%d\nlarge=%d\nlarge_bytes=%zu\nregions=%d\npid=%d\n",
            ouro_good_size(SMALL_BYTES), SMALL - FREED, LARGE, LARGE * ouro_usable_size(large[0]), in_heap != NULL,
            getpid());
    int rc = 0;
    if (strcmp(what, "prometheus") != 0)
        rc = ouro_stats_write_json(fd);
    if (strcmp(what, "json") != 0 && strcmp(what, "wait") != 0)
        rc |= ouro_stats_write_prometheus(fd);
    if (rc != 0) {
        fprintf(stderr, "error=%s\n", strerror(errno));
        return 1;
    }
    char byte;
    while (strcmp(what, "wait") == 0 && read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
