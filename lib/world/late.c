/* world/late.c: the lines on stderr about a thread that holds up a stop of the world.
 *
 * Owns        nothing.
 * Sync        the stopper alone is here.
 */
#include "world/internal.h"

void ouroi_late_warn(struct ouroi_thread *thread, uint64_t waited_ns)
{
    ouroi_warn("thread \"%s\" (tid %d) has reached no safepoint for %lu ms", thread->name, thread->tid,
               (unsigned long)(waited_ns / 1000000));
}
