/* tools/snapshot_names.c: names of frames, each looked up once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

void frame_table_begin(struct frame_table *table, ouro_snapshot *snapshot)
{
    *table = (struct frame_table){ .snapshot = snapshot, .mask = 1023 };
    table->slots = tool_alloc_zero(table->mask + 1, sizeof *table->slots);
}

static struct frame_names *find(const struct frame_table *table, const void *frame)
{
    size_t at = (size_t)(((uintptr_t)frame * 0x9e3779b97f4a7c15u) >> 20) & table->mask;
    while (table->slots[at].symbols != NULL && table->slots[at].frame != frame)
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static void grow(struct frame_table *table)
{
    struct frame_table larger = *table;
    larger.mask = 2 * table->mask + 1;
    larger.slots = tool_alloc_zero(larger.mask + 1, sizeof *larger.slots);
    for (size_t i = 0; i <= table->mask; i++)
        if (table->slots[i].symbols != NULL)
            *find(&larger, table->slots[i].frame) = table->slots[i];
    free(table->slots);
    *table = larger;
}

const struct frame_names *frame_names_of(struct frame_table *table, const void *frame)
{
    ouro_trace_symbol few[16];
    if (2 * table->used > table->mask)
        grow(table);
    struct frame_names *names = find(table, frame);
    if (names->symbols != NULL)
        return names;
    size_t room = sizeof few / sizeof *few;
    size_t count = ouro_snapshot_symbols(table->snapshot, frame, few, room);
    if (count == 0)
        exit(tool_fail("%s", strerror(errno)));
    *names = (struct frame_names){ frame, tool_alloc(count * sizeof *few), count };
    memcpy(names->symbols, few, (count < room ? count : room) * sizeof *few);
    if (count > room)
        ouro_snapshot_symbols(table->snapshot, frame, names->symbols, count);
    table->used++;
    return names;
}

void frame_table_end(struct frame_table *table)
{
    for (size_t i = 0; i <= table->mask; i++)
        free(table->slots[i].symbols);
    free(table->slots);
}

size_t names_shown(const struct frame_names *names)
{
    size_t count = names->count;
    while (count > 0 && names->symbols[names->count - count].own)
        count--;
    return count;
}

size_t first_shown(struct frame_table *table, const ouro_trace_stat *stat)
{
    size_t first = 0;
    while (first < stat->frame_count && names_shown(frame_names_of(table, stat->frames[first])) == 0)
        first++;
    return first < stat->frame_count ? first : 0;
}
