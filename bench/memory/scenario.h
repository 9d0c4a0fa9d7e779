/* memory/scenario.h: what a scenario of memory over time is.
 *
 * Owns        the contract between main.c, sampler.c and scenarios.c.
 * Invariants  a scenario says, through ouroi_live_add, how many bytes it has asked for and not yet given back.
 * Sync        [LIVE count]: many threads count, the sampler reads.
 * Source      none
 */
#ifndef OURO_BENCH_SCENARIO_H
#define OURO_BENCH_SCENARIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ouroi_scenario_job {
    size_t scale_bytes; /* the size that the scenario is about */
    uint64_t seed;
};

struct ouroi_scenario {
    const char *name;
    const char *story;
    void (*run)(const struct ouroi_scenario_job *job);
};

/* Bytes of the pages that living blocks of the lists are on: what an allocator that moves nothing must hold,
 * its blocks lying where they lie. 0 where a scenario keeps no list. Allocates nothing. */
size_t ouroi_scenario_pinned_bytes(void);

extern const struct ouroi_scenario ouroi_scenarios[];
extern const size_t ouroi_scenario_count;

/* Bytes that live: those of `bytes` more (or fewer) blocks' sizes as asked for. */
void ouroi_live_add(int64_t bytes);

struct ouroi_sample {
    uint32_t at_ms;
    uint32_t rss_kib;
    uint32_t live_kib;
};

/* Starts a process of its own that reads this one's RSS every interval_ms and keeps it in shared memory, so that the
 * watching allocates nothing here. To be called before the first thread. */
void ouroi_sampler_start(unsigned interval_ms);
/* Ends it; returns the samples, `count` of them. */
const struct ouroi_sample *ouroi_sampler_stop(size_t *count);
/* The most that lived at a time, and what lives now. */
size_t ouroi_live_peak_bytes(void);
size_t ouroi_live_bytes(void);

#endif
