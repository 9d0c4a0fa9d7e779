/* tools/snapshot.h: what the files of `ouro snapshot` share. */
#ifndef OURO_TOOL_SNAPSHOT_H
#define OURO_TOOL_SNAPSHOT_H

#include <ouro/trace.h>

#include "tool.h"

/* Names of a frame, kept: asked for once. The innermost first. */
struct frame_names {
    const void *frame;
    ouro_trace_symbol *symbols;
    size_t count;
};
struct frame_table {
    ouro_snapshot *snapshot;
    struct frame_names *slots; /* open addressing */
    size_t mask, used;
};
void frame_table_begin(struct frame_table *table, ouro_snapshot *snapshot);
/* Lives until the next call. Where there is no memory, the process ends with a message. */
const struct frame_names *frame_names_of(struct frame_table *table, const void *frame);
void frame_table_end(struct frame_table *table);

/* The first of stat's frames that is to be shown: those of the library at the inner end are not. */
size_t first_shown(struct frame_table *table, const ouro_trace_stat *stat);

/* When it was taken, in local time. */
struct tool_text snapshot_time(const ouro_snapshot_info *info);

/* Writes a flame graph. TOOL_OK, or TOOL_FAILED with a message. */
int write_flamegraph(ouro_snapshot *snapshot, const char *path);

#endif
