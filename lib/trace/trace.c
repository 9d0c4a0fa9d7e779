/* trace/trace.c: the half of ouro/trace.h that records: see session.h for what is known, heap/traced.c for how blocks come to
 * be traced, unwind.h for tracebacks.
 *
 * Sync        ouroi_trace_lock, rank TRACE: one at a time starts, stops, clears, or takes a snapshot. Who allocates is not
 *             kept by it; a snapshot has the lock of each region for as long as its sums take.
 */
#include "trace/session.h"
#include "trace/unwind.h"

#include <errno.h>
#include <ouro/trace.h>

int ouro_trace_start(unsigned max_frames, size_t sample_bytes)
{
    if (max_frames < 1 || max_frames > 4096) {
        errno = EINVAL;
        return -1;
    }
    int rc = ouroi_heap_start();
    if (rc == 0) {
        ouroi_lock_acquire(&ouroi_trace_lock);
        if (!ouroi_session_is_on()) {
            ouroi_unwind_prepare();
            ouroi_tracer = &ouroi_session_tracer;
            rc = ouroi_session_begin(max_frames, sample_bytes);
            if (rc == 0)
                ouroi_tracing_switch(sample_bytes == 0 ? OUROI_TRACING_ALL : OUROI_TRACING_SAMPLED, sample_bytes);
        }
        ouroi_lock_release(&ouroi_trace_lock);
    }
    if (rc == 0)
        return 0;
    errno = ENOMEM;
    return -1;
}

void ouro_trace_stop(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    if (ouroi_session_is_on()) {
        ouroi_tracing_switch(OUROI_TRACING_OFF, 0);
        ouroi_session_end();
    }
    ouroi_lock_release(&ouroi_trace_lock);
}

bool ouro_trace_is_tracing(void)
{
    return ouroi_session_is_on();
}

void ouro_trace_get_traced_memory(size_t *current, size_t *peak)
{
    size_t now, most;
    ouroi_lock_acquire(&ouroi_trace_lock);
    ouroi_session_memory(&now, &most);
    ouroi_lock_release(&ouroi_trace_lock);
    if (current != NULL)
        *current = now;
    if (peak != NULL)
        *peak = most;
}

void ouro_trace_reset_peak(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    ouroi_session_reset_peak();
    ouroi_lock_release(&ouroi_trace_lock);
}

void ouro_trace_clear(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    if (ouroi_session_is_on() && ouroi_session_renew() != 0) {
        /* No memory for another session: without one nothing is known, as was asked for; nor is what comes. */
        ouroi_tracing_switch(OUROI_TRACING_OFF, 0);
        ouroi_session_end();
    }
    ouroi_lock_release(&ouroi_trace_lock);
}

size_t ouro_trace_get_overhead(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    size_t bytes = ouroi_session_bytes() + ouroi_pool_traces_bytes();
    ouroi_lock_release(&ouroi_trace_lock);
    return bytes;
}

uint64_t ouroi_trace_lost(void)
{
    ouroi_lock_acquire(&ouroi_trace_lock);
    uint64_t lost = ouroi_session_lost();
    ouroi_lock_release(&ouroi_trace_lock);
    return lost;
}

struct look {
    void **frames;
    size_t max, count;
};

static void look_at(uint64_t token, void *arg)
{
    struct look *look = arg;
    look->count = token == 0 ? 0 : ouroi_session_frames(token, look->frames, look->max);
}

size_t ouro_trace_get_traceback(const void *ptr, void **frames, size_t max)
{
    struct look look = { frames, max, 0 };
    if (ptr != NULL && ouroi_session_is_on())
        ouroi_tracing_look(ptr, look_at, &look);
    return look.count;
}

ouro_snapshot *ouro_trace_take_snapshot(void)
{
    ouro_snapshot *snapshot = NULL;
    ouroi_trace_paused++;
    ouroi_lock_acquire(&ouroi_trace_lock);
    bool on = ouroi_session_is_on();
    if (on)
        snapshot = ouroi_session_snapshot();
    ouroi_lock_release(&ouroi_trace_lock);
    if (snapshot != NULL)
        snapshot = ouroi_snapshot_finish(snapshot);
    ouroi_trace_paused--;
    if (snapshot == NULL)
        errno = on ? ENOMEM : EINVAL;
    return snapshot;
}
