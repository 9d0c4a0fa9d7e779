/* memory/main.c: the program `ouro-memory`: one scenario of memory over time, watched from outside; one line of JSON.
 *
 * Owns        the command line.
 * Invariants  the peak is the kernel's VmHWM; what is held is VmRSS after the idle time.
 * Sync        none
 * Source      none
 */
#include "process.h"
#include "scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const struct ouroi_scenario *scenario;
    struct ouroi_scenario_job job;
    double idle_seconds;
    unsigned interval_ms;
};

static void usage(FILE *out)
{
    fputs(
        "usage: ouro-memory SCENARIO [--mib N] [--idle S] [--interval-ms N] [--seed X]\n"
        "       ouro-memory --list\n"
        "Runs one scenario on whatever malloc the process has, then sleeps without a call, and prints one line of JSON:\n"
        "the peak, the most that lived, what is held in the end beside what lives, and the samples of both over time.\n"
        "  --mib N          its size (default 1024; 256 on small machines)\n"
        "  --idle S         how long it sleeps in the end (default 10)\n"
        "  --interval-ms N  between two samples (default 20)\n"
        "  --seed X         another stream of random numbers (default 1)\n",
        out);
}

static unsigned long number(const char *option, const char *text)
{
    char *end = NULL;
    unsigned long value = text != NULL ? strtoul(text, &end, 10) : 0;
    if (text == NULL || end == text || *end != '\0') {
        fprintf(stderr, "ouro-memory: %s needs a whole number\n", option);
        exit(2);
    }
    return value;
}

static struct options parse(int argc, char **argv)
{
    struct options options = { .job = { .scale_bytes = (size_t)1024 << 20, .seed = 1 },
                               .idle_seconds = 10,
                               .interval_ms = 20 };
    for (size_t i = 0; i < ouroi_scenario_count; i++)
        if (strcmp(ouroi_scenarios[i].name, argv[1]) == 0)
            options.scenario = &ouroi_scenarios[i];
    if (options.scenario == NULL) {
        fprintf(stderr, "ouro-memory: no scenario %s; --list names them\n", argv[1]);
        exit(2);
    }
    for (int i = 2; i < argc; i += 2) {
        unsigned long value = number(argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (strcmp(argv[i], "--mib") == 0)
            options.job.scale_bytes = (size_t)value << 20;
        else if (strcmp(argv[i], "--idle") == 0)
            options.idle_seconds = (double)value;
        else if (strcmp(argv[i], "--interval-ms") == 0)
            options.interval_ms = (unsigned)value;
        else if (strcmp(argv[i], "--seed") == 0)
            options.job.seed = value;
        else {
            fprintf(stderr, "ouro-memory: no option %s\n", argv[i]);
            exit(2);
        }
    }
    return options;
}

/* At most some 500 points: more says nothing in a plot. */
static void print_samples(const struct ouroi_sample *samples, size_t count)
{
    size_t step = count / 500 + 1;
    printf(", \"samples\": [");
    for (size_t i = 0; i < count; i += step)
        printf("%s[%" PRIu32 ", %" PRIu32 ", %" PRIu32 "]", i > 0 ? ", " : "", samples[i].at_ms, samples[i].rss_kib,
               samples[i].live_kib);
    printf("]");
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < ouroi_scenario_count; i++)
            printf("%s\t%s\n", ouroi_scenarios[i].name, ouroi_scenarios[i].story);
        return 0;
    }
    struct options options = parse(argc, argv);
    struct ouroi_process_memory before, after_work, after_idle;
    ouroi_sampler_start(options.interval_ms);
    ouroi_process_memory(0, &before);
    uint64_t start_ns = ouroi_clock_ns();
    options.scenario->run(&options.job);
    double seconds = (double)(ouroi_clock_ns() - start_ns) * 1e-9;
    ouroi_process_memory(0, &after_work);
    size_t pinned_bytes = ouroi_scenario_pinned_bytes();
    ouroi_sleep_ns((uint64_t)(options.idle_seconds * 1e9));
    ouroi_process_memory(0, &after_idle);
    size_t count;
    const struct ouroi_sample *samples = ouroi_sampler_stop(&count);
    printf(
        "{\"scenario\": \"%s\", \"scale_mib\": %zu, \"seed\": %" PRIu64
        ", \"seconds\": %.3f, \"idle_seconds\": %.0f, \"start_rss_kib\": %ld, \"peak_rss_kib\": %ld, "
        "\"peak_live_kib\": %zu, \"end_live_kib\": %zu, \"pinned_kib\": %zu, \"end_rss_kib\": %ld, \"held_rss_kib\": %ld",
        options.scenario->name, options.job.scale_bytes >> 20, options.job.seed, seconds, options.idle_seconds,
        before.rss_kib, after_work.peak_rss_kib, ouroi_live_peak_bytes() / 1024, ouroi_live_bytes() / 1024,
        pinned_bytes / 1024, after_work.rss_kib, after_idle.rss_kib);
    print_samples(samples, count);
    printf("}\n");
    return 0;
}
