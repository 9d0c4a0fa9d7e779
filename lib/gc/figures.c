/* gc/figures.c: what the collector tells of itself beside ouro_gc_get_stats: histograms of pauses, and its part of
 * ouro/stats.h.
 *
 * Owns        struct ouroi_gc_figures.
 * Invariants  of each histogram, `count` is the sum of its classes.
 * Sync        written by who has the turn to collect; readers may see one number of a collection and not yet another.
 * Source      classes after HdrHistogram (Tene).
 */
#include "gc/internal.h"
#include "stats/stats.h"
#include "world/world.h"

struct ouroi_gc_figures ouroi_gc_figures;

unsigned ouroi_duration_class(uint64_t ns)
{
    uint64_t below = ns == 0 ? 0 : ns - 1; /* the classes' upper ends belong to them */
    if (below < 8)
        return (unsigned)below;
    unsigned bits = ouroi_log2(below);
    unsigned at = (bits - 2) * 8 + (unsigned)(below >> (bits - 3) & 7);
    return at < OUROI_DURATION_CLASSES ? at : OUROI_DURATION_CLASSES - 1;
}

uint64_t ouroi_duration_bound(unsigned at)
{
    if (at < 8)
        return at + 1;
    return (uint64_t)(at % 8 + 9) << (at / 8 - 1);
}

static void note(struct ouroi_durations *durations, uint64_t ns)
{
    OUROI_OWNED_ADD(&durations->classes[ouroi_duration_class(ns)], 1);
    OUROI_OWNED_ADD(&durations->count, 1);
    OUROI_OWNED_ADD(&durations->total_ns, ns);
    if (ns > durations->max_ns)
        OUROI_OWNED_SET(&durations->max_ns, ns);
}

void ouroi_figures_note_stop(uint64_t ns)
{
    note(&ouroi_gc_figures.stops, ns);
}

void ouroi_figures_note_pause(int generation, uint64_t ns)
{
    note(&ouroi_gc_figures.pauses[generation], ns);
    OUROI_OWNED_SET(&ouroi_gc_figures.last_pause_ns, ns);
}

void ouroi_figures_note_end(const struct ouroi_cycle *cycle, const struct ouroi_search *search, int rc)
{
    struct ouroi_gc_figures *figures = &ouroi_gc_figures;
    uint64_t by_searchers = 0;
    OUROI_OWNED_SET(&figures->last_workers, cycle->info.workers);
    for (unsigned w = 0; w < search->workers && rc == 0; w++) {
        const struct ouroi_searcher *searcher = &search->searchers[w];
        OUROI_OWNED_ADD(&figures->near[searcher->node], searcher->near);
        OUROI_OWNED_ADD(&figures->far[searcher->node], searcher->far);
        by_searchers += searcher->near + searcher->far;
    }
    if (by_searchers == 0 && rc == 0) /* there is one node, and searchers do not count */
        OUROI_OWNED_ADD(&figures->near[0], search->near);
}

/* A histogram is copied before it is written, so that its numbers belong together; while a collection ends, the classes
 * decide. */
static void copy(const struct ouroi_durations *from, struct ouroi_durations *to)
{
    to->count = 0;
    for (unsigned i = 0; i < OUROI_DURATION_CLASSES; i++) {
        to->classes[i] = OUROI_OWNED_GET(&from->classes[i]);
        to->count += to->classes[i];
    }
    to->total_ns = OUROI_OWNED_GET(&from->total_ns);
    to->max_ns = OUROI_OWNED_GET(&from->max_ns);
}

uint64_t ouroi_durations_quantile(const struct ouroi_durations *durations, unsigned per_mille)
{
    uint64_t wanted = (durations->count * per_mille + 999) / 1000, seen = 0;
    for (unsigned i = 0; i < OUROI_DURATION_CLASSES && wanted != 0; i++) {
        seen += durations->classes[i];
        if (seen >= wanted)
            return ouroi_duration_bound(i) < durations->max_ns ? ouroi_duration_bound(i) : durations->max_ns;
    }
    return 0;
}

/* JSON. */

static void json_durations(struct ouroi_writer *writer, const char *key, const struct ouroi_durations *live)
{
    struct ouroi_durations durations;
    copy(live, &durations);
    ouroi_json_open(writer, key, '{');
    ouroi_json_number(writer, "count", durations.count);
    ouroi_json_number(writer, "total_ns", durations.total_ns);
    ouroi_json_number(writer, "max_ns", durations.max_ns);
    ouroi_json_number(writer, "p50_ns", ouroi_durations_quantile(&durations, 500));
    ouroi_json_number(writer, "p90_ns", ouroi_durations_quantile(&durations, 900));
    ouroi_json_number(writer, "p99_ns", ouroi_durations_quantile(&durations, 990));
    ouroi_json_number(writer, "p999_ns", ouroi_durations_quantile(&durations, 999));
    ouroi_json_open(writer, "histogram", '[');
    for (unsigned i = 0; i < OUROI_DURATION_CLASSES; i++) {
        if (durations.classes[i] == 0)
            continue;
        ouroi_json_open(writer, NULL, '{');
        ouroi_json_number(writer, "le_ns", ouroi_duration_bound(i));
        ouroi_json_number(writer, "count", durations.classes[i]);
        ouroi_json_close(writer, '}');
    }
    ouroi_json_close(writer, ']');
    ouroi_json_close(writer, '}');
}

static void json_generations(struct ouroi_writer *writer)
{
    size_t threshold[OURO_GC_GENERATIONS], count[OURO_GC_GENERATIONS];
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    ouro_gc_get_threshold(threshold);
    ouro_gc_get_count(count);
    ouro_gc_get_stats(stats);
    ouroi_json_open(writer, "generations", '[');
    for (unsigned i = 0; i < OURO_GC_GENERATIONS; i++) {
        ouroi_json_open(writer, NULL, '{');
        ouroi_json_number(writer, "generation", i);
        ouroi_json_number(writer, "threshold", threshold[i]);
        ouroi_json_number(writer, "count", count[i]);
        ouroi_json_number(writer, "collections", stats[i].collections);
        ouroi_json_number(writer, "collected", stats[i].collected);
        ouroi_json_number(writer, "uncollectable", stats[i].uncollectable);
        json_durations(writer, "pauses", &ouroi_gc_figures.pauses[i]);
        ouroi_json_close(writer, '}');
    }
    ouroi_json_close(writer, ']');
}

static void json_nodes(struct ouroi_writer *writer)
{
    ouroi_json_open(writer, "traced_by_node", '[');
    for (unsigned node = 0; node < ouroi_machine.nodes; node++) {
        ouroi_json_open(writer, NULL, '{');
        ouroi_json_number(writer, "node", node);
        ouroi_json_number(writer, "near", OUROI_OWNED_GET(&ouroi_gc_figures.near[node]));
        ouroi_json_number(writer, "far", OUROI_OWNED_GET(&ouroi_gc_figures.far[node]));
        ouroi_json_close(writer, '}');
    }
    ouroi_json_close(writer, ']');
}

static void write_json(struct ouroi_writer *writer)
{
    struct ouroi_gc_counts counts;
    size_t objects, batches;
    ouroi_gc_count(&counts);
    ouroi_finalizers_waiting(&objects, &batches);
    ouroi_json_open(writer, "gc", '{');
    ouroi_json_bool(writer, "enabled", ouro_gc_is_enabled());
    ouroi_json_number(writer, "workers", ouro_gc_get_workers());
    ouroi_json_number(writer, "last_workers", OUROI_OWNED_GET(&ouroi_gc_figures.last_workers));
    ouroi_json_number(writer, "registered_threads", ouroi_thread_count());
    ouroi_json_number(writer, "abandoned", counts.abandoned);
    ouroi_json_number(writer, "garbage", ouro_gc_garbage_count());
    ouroi_json_number(writer, "waiting_finalizers", objects);
    ouroi_json_number(writer, "waiting_callback_batches", batches);
    json_generations(writer);
    json_durations(writer, "stops", &ouroi_gc_figures.stops);
    json_nodes(writer);
    ouroi_json_close(writer, '}');
}

/* OpenMetrics. */

/* The bounds that are shown: powers of two from about a microsecond to about 17 seconds. */
enum { BOUND_FIRST = 10, BOUND_LAST = 34 };

/* labels: with a comma at the end, or empty. */
static void metric_durations(struct ouroi_writer *writer, const char *name, const char *label,
                             const struct ouroi_durations *live)
{
    struct ouroi_durations durations;
    copy(live, &durations);
    uint64_t sum = 0;
    unsigned at = 0;
    for (unsigned bound = BOUND_FIRST; bound <= BOUND_LAST; bound++) {
        for (; at < OUROI_DURATION_CLASSES && ouroi_duration_bound(at) <= (uint64_t)1 << bound; at++)
            sum += durations.classes[at];
        ouroi_writer_put(writer, "%s_bucket{%s%sle=\"", name, label, *label != '\0' ? "," : "");
        ouroi_writer_put_seconds(writer, (uint64_t)1 << bound);
        ouroi_writer_put(writer, "\"} %lu\n", (unsigned long)sum);
    }
    ouroi_writer_put(writer, "%s_bucket{%s%sle=\"+Inf\"} %lu\n", name, label, *label != '\0' ? "," : "",
                     (unsigned long)durations.count);
    const char *open = *label != '\0' ? "{" : "", *close = *label != '\0' ? "}" : "";
    ouroi_writer_put(writer, "%s_count%s%s%s %lu\n%s_sum%s%s%s ", name, open, label, close,
                     (unsigned long)durations.count, name, open, label, close);
    ouroi_writer_put_seconds(writer, durations.total_ns);
    ouroi_writer_put(writer, "\n");
}

static void metric_generations(struct ouroi_writer *writer)
{
    size_t threshold[OURO_GC_GENERATIONS], count[OURO_GC_GENERATIONS];
    ouro_gc_stats stats[OURO_GC_GENERATIONS];
    ouro_gc_get_threshold(threshold);
    ouro_gc_get_count(count);
    ouro_gc_get_stats(stats);
    const struct {
        const char *name, *type, *help;
        uint64_t values[OURO_GC_GENERATIONS];
    } families[] = {
        { "ouro_gc_collections",
          "counter",
          "Collections.",
          { stats[0].collections, stats[1].collections, stats[2].collections } },
        { "ouro_gc_collected",
          "counter",
          "Unreachable objects found and freed.",
          { stats[0].collected, stats[1].collected, stats[2].collected } },
        { "ouro_gc_uncollectable",
          "counter",
          "Unreachable objects that could not be freed.",
          { stats[0].uncollectable, stats[1].uncollectable, stats[2].uncollectable } },
        { "ouro_gc_threshold", "gauge", "What the count has to pass.", { threshold[0], threshold[1], threshold[2] } },
        { "ouro_gc_count",
          "gauge",
          "Objects made less freed, or collections of the younger, since the last collection.",
          { count[0], count[1], count[2] } },
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        ouroi_metric_family(writer, families[i].name, families[i].type, NULL, families[i].help);
        for (unsigned g = 0; g < OURO_GC_GENERATIONS; g++)
            ouroi_writer_put(writer, "%s%s{generation=\"%u\"} %lu\n", families[i].name,
                             families[i].type[0] == 'c' ? "_total" : "", g, (unsigned long)families[i].values[g]);
    }
}

static void metric_nodes(struct ouroi_writer *writer)
{
    ouroi_metric_family(writer, "ouro_gc_traced", "counter", NULL,
                        "Objects looked into, by workers of the NUMA node, that lie on it (near) or on another (far).");
    for (unsigned node = 0; node < ouroi_machine.nodes; node++) {
        ouroi_writer_put(writer, "ouro_gc_traced_total{node=\"%u\",distance=\"near\"} %lu\n", node,
                         (unsigned long)OUROI_OWNED_GET(&ouroi_gc_figures.near[node]));
        ouroi_writer_put(writer, "ouro_gc_traced_total{node=\"%u\",distance=\"far\"} %lu\n", node,
                         (unsigned long)OUROI_OWNED_GET(&ouroi_gc_figures.far[node]));
    }
}

static void write_metrics(struct ouroi_writer *writer)
{
    static const char *const labels[] = { "generation=\"0\"", "generation=\"1\"", "generation=\"2\"" };
    struct ouroi_gc_counts counts;
    size_t objects, batches;
    ouroi_gc_count(&counts);
    ouroi_finalizers_waiting(&objects, &batches);
    metric_generations(writer);
    ouroi_metric_family(writer, "ouro_gc_pause_seconds", "histogram", "seconds",
                        "Pauses, from the wish to stop the world to its start.");
    for (unsigned i = 0; i < OURO_GC_GENERATIONS; i++)
        metric_durations(writer, "ouro_gc_pause_seconds", labels[i], &ouroi_gc_figures.pauses[i]);
    ouroi_metric_family(writer, "ouro_gc_stop_seconds", "histogram", "seconds",
                        "Of each pause, until all threads had stopped.");
    metric_durations(writer, "ouro_gc_stop_seconds", "", &ouroi_gc_figures.stops);
    metric_nodes(writer);
    ouroi_metric_counter(writer, "ouro_gc_abandoned", NULL, "Collections given up for want of memory.",
                         counts.abandoned);
    ouroi_metric_gauge(writer, "ouro_gc_enabled", NULL, "Whether collections come by themselves.",
                       ouro_gc_is_enabled());
    ouroi_metric_gauge(writer, "ouro_gc_workers", NULL, "Threads that a collection may use.", ouro_gc_get_workers());
    ouroi_metric_gauge(writer, "ouro_gc_garbage", NULL, "Objects in the garbage list.", ouro_gc_garbage_count());
    ouroi_metric_gauge(writer, "ouro_gc_waiting_finalizers", NULL, "Objects that wait for the finalizer thread.",
                       objects);
    ouroi_metric_gauge(writer, "ouro_gc_waiting_callback_batches", NULL,
                       "Batches of weak references' callbacks that wait for it.", batches);
    ouroi_metric_gauge(writer, "ouro_registered_threads", NULL, "Threads that use objects.", ouroi_thread_count());
}

static struct ouroi_stats_section section = { .json = write_json, .metrics = write_metrics };

void ouroi_figures_start(void)
{
    ouroi_stats_add_section(&section);
    ouroi_page.gc_figures = (uintptr_t)&ouroi_gc_figures;
    ouroi_page.gc_totals = (uintptr_t)ouroi_gc_totals;
    ouroi_page.duration_classes = OUROI_DURATION_CLASSES;
    ouroi_page.generations = OURO_GC_GENERATIONS;
}
