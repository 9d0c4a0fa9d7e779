/* graphs/graphs.h: what the parts of `ouro-graphs` share: options, clocks, figures, the pause histogram. */
#ifndef GRAPHS_GRAPHS_H
#define GRAPHS_GRAPHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "graph.h"

struct options {
    unsigned workers[8];
    size_t worker_counts;
    unsigned repeat;
    unsigned threads;
    uint64_t nodes; /* of synthetic graphs; 0: as many as each says */
    double seconds; /* of the server load */
    bool by_hand;   /* collector off, cycles broken by the program */
};
extern struct options options;

static inline double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The median of `count` numbers, which are put in order. */
double median(double *numbers, size_t count);

/* A line of the report: name, what was timed, workers or threads, milliseconds, nanoseconds by object and by edge. */
void report(const char *name, const char *what, unsigned workers, double seconds, uint64_t objects, uint64_t edges);

/* Times in 32 steps a doubling, exact below 32 ns: percentiles to 3%. After HdrHistogram. */
enum { HISTOGRAM_STEPS = 32, HISTOGRAM_RANGES = 40 };
struct histogram {
    uint64_t counts[HISTOGRAM_RANGES * HISTOGRAM_STEPS];
    uint64_t total, most_ns;
};
void histogram_add(struct histogram *histogram, uint64_t ns);
void histogram_join(struct histogram *into, const struct histogram *from);
/* The time that a share of all (0..1) does not pass. */
uint64_t histogram_at(const struct histogram *histogram, double share);

size_t peak_resident_mib(void);

/* Of a loaded graph. */
void run_graph(const char *name, const struct graph *graph);
/* By name; false: no such. */
bool run_synthetic(const char *name);
void list_synthetic(FILE *file);
void run_cycles(void);
void run_trees(void);
void run_server(void);

#endif
