/* graphs/main.c: the program `ouro-graphs`: how long collections take, by graphs of real programs and synthetic ones.
 *
 * Owns        options and figures.
 * Invariants  one line a figure.
 * Sync        none.
 * Source      none
 */
#define _GNU_SOURCE
#include "graphs.h"

#include <stdlib.h>
#include <string.h>

struct options options = { .workers = { 1, 0 }, .worker_counts = 2, .repeat = 5, .threads = 1, .seconds = 10 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, ascending);
    return count % 2 == 1 ? numbers[count / 2] : (numbers[count / 2 - 1] + numbers[count / 2]) / 2;
}

void report(const char *name, const char *what, unsigned workers, double seconds, uint64_t objects, uint64_t edges)
{
    char count[16];
    snprintf(count, sizeof count, workers != 0 ? "%u" : "all", workers);
    printf("%-14s %-18s %4s %10.2f ms", name, what, count, seconds * 1e3);
    if (objects > 0)
        printf(" %8.1f ns/object", seconds * 1e9 / (double)objects);
    if (edges > 0)
        printf(" %8.1f ns/edge", seconds * 1e9 / (double)edges);
    printf("\n");
    fflush(stdout);
}

size_t peak_resident_mib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "VmHWM: %zu", &kib) != 1)
        continue;
    if (file != NULL)
        fclose(file);
    return kib / 1024;
}

static int usage(FILE *file, int status)
{
    fputs("usage: ouro-graphs [OPTION]... WHAT...\n"
          "       ouro-graphs make FILE            writes the graph `small` to a file, for other programs to read\n\n"
          "WHAT is a file of an object graph (.og, or .og.zst), or one of\n"
          "  small     a graph of our own making, of 400000 nodes\n",
          file);
    list_synthetic(file);
    fputs("\n  --workers N,M,...  collect with as many threads; 0: as many as the machine has (default: 1,0)\n"
          "  --repeat N         medians of so many (5)\n"
          "  --nodes N          of synthetic graphs; cycles; entries of the server; depth of trees\n"
          "  --threads N        of cycles, trees, server (1)\n"
          "  --seconds N        of the server (10)\n"
          "  --by-hand          collector off; cycles are broken by the program\n",
          file);
    return status;
}

static void set_workers(const char *text)
{
    options.worker_counts = 0;
    for (char *end; options.worker_counts < 8; text = end + 1) {
        options.workers[options.worker_counts++] = (unsigned)strtoul(text, &end, 10);
        if (*end != ',')
            break;
    }
}

static int run(const char *what)
{
    bool small = strcmp(what, "small") == 0;
    if (!small && run_synthetic(what))
        return 0;
    struct graph *graph = small ? graph_make() : graph_load(what);
    if (graph == NULL)
        return 1;
    const char *slash = strrchr(what, '/');
    char name[64];
    snprintf(name, sizeof name, "%s", slash != NULL ? slash + 1 : what);
    name[strcspn(name, ".")] = '\0';
    run_graph(name, graph);
    graph_free(graph);
    return 0;
}

int main(int argc, char **argv)
{
    int status = 0, ran = 0;
    if (argc == 3 && strcmp(argv[1], "make") == 0) {
        struct graph *graph = graph_make();
        status = graph_write(graph, argv[2]) == 0 ? 0 : 1;
        graph_free(graph);
        return status;
    }
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at], *value = at + 1 < argc ? argv[at + 1] : NULL;
        if (strcmp(word, "--help") == 0)
            return usage(stdout, 0);
        if (strcmp(word, "--by-hand") == 0) {
            options.by_hand = true;
            continue;
        }
        if (strncmp(word, "--", 2) != 0) {
            status |= run(word);
            ran++;
            continue;
        }
        at++;
        if (value == NULL)
            return usage(stderr, 2);
        if (strcmp(word, "--workers") == 0)
            set_workers(value);
        else if (strcmp(word, "--repeat") == 0)
            options.repeat = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(word, "--nodes") == 0)
            options.nodes = strtoull(value, NULL, 10);
        else if (strcmp(word, "--threads") == 0)
            options.threads = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(word, "--seconds") == 0)
            options.seconds = strtod(value, NULL);
        else
            return usage(stderr, 2);
        if (options.repeat == 0 || options.threads == 0 || options.threads > 64)
            return usage(stderr, 2);
    }
    return ran > 0 ? status : usage(stderr, 2);
}
