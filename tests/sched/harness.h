/* sched/harness.h: what the programs of scenarios have in common: which words are shared, and main.
 *
 * Owns        the ranges of words at which threads are scheduled; the options.
 * Invariants  a program defines `scenarios`, `scenario_count`, `program_name` and scenarios_start. The program's first thread is in a
 *             blocking region but for begin, done and end.
 */
#ifndef SCHED_HARNESS_H
#define SCHED_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sched.h"
#include "world/world.h"

extern const struct ouroi_scenario scenarios[];
extern const unsigned scenario_count;
extern const char program_name[];
void scenarios_start(void); /* before the first */

void expect(bool is, const char *what);

/* From now on no word is shared; these bytes are; every thread's words that others look at are, and what is static in the
 * library, but the heap's. at: may be NULL. */
void share_nothing(void);
void share(const void *at, size_t bytes);
void share_world(void);
bool is_shared(const void *address, const char *file);
/* Whether the access to a lock's word is to one of that rank. */
bool is_lock(const void *address, const char *file, unsigned rank);

/* A point of the scenario's own, at a word that look() takes for shared. */
void ouroi_sched_point(const void *address, const char *file);

enum { ALL = 1000 }; /* preemptions: there are no more schedules than with that many */

#endif
