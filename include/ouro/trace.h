/* ouro/trace.h: allocation tracing: what Python's tracemalloc is to Python.
 *
 * While tracing is on, blocks from ouro_malloc and its kin, from the drop-in's malloc, and objects are known with the
 * traceback of the call that made them; a block from before start is not known. A snapshot is what is known at one moment,
 * summed by traceback; it names functions, files and lines when it is first asked for names, which can be in another
 * process and on another machine: see ouro_snapshot_dump.
 *
 * Sizes are those asked for; an object's is its instance and its items. When sampled, a block of b bytes (its size class's,
 * if it is small) is recorded with the chance 1 - exp(-b / sample_bytes), and stands for as many: sizes and counts are divided
 * by that, and are estimates without bias.
 * Frames are return addresses less one, innermost first, and may begin inside this library. What is said by line, file or
 * function is said of the first frame outside it and its headers; where functions were inlined there, of the innermost.
 */
#ifndef OURO_TRACE_H
#define OURO_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ouro/alloc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Begins to record, up to max_frames frames a block (1 to 4096; of more than 256, 256 are kept). sample_bytes 0: every allocation; else one for that many
 * bytes on average. While tracing already: 0, and nothing changes. Threads: any.
 * Errors: -1 with EINVAL (max_frames), ENOMEM. */
OURO_ATTR_EXPORT int ouro_trace_start(unsigned max_frames, size_t sample_bytes);

/* Stops, and forgets all blocks. Threads: any. */
OURO_ATTR_EXPORT void ouro_trace_stop(void);
OURO_ATTR_EXPORT bool ouro_trace_is_tracing(void);

/* Bytes in the blocks that are known, now and at most since the start or reset_peak. Either may be NULL. Not tracing: 0. */
OURO_ATTR_EXPORT void ouro_trace_get_traced_memory(size_t *current, size_t *peak);
OURO_ATTR_EXPORT void ouro_trace_reset_peak(void);

/* Forgets all blocks, and goes on. */
OURO_ATTR_EXPORT void ouro_trace_clear(void);

/* Bytes that tracing itself uses. */
OURO_ATTR_EXPORT size_t ouro_trace_get_overhead(void);

/* Writes up to `max` frames of the traceback of the living block or object at `ptr` to `frames`; returns how many.
 * 0: the block is not known. O(1). */
OURO_ATTR_EXPORT size_t ouro_trace_get_traceback(const void *ptr, void **frames, size_t max);

/* Snapshots. One thread at a time uses a snapshot; different ones are independent. None of these functions is a safepoint,
 * and to name lines takes seconds where programs are large: a registered thread calls them in a blocking region. Their
 * memory is not from the heap that is traced; what libdw, which names lines, needs is from the process's malloc. Equal
 * strings that one snapshot gives out have equal addresses. Errors of all: NULL for a snapshot or a path is EINVAL. */
typedef struct ouro_snapshot ouro_snapshot;

/* What is known now; to be freed by the caller. O(blocks known). Threads: any.
 * Errors: NULL with EINVAL (not tracing), ENOMEM. */
OURO_ATTR_EXPORT ouro_snapshot *ouro_trace_take_snapshot(void);

/* Frees the snapshot, and with it the arrays and strings that were given out for it. NULL does nothing. */
OURO_ATTR_EXPORT void ouro_snapshot_free(ouro_snapshot *snapshot);

typedef enum { OURO_BY_LINE, OURO_BY_FILE, OURO_BY_FUNCTION, OURO_BY_TYPE, OURO_BY_TRACEBACK } ouro_trace_key;

/* One group of blocks. What the key does not say is NULL or 0: by file `file` alone, by type `type` alone.
 * file        absolute, where the debug information says so; without line numbers the path of the module, and line 0;
 *             NULL where no frame is outside the library, or in no module.
 * function    demangled; from the symbol table where there is no debug information; else MODULE+0xOFFSET, or 0xADDRESS.
 * type        of objects, as tools print it; NULL: plain blocks.
 * frames      by traceback, where file, line and function are those of the frame that is said above.
 * *_diff      for ouro_snapshot_compare; otherwise 0. */
typedef struct {
    const char *file;
    unsigned line;
    const char *function;
    const char *type;
    size_t size, count;
    long size_diff, count_diff;
    const void *const *frames;
    size_t frame_count;
} ouro_trace_stat;

/* Groups all blocks by `key`, and sets *stats to the groups, biggest first (by size, then count); returns how many. The
 * array and its strings belong to the snapshot and live until it is freed; asked again, it is the same array.
 * O(traces), and once for each frame that is looked at, a search in debug information.
 * Errors: 0 with *stats NULL and EINVAL (key), ENOMEM. An empty snapshot: 0 with errno as it was. */
OURO_ATTR_EXPORT size_t ouro_snapshot_statistics(ouro_snapshot *snapshot, ouro_trace_key key,
                                                 const ouro_trace_stat **stats);

/* The same for two snapshots: all groups of either, size and count from `now`, differences `now` less `before`; sorted by
 * the size of size_diff, then by size, count_diff and count. Tracebacks are the same if their frames are at the same
 * places of the same modules, wherever those were loaded. The array and its strings belong to `now`; frames of a group that
 * only `before` has are addresses of that. */
OURO_ATTR_EXPORT size_t ouro_snapshot_compare(ouro_snapshot *now, ouro_snapshot *before, ouro_trace_key key,
                                              const ouro_trace_stat **stats);

/* A new snapshot of the blocks whose file matches the glob (inclusive), or does not. `*` matches `/` too; a glob without
 * `/` may match the file's last part alone. To be freed by the caller; independent of `snapshot`.
 * Errors: NULL with EINVAL (NULL), ENOMEM. */
OURO_ATTR_EXPORT ouro_snapshot *ouro_snapshot_filter(ouro_snapshot *snapshot, const char *file_glob, bool inclusive);

/* Writes the snapshot to a file, in the format of docs/formats.md: addresses, and of the modules path, place and build-id,
 * no names. A file of that name is replaced at once when all is written. O(traces). Errors: -1 and errno of the OS. */
OURO_ATTR_EXPORT int ouro_snapshot_dump(ouro_snapshot *snapshot, const char *path);

/* Reads such a file; to be freed by the caller. O(bytes), in memory and time.
 * Errors: NULL with EBADMSG (damaged, or no snapshot), ENOTSUP (of a newer version), ENOMEM, and errno of the OS. */
OURO_ATTR_EXPORT ouro_snapshot *ouro_snapshot_load(const char *path);

/* Writes profile.proto in gzip, which pprof opens: inuse_objects and inuse_space, the type as a label. Frames of this
 * library at the inner end are left out, here and in folded stacks. Errors: -1 with ENOMEM, and errno of the OS. */
OURO_ATTR_EXPORT int ouro_snapshot_write_pprof(ouro_snapshot *snapshot, const char *path);

/* Writes a line for each stack, outermost function first, separated by `;`, a space, and bytes. Errors: the same. */
OURO_ATTR_EXPORT int ouro_snapshot_write_folded(ouro_snapshot *snapshot, const char *path);

/* What a snapshot says of itself. Strings live until it is freed. */
typedef struct {
    const char *program; /* path of the program that was traced */
    uint64_t time_ns;    /* since 1970 */
    uint64_t pid;
    size_t sample_bytes; /* 0: every allocation */
    unsigned max_frames;
    size_t traces;      /* different tracebacks and types */
    size_t size, count; /* of all blocks */
} ouro_snapshot_info;
OURO_ATTR_EXPORT void ouro_snapshot_get_info(const ouro_snapshot *snapshot, ouro_snapshot_info *info);

/* What is at a frame of the snapshot. Several where functions were inlined: the innermost first, all with the same module
 * and offset. file NULL, line 0: unknown. Strings live until the snapshot is freed. */
typedef struct {
    const char *function, *file;
    unsigned line;
    bool own;           /* code of this library */
    const char *module; /* path, NULL: in none */
    uint64_t offset;    /* in the module: the address less where it was loaded */
} ouro_trace_symbol;

/* Writes up to `max` of them, at least one; returns how many there are. max 0: only that.
 * Errors: 0 with ENOENT (no frame of this snapshot), ENOMEM. */
OURO_ATTR_EXPORT size_t ouro_snapshot_symbols(ouro_snapshot *snapshot, const void *frame, ouro_trace_symbol *symbols,
                                              size_t max);

/* Folders, separated by `:`, that are searched for modules and their debug files before all others: by build-id
 * (.build-id/xx/yyyy.debug), by the whole path below it, by the name. For snapshots from other machines; before the first
 * call that names. NULL: none again. Errors: -1 with EBUSY (names were looked up already), ENOMEM. */
OURO_ATTR_EXPORT int ouro_snapshot_set_symbol_path(ouro_snapshot *snapshot, const char *folders);

/* Passes over frames of files that match the glob, as over the library's own: what they allocate belongs to who called
 * them. For containers ("/usr/include/c++/" and a star), or a program's own wrappers of malloc. A glob as in
 * ouro_snapshot_filter, for the files that statistics tell. May be called again, for more; before the first call that names.
 * Errors: -1 with EBUSY (names were looked up already), ENOMEM. */
OURO_ATTR_EXPORT int ouro_snapshot_skip(ouro_snapshot *snapshot, const char *file_glob);

#ifdef __cplusplus
}
#endif

#endif
