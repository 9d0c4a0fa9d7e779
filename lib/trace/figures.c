/* trace/figures.c: tracing's part of ouro/stats.h. */
#include <ouro/trace.h>

#include "stats/stats.h"
#include "trace/session.h"

static void write_json(struct ouroi_writer *writer)
{
    size_t current, peak;
    ouro_trace_get_traced_memory(&current, &peak);
    ouroi_json_open(writer, "trace", '{');
    ouroi_json_bool(writer, "tracing", ouro_trace_is_tracing());
    ouroi_json_number(writer, "current", current);
    ouroi_json_number(writer, "peak", peak);
    ouroi_json_number(writer, "overhead", ouro_trace_get_overhead());
    ouroi_json_number(writer, "lost", ouroi_trace_lost());
    ouroi_json_close(writer, '}');
}

static void write_metrics(struct ouroi_writer *writer)
{
    size_t current, peak;
    ouro_trace_get_traced_memory(&current, &peak);
    ouroi_metric_gauge(writer, "ouro_tracing", NULL, "Whether allocations are traced.", ouro_trace_is_tracing());
    ouroi_metric_gauge(writer, "ouro_traced_bytes", "bytes", "Bytes asked for in the blocks that are known.", current);
    ouroi_metric_gauge(writer, "ouro_traced_peak_bytes", "bytes", "The most that were.", peak);
    ouroi_metric_gauge(writer, "ouro_trace_overhead_bytes", "bytes", "Memory of tracing itself.",
                       ouro_trace_get_overhead());
    ouroi_metric_gauge(writer, "ouro_trace_lost_blocks", NULL, "Blocks not known for want of memory.",
                       ouroi_trace_lost());
}

static struct ouroi_stats_section section = { .json = write_json, .metrics = write_metrics };

__attribute__((constructor(104))) static void figures_start(void)
{
    ouroi_stats_add_section(&section);
}
