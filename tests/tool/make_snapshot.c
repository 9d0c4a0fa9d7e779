/* tool/make_snapshot.c: writes a snapshot as a traced server would: make_snapshot FILE [GROWTH [TRACES]].
 *
 * What each function allocates is written at its line, which the tests look up in this file by the words in the comments;
 * bytes of the leak are multiplied by GROWTH. With TRACES that many made-up tracebacks through the code of this program are
 * added, a byte each.
 */
#include <execinfo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/snapshot.h"

#define NOINLINE __attribute__((noinline, used))

enum { FRAMES = 24 };

static ouro_snapshot *snapshot;
static size_t growth = 1;

static NOINLINE void check(int rc)
{
    if (rc != 0)
        abort();
}

/* As the recorder would: the caller has allocated. */
static NOINLINE void allocated(size_t size, size_t count, const char *type)
{
    void *frames[FRAMES];
    int got = backtrace(frames, FRAMES), first = 0;
    while (first < got && frames[first] != __builtin_return_address(0))
        first++; /* what is in backtrace itself, and here */
    for (int i = first; i < got; i++)
        frames[i] = (char *)frames[i] - 1;
    check(ouroi_snapshot_add(snapshot, (const void *const *)frames + first, (size_t)(got - first), type, size, count));
}

static inline __attribute__((always_inline)) void copy_text(size_t bytes)
{
    allocated(bytes, bytes / 64, NULL); /* texts */
}

static NOINLINE void parse_header(size_t bytes)
{
    copy_text(bytes); /* headers */
    allocated(bytes / 2, 7, "header");
}

static NOINLINE void parse_body(size_t depth)
{
    if (depth > 0)
        parse_body(depth - 1);
    allocated(100000 * (depth + 1), 10, "node"); /* nodes */
}

static NOINLINE void remember_session(void)
{
    allocated(6000000 * growth, 600 * growth, "session"); /* leak */
}

static NOINLINE void serve(size_t request)
{
    parse_header(640000 * (request + 1));
    parse_body(request % 5);
    if (request == 3)
        remember_session();
    __asm__ volatile("");
}

/* Addresses within a few KiB of this code, as a large program's would spread. */
static void add_random(size_t traces)
{
    uint64_t random = 1;
    const void *frames[FRAMES];
    for (size_t i = 0; i < traces; i++) {
        size_t count = 4 + ouroi_random_next(&random) % 9;
        for (size_t frame = 0; frame < count; frame++)
            frames[frame] = (const char *)(uintptr_t)check + ouroi_random_next(&random) % 2000;
        check(ouroi_snapshot_add(snapshot, frames, count, NULL, 1, 1));
    }
}

static void serve_more(void)
{
    serve(2);
    serve(3);
    __asm__ volatile("");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    if (argc > 2)
        growth = strtoul(argv[2], NULL, 10);
    size_t traces = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    snapshot = ouroi_snapshot_begin(FRAMES, 0);
    if (snapshot == NULL)
        return 1;
    pthread_once_t once = PTHREAD_ONCE_INIT;
    for (size_t request = 0; request < 3; request++)
        serve(request);
    pthread_once(&once, serve_more); /* by way of libc */
    add_random(traces);
    snapshot = ouroi_snapshot_finish(snapshot);
    if (snapshot == NULL || ouro_snapshot_dump(snapshot, argv[1]) != 0) {
        perror(argv[1]);
        return 1;
    }
    ouro_snapshot_free(snapshot);
    return 0;
}
