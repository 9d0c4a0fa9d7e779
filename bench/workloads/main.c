/* workloads/main.c: the program `ouro-workload`: runs one workload and prints one line of JSON.
 *
 * Owns        the command line and the measuring.
 * Invariants  the time is that of the work alone, threads' start and end included; the peak RSS and the faults are the process's.
 * Sync        none
 * Source      none
 */
#include "process.h"
#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const struct ouroi_workload *workload;
    struct ouroi_job job;
    double scale;
    double seconds;
    double idle_seconds;
};

static void usage(FILE *out)
{
    fputs(
        "usage: ouro-workload NAME [options]\n"
        "       ouro-workload --list\n"
        "Runs one seeded workload on whatever malloc the process has (LD_PRELOAD another) and prints one line of JSON.\n"
        "  --threads N   threads (loads of one thread ignore it)\n"
        "  --ops N       units of work in all; the unit is the workload's own\n"
        "  --scale X     the default number of ops times X\n"
        "  --seconds S   repeat the work until S seconds have passed, and give the rate\n"
        "  --seed X      another stream of random numbers (default 1)\n"
        "  --idle S      then sleep S seconds without a call, and say how much memory is still held\n"
        "  --list        names, groups, default threads and ops, what each stands for (tabs between)\n",
        out);
}

static void list(void)
{
    for (size_t i = 0; i < ouroi_workload_count; i++) {
        const struct ouroi_workload *w = &ouroi_workloads[i];
        printf("%s\t%s\t%s\t%u\t%" PRIu64 "\t%s\n", w->name, w->group == OUROI_ONE_THREAD ? "one" : "many",
               w->malloc_bound ? "malloc-bound" : "mixed", w->threads, w->ops, w->stands_for);
    }
}

static const struct ouroi_workload *workload_find(const char *name)
{
    for (size_t i = 0; i < ouroi_workload_count; i++)
        if (strcmp(ouroi_workloads[i].name, name) == 0)
            return &ouroi_workloads[i];
    return NULL;
}

static double number(const char *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    double value = text != NULL ? strtod(text, &end) : 0;
    if (text == NULL || end == text || *end != '\0' || errno != 0 || value < 0) {
        fprintf(stderr, "ouro-workload: %s needs a number\n", option);
        exit(2);
    }
    return value;
}

static struct options parse(int argc, char **argv)
{
    struct options options = { .job = { .seed = 1 }, .scale = 1 };
    options.workload = workload_find(argv[1]);
    if (options.workload == NULL) {
        fprintf(stderr, "ouro-workload: no workload %s; --list names them\n", argv[1]);
        exit(2);
    }
    options.job.threads = options.workload->threads;
    options.job.ops = options.workload->ops;
    for (int i = 2; i < argc; i += 2) {
        double value = number(argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (strcmp(argv[i], "--threads") == 0) {
            if (options.workload->group == OUROI_MANY_THREADS)
                options.job.threads = (unsigned)value;
        } else if (strcmp(argv[i], "--ops") == 0)
            options.job.ops = (uint64_t)value;
        else if (strcmp(argv[i], "--scale") == 0)
            options.scale = value;
        else if (strcmp(argv[i], "--seconds") == 0)
            options.seconds = value;
        else if (strcmp(argv[i], "--seed") == 0)
            options.job.seed = (uint64_t)value;
        else if (strcmp(argv[i], "--pin") == 0)
            options.job.pin = value != 0;
        else if (strcmp(argv[i], "--idle") == 0)
            options.idle_seconds = value;
        else {
            fprintf(stderr, "ouro-workload: no option %s\n", argv[i]);
            exit(2);
        }
    }
    if (options.job.threads < options.workload->min_threads)
        options.job.threads = options.workload->min_threads;
    options.job.ops = (uint64_t)((double)options.job.ops * options.scale);
    if (options.job.ops == 0)
        options.job.ops = 1;
    return options;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    struct options options = parse(argc, argv);
    uint64_t ops = 0;
    uint64_t start_ns = ouroi_clock_ns();
    uint64_t spent_ns;
    struct ouroi_job job = options.job;
    do {
        options.workload->run(&job);
        ops += job.ops;
        job.seed++;
        spent_ns = ouroi_clock_ns() - start_ns;
    } while ((double)spent_ns < options.seconds * 1e9);

    double seconds = (double)spent_ns * 1e-9;
    struct ouroi_process_usage used = ouroi_process_usage();
    struct ouroi_process_memory memory = { 0 };
    ouroi_process_memory(0, &memory);
    printf(
        "{\"workload\": \"%s\", \"threads\": %u, \"seed\": %" PRIu64 ", \"ops\": %" PRIu64
        ", \"seconds\": %.6f, \"ops_per_s\": %.1f, \"cpu_seconds\": %.6f, \"peak_rss_kib\": %ld, \"minor_faults\": %ld",
        options.workload->name, job.threads, options.job.seed, ops, seconds, (double)ops / seconds, used.cpu_seconds,
        memory.peak_rss_kib, used.minor_faults);
    if (options.idle_seconds > 0) {
        printf(", \"rss_end_kib\": %ld", memory.rss_kib);
        ouroi_sleep_ns((uint64_t)(options.idle_seconds * 1e9));
        ouroi_process_memory(0, &memory);
        printf(", \"rss_after_kib\": %ld", memory.rss_kib);
    }
    printf("}\n");
    return 0;
}
