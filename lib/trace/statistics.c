/* trace/statistics.c: traces summed up in groups, one snapshot's or the difference of two.
 *
 * By line, file and function a trace's group depends on one frame, its lead: the first outside of this library. So names
 * are looked up and compared once for each lead, and a trace costs one load. Tracebacks are told by a hash table over all.
 * Sorting is by radix, least significant digit first: stable, so that equal groups stay in the order of the traces.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_GROUP UINT32_MAX

struct group {
    uint64_t size, count;
    uint32_t trace; /* the first */
    uint32_t lead;  /* number of an address, OUROI_NO_MODULE: no frame is outside */
};

struct grouping {
    ouro_snapshot *snapshot;
    ouro_trace_key key;
    struct ouroi_array groups;
    struct ouroi_index index;
    struct ouroi_array of; /* uint32_t: the group of a lead, or of a type; the last one: of none */
};

struct item {
    uint64_t key;
    uint32_t number;
};

/* What the key says of a group with that lead, or type; frames not. Names of the lead are known. */
static void describe(const ouro_snapshot *snapshot, ouro_trace_key key, uint32_t lead, uint32_t type,
                     ouro_trace_stat *stat)
{
    *stat = (ouro_trace_stat){ 0 };
    if (key == OURO_BY_TYPE || key == OURO_BY_TRACEBACK)
        stat->type = type != OUROI_NO_TYPE ? snapshot->types[type] : NULL;
    if (key == OURO_BY_TYPE || lead == NO_GROUP)
        return;
    const struct ouroi_place *place = &snapshot->places[lead];
    const struct ouroi_name *name = &((const struct ouroi_name *)snapshot->names.items)[place->first_name];
    const struct ouroi_module *module = place->module != OUROI_NO_MODULE ? &snapshot->modules[place->module] : NULL;
    stat->file = name->file != NULL ? name->file : module != NULL ? module->path : NULL;
    if (key == OURO_BY_FILE)
        return;
    stat->function = name->function;
    if (key != OURO_BY_FUNCTION)
        stat->line = name->line;
}

/* By line the function does not matter, but where the line is unknown. */
static bool function_matters(ouro_trace_key key, unsigned line)
{
    return key != OURO_BY_LINE || line == 0;
}

static bool same_names(const void *with, uint32_t number, const void *key)
{
    const struct grouping *grouping = with;
    const ouro_trace_stat *one = key;
    ouro_trace_stat other;
    const struct group *group = &((const struct group *)grouping->groups.items)[number];
    describe(grouping->snapshot, grouping->key, group->lead, OUROI_NO_TYPE, &other);
    return one->file == other.file && one->line == other.line &&
           (one->function == other.function || !function_matters(grouping->key, one->line));
}

static bool same_frames(const void *with, uint32_t number, const void *key)
{
    const struct grouping *grouping = with;
    const ouro_snapshot *snapshot = grouping->snapshot;
    const struct ouroi_trace *one = key;
    const struct ouroi_trace *other = &snapshot->traces[((const struct group *)grouping->groups.items)[number].trace];
    return one->frames == other->frames && one->type == other->type &&
           memcmp(&snapshot->frames[one->first], &snapshot->frames[other->first],
                  one->frames * sizeof *snapshot->frames) == 0;
}

static int add_group(struct grouping *grouping, uint32_t trace, uint32_t lead, uint32_t *number)
{
    int rc = ouroi_array_reserve(&grouping->groups, 1, sizeof(struct group));
    if (rc != 0)
        return rc;
    *number = (uint32_t)grouping->groups.count;
    ((struct group *)grouping->groups.items)[grouping->groups.count++] = (struct group){ .trace = trace, .lead = lead };
    return 0;
}

static int group_by_names(struct grouping *grouping, uint32_t trace, uint32_t lead, uint32_t *number)
{
    int rc = ouroi_index_reserve(&grouping->index);
    if (rc == 0 && lead != NO_GROUP)
        rc = ouroi_names_of(grouping->snapshot, lead);
    if (rc != 0)
        return rc;
    ouro_trace_stat stat;
    describe(grouping->snapshot, grouping->key, lead, OUROI_NO_TYPE, &stat);
    uint64_t hash = ouroi_hash_mix(ouroi_hash_mix((uintptr_t)stat.file, stat.line),
                                   function_matters(grouping->key, stat.line) ? (uintptr_t)stat.function : 0);
    struct ouroi_index_slot *slot = ouroi_index_find(&grouping->index, hash, same_names, grouping, &stat);
    if (slot->number == 0) {
        rc = add_group(grouping, trace, lead, number);
        if (rc == 0)
            ouroi_index_put(&grouping->index, slot, hash, *number);
        return rc;
    }
    *number = slot->number - 1;
    return 0;
}

static int group_by_frames(struct grouping *grouping, uint32_t trace, uint32_t lead, uint32_t *number)
{
    const struct ouroi_trace *one = &grouping->snapshot->traces[trace];
    uint64_t hash = one->type;
    for (uint32_t i = 0; i < one->frames; i++)
        hash = ouroi_hash_mix(hash, grouping->snapshot->frames[one->first + i]);
    int rc = ouroi_index_reserve(&grouping->index);
    if (rc == 0 && lead != NO_GROUP)
        rc = ouroi_names_of(grouping->snapshot, lead);
    if (rc != 0)
        return rc;
    struct ouroi_index_slot *slot = ouroi_index_find(&grouping->index, hash, same_frames, grouping, one);
    if (slot->number == 0) {
        rc = add_group(grouping, trace, lead, number);
        if (rc == 0)
            ouroi_index_put(&grouping->index, slot, hash, *number);
        return rc;
    }
    *number = slot->number - 1;
    return 0;
}

/* The group of a trace. */
static int find_group(struct grouping *grouping, uint32_t trace, uint32_t *number)
{
    const ouro_snapshot *snapshot = grouping->snapshot;
    const struct ouroi_trace *one = &snapshot->traces[trace];
    uint32_t lead = NO_GROUP, selector = one->type;
    if (grouping->key != OURO_BY_TYPE) {
        uint32_t first = ouroi_names_first_outside(snapshot, one);
        selector = lead = first < one->frames ? snapshot->frames[one->first + first] : NO_GROUP;
    }
    if (grouping->key == OURO_BY_TRACEBACK)
        return group_by_frames(grouping, trace, lead, number);
    uint32_t *known = &((uint32_t *)grouping->of.items)[selector != UINT32_MAX ? selector : grouping->of.count - 1];
    if (*known == 0) { /* the group + 1 */
        uint32_t fresh;
        int rc = grouping->key == OURO_BY_TYPE ? add_group(grouping, trace, lead, &fresh)
                                               : group_by_names(grouping, trace, lead, &fresh);
        if (rc != 0)
            return rc;
        *known = fresh + 1;
    }
    *number = *known - 1;
    return 0;
}

static int group_all(struct grouping *grouping)
{
    const ouro_snapshot *snapshot = grouping->snapshot;
    int rc = ouroi_names_places(grouping->snapshot);
    if (rc == 0 && grouping->key != OURO_BY_TRACEBACK) {
        size_t selectors = (grouping->key == OURO_BY_TYPE ? snapshot->type_count : snapshot->address_count) + 1;
        rc = ouroi_array_reserve(&grouping->of, selectors, sizeof(uint32_t));
        grouping->of.count = selectors;
    }
    for (uint32_t i = 0; i < snapshot->trace_count && rc == 0; i++) {
        uint32_t number;
        rc = find_group(grouping, i, &number);
        if (rc != 0)
            break;
        struct group *group = &((struct group *)grouping->groups.items)[number];
        group->size += snapshot->traces[i].size;
        group->count += snapshot->traces[i].count;
    }
    return rc;
}

/* Sorts by key, ascending and stable; `spare` is as large. */
static void radix_sort(struct item *items, struct item *spare, size_t count)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t starts[257] = { 0 };
        for (size_t i = 0; i < count; i++)
            starts[1 + ((items[i].key >> shift) & 255)]++;
        if (starts[1 + ((items[0].key >> shift) & 255)] == count)
            continue; /* all the same */
        for (unsigned digit = 0; digit < 256; digit++)
            starts[digit + 1] += starts[digit];
        for (size_t i = 0; i < count; i++)
            spare[starts[(items[i].key >> shift) & 255]++] = items[i];
        memcpy(items, spare, count * sizeof *items);
    }
}

static uint64_t magnitude(long difference)
{
    return difference < 0 ? 0 - (uint64_t)difference : (uint64_t)difference;
}

/* What groups are sorted by, the first key last. */
static uint64_t sort_key(const ouro_trace_stat *stat, unsigned which)
{
    switch (which) {
    case 0:
        return stat->count;
    case 1:
        return magnitude(stat->count_diff);
    case 2:
        return stat->size;
    default:
        return magnitude(stat->size_diff);
    }
}

/* Sorts stats, biggest first; a fresh array in the snapshot's store. NULL: no memory. */
static ouro_trace_stat *sorted(ouro_snapshot *snapshot, const ouro_trace_stat *stats, size_t count)
{
    struct ouroi_array work = { 0 };
    ouro_trace_stat *out = ouroi_store_array(&snapshot->store, count, sizeof *out);
    if (out == NULL || ouroi_array_reserve(&work, 2 * count, sizeof(struct item)) != 0)
        return NULL;
    struct item *items = work.items;
    for (uint32_t i = 0; i < count; i++)
        items[i].number = i;
    for (unsigned which = 0; which < 4 && count > 0; which++) {
        for (size_t i = 0; i < count; i++)
            items[i].key = ~sort_key(&stats[items[i].number], which);
        radix_sort(items, items + count, count);
    }
    for (size_t i = 0; i < count; i++)
        out[i] = stats[items[i].number];
    ouroi_array_free(&work);
    return out;
}

/* The frames of a trace as addresses, for stat. */
static int put_frames(ouro_snapshot *snapshot, const struct ouroi_trace *trace, ouro_trace_stat *stat)
{
    const void **frames = ouroi_store_array(&snapshot->store, trace->frames, sizeof *frames);
    if (frames == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < trace->frames; i++)
        frames[i] = (const void *)(uintptr_t)snapshot->addresses[snapshot->frames[trace->first + i]];
    stat->frames = frames;
    stat->frame_count = trace->frames;
    return 0;
}

static int make_stats(struct grouping *grouping, struct ouroi_array *stats)
{
    ouro_snapshot *snapshot = grouping->snapshot;
    const struct group *groups = grouping->groups.items;
    int rc = ouroi_array_reserve(stats, grouping->groups.count, sizeof(ouro_trace_stat));
    for (size_t i = 0; i < grouping->groups.count && rc == 0; i++) {
        ouro_trace_stat *stat = &((ouro_trace_stat *)stats->items)[stats->count++];
        const struct ouroi_trace *trace = &snapshot->traces[groups[i].trace];
        describe(snapshot, grouping->key, groups[i].lead, trace->type, stat);
        stat->size = (size_t)groups[i].size;
        stat->count = (size_t)groups[i].count;
        if (grouping->key == OURO_BY_TRACEBACK)
            rc = put_frames(snapshot, trace, stat);
    }
    return rc;
}

/* The snapshot's statistics by key, made once. 0 or -ENOMEM. */
static int statistics(ouro_snapshot *snapshot, ouro_trace_key key, struct ouroi_statistics **result)
{
    struct ouroi_statistics *kept = *result = &snapshot->statistics[key];
    if (kept->done)
        return 0;
    struct grouping grouping = { .snapshot = snapshot, .key = key };
    struct ouroi_array stats = { 0 };
    int rc = group_all(&grouping);
    if (rc == 0)
        rc = make_stats(&grouping, &stats);
    if (rc == 0) {
        kept->stats = sorted(snapshot, stats.items, stats.count);
        kept->count = stats.count;
        kept->done = kept->stats != NULL;
        rc = kept->done ? 0 : -ENOMEM;
    }
    ouroi_array_free(&stats);
    ouroi_array_free(&grouping.groups);
    ouroi_array_free(&grouping.of);
    ouroi_index_free(&grouping.index);
    return rc;
}

size_t ouro_snapshot_statistics(ouro_snapshot *snapshot, ouro_trace_key key, const ouro_trace_stat **stats)
{
    struct ouroi_statistics *result;
    int rc = snapshot != NULL && (unsigned)key <= OURO_BY_TRACEBACK ? statistics(snapshot, key, &result) : -EINVAL;
    *stats = rc == 0 ? result->stats : NULL;
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? result->count : 0;
}

/* Two snapshots. */

struct comparing {
    ouro_snapshot *now, *before;
    ouro_trace_key key;
    struct ouroi_array stats; /* of both; those of `now` first, as they are in its statistics */
    size_t from_now;
    struct ouroi_index index;
};

/* Where a frame is, the same for one place in one module whatever the module's place. */
static uint64_t identity(ouro_snapshot *snapshot, const void *frame)
{
    uint64_t address = (uintptr_t)frame;
    uint32_t number;
    if (ouroi_snapshot_find_address(snapshot, address, &number) != 0)
        return address;
    uint32_t module = snapshot->places[number].module;
    if (module == OUROI_NO_MODULE)
        return ouroi_hash_mix(1, address);
    return ouroi_hash_mix(snapshot->modules[module].identity, address - snapshot->modules[module].bias);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return ouroi_hash_mix(hash, text != NULL ? ouroi_hash_bytes(text, strlen(text)) : 1);
}

static uint64_t hash_stat(ouro_snapshot *snapshot, ouro_trace_key key, const ouro_trace_stat *stat)
{
    uint64_t hash = hash_text(0, stat->type);
    for (size_t i = 0; i < stat->frame_count; i++)
        hash = ouroi_hash_mix(hash, identity(snapshot, stat->frames[i]));
    if (key == OURO_BY_TRACEBACK)
        return hash;
    hash = hash_text(ouroi_hash_mix(hash, stat->line), stat->file);
    return function_matters(key, stat->line) ? hash_text(hash, stat->function) : hash;
}

static bool same_text(const char *one, const char *other)
{
    return one == other || (one != NULL && other != NULL && strcmp(one, other) == 0);
}

/* A stat of `before` against one of `now`. */
static bool same_stat(const void *with, uint32_t number, const void *key)
{
    const struct comparing *comparing = with;
    const ouro_trace_stat *one = key, *other = &((const ouro_trace_stat *)comparing->stats.items)[number];
    if (number >= comparing->from_now || !same_text(one->type, other->type) || one->frame_count != other->frame_count)
        return false;
    for (size_t i = 0; i < one->frame_count; i++) {
        if (identity(comparing->before, one->frames[i]) != identity(comparing->now, other->frames[i]))
            return false;
    }
    if (comparing->key == OURO_BY_TRACEBACK)
        return true;
    return one->line == other->line && same_text(one->file, other->file) &&
           (!function_matters(comparing->key, one->line) || same_text(one->function, other->function));
}

static bool same_never(const void *with, uint32_t number, const void *key)
{
    (void)with, (void)number, (void)key;
    return false;
}

/* A copy of a string of `before`, in `now`; NULL stays. */
static int copy_text(ouro_snapshot *now, const char **text)
{
    if (*text != NULL && (*text = ouroi_snapshot_string(now, *text)) == NULL)
        return -ENOMEM;
    return 0;
}

/* A group that only `before` has. */
static int add_gone(struct comparing *comparing, const ouro_trace_stat *old)
{
    ouro_snapshot *now = comparing->now;
    ouro_trace_stat stat = *old;
    stat.size = stat.count = 0;
    stat.size_diff = (long)(0 - old->size);
    stat.count_diff = (long)(0 - old->count);
    int rc = ouroi_array_reserve(&comparing->stats, 1, sizeof stat);
    if (rc == 0 && old->frames != NULL) {
        const void **frames = ouroi_store_array(&now->store, old->frame_count, sizeof *frames);
        if (frames == NULL)
            return -ENOMEM;
        memcpy(frames, old->frames, old->frame_count * sizeof *frames);
        stat.frames = frames;
    }
    if (rc != 0 || copy_text(now, &stat.file) != 0 || copy_text(now, &stat.function) != 0 ||
        copy_text(now, &stat.type) != 0)
        return -ENOMEM;
    ((ouro_trace_stat *)comparing->stats.items)[comparing->stats.count++] = stat;
    return 0;
}

static int add_now(struct comparing *comparing, const struct ouroi_statistics *now)
{
    int rc = ouroi_array_reserve(&comparing->stats, now->count, sizeof(ouro_trace_stat));
    if (rc != 0)
        return rc;
    ouro_trace_stat *stats = comparing->stats.items;
    for (uint32_t i = 0; i < now->count; i++) {
        stats[i] = now->stats[i];
        stats[i].size_diff = (long)stats[i].size;
        stats[i].count_diff = (long)stats[i].count;
        if (ouroi_index_reserve(&comparing->index) != 0)
            return -ENOMEM;
        uint64_t hash = hash_stat(comparing->now, comparing->key, &stats[i]);
        struct ouroi_index_slot *slot = ouroi_index_find(&comparing->index, hash, same_never, NULL, NULL);
        ouroi_index_put(&comparing->index, slot, hash, i);
    }
    comparing->stats.count = comparing->from_now = now->count;
    return 0;
}

static int subtract(struct comparing *comparing, const struct ouroi_statistics *before)
{
    int rc = ouroi_index_reserve(&comparing->index); /* `now` may be empty */
    for (size_t i = 0; i < before->count && rc == 0; i++) {
        const ouro_trace_stat *old = &before->stats[i];
        uint64_t hash = hash_stat(comparing->before, comparing->key, old);
        const struct ouroi_index_slot *slot = ouroi_index_find(&comparing->index, hash, same_stat, comparing, old);
        if (slot->number == 0) {
            rc = add_gone(comparing, old);
            continue;
        }
        ouro_trace_stat *stat = &((ouro_trace_stat *)comparing->stats.items)[slot->number - 1];
        stat->size_diff = (long)((size_t)stat->size_diff - old->size);
        stat->count_diff = (long)((size_t)stat->count_diff - old->count);
    }
    return rc;
}

size_t ouro_snapshot_compare(ouro_snapshot *now, ouro_snapshot *before, ouro_trace_key key,
                             const ouro_trace_stat **stats)
{
    struct ouroi_statistics *one = NULL, *other = NULL;
    struct comparing comparing = { .now = now, .before = before, .key = key };
    bool good = now != NULL && before != NULL && (unsigned)key <= OURO_BY_TRACEBACK;
    int rc = good ? statistics(now, key, &one) : -EINVAL;
    if (rc == 0)
        rc = statistics(before, key, &other);
    if (rc == 0)
        rc = add_now(&comparing, one);
    if (rc == 0)
        rc = subtract(&comparing, other);
    size_t count = comparing.stats.count;
    *stats = NULL;
    if (rc == 0) {
        *stats = sorted(now, comparing.stats.items, count);
        rc = *stats != NULL ? 0 : -ENOMEM;
    }
    ouroi_array_free(&comparing.stats);
    ouroi_index_free(&comparing.index);
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? count : 0;
}
