/* graphs/histogram.c: see graphs.h. */
#include "graphs.h"

static size_t step_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return ns;
    size_t doubling = 63 - (size_t)__builtin_clzll(ns) - 4; /* 32..63 ns: 1 */
    size_t step = doubling * HISTOGRAM_STEPS + (size_t)(ns >> (doubling - 1)) - HISTOGRAM_STEPS;
    return step < HISTOGRAM_RANGES * HISTOGRAM_STEPS ? step : HISTOGRAM_RANGES * HISTOGRAM_STEPS - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[step_of(ns)]++;
    histogram->total++;
    if (ns > histogram->most_ns)
        histogram->most_ns = ns;
}

void histogram_join(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_RANGES * HISTOGRAM_STEPS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    if (from->most_ns > into->most_ns)
        into->most_ns = from->most_ns;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->total, seen = 0;
    for (size_t i = 0; i < HISTOGRAM_RANGES * HISTOGRAM_STEPS; i++) {
        seen += (double)histogram->counts[i];
        if (seen < wanted)
            continue;
        uint64_t end = i < HISTOGRAM_STEPS
                           ? i
                           : (uint64_t)(i % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << (i / HISTOGRAM_STEPS - 1);
        return end < histogram->most_ns ? end : histogram->most_ns;
    }
    return histogram->most_ns;
}
