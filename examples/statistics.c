/* examples/statistics.c: what a piece of a program leaves in the heap, and the page that a server gives to Prometheus. */
#include <stdio.h>

#include <ouro/ouro.h>

enum { REQUESTS = 1000 };

static void *forgotten[REQUESTS];

static void serve(int i)
{
    void *request = ouro_malloc(2000), *reply = ouro_malloc(500);
    ouro_free(request);
    if (i % 10 == 0)
        forgotten[i] = reply; /* nobody frees that */
    else
        ouro_free(reply);
}

int main(void)
{
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    for (int i = 0; i < REQUESTS; i++)
        serve(i);
    ouro_stats_get(&after);
    printf("%d requests: %zu mallocs, %zu frees\n", REQUESTS, (size_t)(after.mallocs - before.mallocs),
           (size_t)(after.frees - before.frees));
    printf("left behind: %zu blocks of %zu bytes\n",
           (size_t)((after.mallocs - after.frees) - (before.mallocs - before.frees)), ouro_usable_size(forgotten[0]));

    FILE *lines = tmpfile(); /* in a server: the connection that asked for /metrics */
    if (lines == NULL || ouro_stats_write_prometheus(fileno(lines)) != 0)
        return 1;
    rewind(lines);
    for (char line[512]; fgets(line, sizeof line, lines) != NULL;)
        if (line[0] == '#' && line[2] == 'E')
            printf("the page ends with: %s", line);
    fclose(lines);
    return 0;
}
