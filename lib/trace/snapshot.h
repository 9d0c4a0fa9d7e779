/* trace/snapshot.h: the border between what records (trace.c) and what a snapshot makes of it.
 *
 * A snapshot is begun, filled and finished by one thread. Its memory is mapped from the OS: none of these functions
 * allocates from a heap, takes a lock of ours or looks into debug information, so that they may run with the recorder's
 * locks held, at exit, and while tracing is on. errors: 0 or -errno.
 */
#ifndef OUROI_TRACE_SNAPSHOT_H
#define OUROI_TRACE_SNAPSHOT_H

#include <ouro/trace.h>

#include "base/base.h"

/* An empty snapshot that says so of itself. NULL: no memory. */
ouro_snapshot *ouroi_snapshot_begin(unsigned max_frames, size_t sample_bytes);

/* Adds `count` blocks of `size` bytes together, both already scaled if they were sampled. All is copied. frames: return
 * addresses less one, innermost first. type: the name as tools print it, NULL for plain blocks. The same traceback may come
 * again; statistics sum it up. Appends only: O(frame_count). */
int ouroi_snapshot_add(ouro_snapshot *snapshot, const void *const *frames, size_t frame_count, const char *type,
                       size_t size, size_t count);

/* Reads which modules are loaded, where and with which build-ids (dl_iterate_phdr, which takes the dynamic linker's lock:
 * not in a signal handler, nor with locks held that dlopen's malloc could want). From then on the snapshot is as the public
 * functions expect it. NULL, and the snapshot freed, if there is no memory. O(frames). */
ouro_snapshot *ouroi_snapshot_finish(ouro_snapshot *snapshot);

#endif
