/* examples/what_grew.c: a server that asks itself what grew between two moments: two snapshots, compared by function. */
#include <stdio.h>

#include <ouro/ouro.h>

enum { REQUESTS = 200, SAID = 3 };

static void *cache[REQUESTS];
static size_t cached;

/* Everybody's answer is kept, and nobody looks at it again. */
static __attribute__((noinline)) void *make_answer(size_t bytes)
{
    void *answer = ouro_malloc(bytes);
    cache[cached++] = answer;
    return answer;
}

static __attribute__((noinline)) void *read_request(size_t bytes)
{
    void *request = ouro_malloc(bytes);
    return request;
}

static void serve(size_t requests)
{
    for (size_t i = 0; i < requests; i++) {
        void *request = read_request(500);
        if (make_answer(1000) == NULL || request == NULL)
            return;
        ouro_free(request);
    }
}

int main(void)
{
    const ouro_trace_stat *stats;
    if (ouro_trace_start(16, 0) != 0)
        return 1;
    serve(10);
    ouro_snapshot *before = ouro_trace_take_snapshot();
    serve(REQUESTS - 10);
    void *pending = read_request(500);
    ouro_snapshot *now = ouro_trace_take_snapshot();
    if (before == NULL || now == NULL)
        return 1;
    size_t count = ouro_snapshot_compare(now, before, OURO_BY_FUNCTION, &stats);
    for (size_t i = 0; i < count && i < SAID; i++)
        printf("%s: %+ld bytes in %+ld blocks, now %zu in %zu\n", stats[i].function, stats[i].size_diff,
               stats[i].count_diff, stats[i].size, stats[i].count);
    ouro_snapshot_free(before);
    ouro_snapshot_free(now);
    ouro_free(pending);
    return 0;
}
