/* trace/session.h: what is known between the start of tracing and its stop.
 *
 * Owns        the session: interned tracebacks, and of each region how much is in the blocks of each.
 * Invariants  a token is the number of a traceback (24 bits, from 1) and the session's epoch (24 bits): those of other
 *             sessions are forgotten without being counted.
 *             A region's tallies count the blocks that it has; their sum over all regions is what is known.
 * Sync        the session is looked at under the lock of a region: who takes it away first stores another, or NULL, then has
 *             each of these locks once (ouroi_tracing_settle), and then nobody is in it. Or under ouroi_trace_lock.
 *             [INTERN]: the table of tracebacks is read with no lock, and written under ouroi_intern_lock.
 */
#ifndef OUROI_TRACE_SESSION_H
#define OUROI_TRACE_SESSION_H

#include "heap/heap.h"

#include "trace/snapshot.h"

extern const struct ouroi_tracer ouroi_session_tracer;

/* All of these with ouroi_trace_lock held. begin: a session in place of the last one, if there is one. 0 or -ENOMEM, and
 * nothing changed. */
int ouroi_session_begin(unsigned max_frames, size_t sample_bytes);
/* Takes the session away, or puts an empty one with the same settings in its place. -ENOMEM: as it was. */
void ouroi_session_end(void);
int ouroi_session_renew(void);
bool ouroi_session_is_on(void);
size_t ouroi_session_bytes(void);
/* Bytes known, and the most that were. */
void ouroi_session_memory(size_t *current, size_t *peak);
void ouroi_session_reset_peak(void);
/* Blocks that are not known because there was no memory. */
uint64_t ouroi_session_lost(void);
/* A snapshot, to be finished without the lock. NULL: no memory. */
ouro_snapshot *ouroi_session_snapshot(void);

/* The same, for who does not hold the lock. */
uint64_t ouroi_trace_lost(void);

/* The frames of a token, with the lock of the block's region held; how many there are. */
size_t ouroi_session_frames(uint64_t token, void **frames, size_t max);

#endif
