/* trace/folded.c: a snapshot as folded stacks: a line each, for flame graphs.
 *
 * Stacks of the same functions are one line: all stacks are put into a tree, whose nodes are functions, and each node that
 * something was allocated in is written with its way from the root.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>

struct node {
    const char *function;
    uint32_t parent; /* NO_NODE at the root */
    uint64_t size;   /* allocated in the node itself */
};
#define NO_NODE UINT32_MAX

struct tree {
    ouro_snapshot *snapshot;
    struct ouroi_array nodes; /* parents before children */
    struct ouroi_index index;
};

static bool same_node(const void *with, uint32_t number, const void *key)
{
    const struct node *one = &((const struct node *)with)[number], *other = key;
    return one->function == other->function && one->parent == other->parent;
}

static int step_down(struct tree *tree, uint32_t *at, const char *function)
{
    int rc = ouroi_index_reserve(&tree->index);
    if (rc == 0)
        rc = ouroi_array_reserve(&tree->nodes, 1, sizeof(struct node));
    if (rc != 0 || tree->nodes.count == NO_NODE)
        return -ENOMEM;
    struct node node = { .function = function, .parent = *at };
    uint64_t hash = ouroi_hash_mix(ouroi_hash_mix(0, (uintptr_t)function), *at);
    struct node *nodes = tree->nodes.items;
    struct ouroi_index_slot *slot = ouroi_index_find(&tree->index, hash, same_node, nodes, &node);
    if (slot->number == 0) {
        nodes[tree->nodes.count] = node;
        ouroi_index_put(&tree->index, slot, hash, (uint32_t)tree->nodes.count++);
    }
    *at = slot->number - 1;
    return 0;
}

static int add_trace(struct tree *tree, const struct ouroi_trace *trace)
{
    ouro_snapshot *snapshot = tree->snapshot;
    uint32_t first = ouroi_names_first_outside(snapshot, trace), at = NO_NODE;
    if (first == trace->frames)
        first = 0;
    int rc = 0;
    for (uint32_t frame = trace->frames; frame-- > first && rc == 0;) {
        uint32_t address = snapshot->frames[trace->first + frame];
        rc = ouroi_names_of(snapshot, address);
        struct ouroi_place place = snapshot->places[address];
        for (uint32_t i = place.names; i-- > 0 && rc == 0;)
            rc =
                step_down(tree, &at, ((const struct ouroi_name *)snapshot->names.items)[place.first_name + i].function);
    }
    if (rc == 0 && at == NO_NODE) {
        const char *unknown = ouroi_snapshot_string(snapshot, "(no frames)");
        rc = unknown != NULL ? step_down(tree, &at, unknown) : -ENOMEM;
    }
    if (rc == 0)
        ((struct node *)tree->nodes.items)[at].size += trace->size;
    return rc;
}

/* What would end the function's name, or the line, is written as something else. */
static void put_function(struct ouroi_out *out, const char *function)
{
    for (; *function != '\0'; function++) {
        char c = *function == ';' ? ':' : (unsigned char)*function < ' ' ? '?' : *function;
        ouroi_out_put(out, &c, 1);
    }
}

static int put_line(struct ouroi_out *out, const struct tree *tree, uint32_t leaf, struct ouroi_array *way)
{
    const struct node *nodes = tree->nodes.items;
    char number[32];
    way->count = 0;
    for (uint32_t at = leaf; at != NO_NODE; at = nodes[at].parent) {
        int rc = ouroi_array_reserve(way, 1, sizeof at);
        if (rc != 0)
            return rc;
        ((uint32_t *)way->items)[way->count++] = at;
    }
    for (size_t i = way->count; i-- > 0;) {
        put_function(out, nodes[((const uint32_t *)way->items)[i]].function);
        ouroi_out_put(out, ";", i > 0);
    }
    size_t length = ouroi_format(number, sizeof number, " %lu\n", (unsigned long)nodes[leaf].size);
    ouroi_out_put(out, number, length);
    return 0;
}

static int write_all(ouro_snapshot *snapshot, struct ouroi_out *out)
{
    struct tree tree = { .snapshot = snapshot };
    struct ouroi_array way = { 0 };
    int rc = ouroi_names_places(snapshot);
    for (size_t i = 0; i < snapshot->trace_count && rc == 0; i++)
        rc = add_trace(&tree, &snapshot->traces[i]);
    for (uint32_t i = 0; i < tree.nodes.count && rc == 0; i++) {
        if (((const struct node *)tree.nodes.items)[i].size != 0)
            rc = put_line(out, &tree, i, &way);
    }
    ouroi_array_free(&way);
    ouroi_array_free(&tree.nodes);
    ouroi_index_free(&tree.index);
    return rc;
}

int ouro_snapshot_write_folded(ouro_snapshot *snapshot, const char *path)
{
    struct ouroi_out out;
    int rc = snapshot != NULL ? ouroi_out_open(&out, path) : -EINVAL;
    if (rc == 0)
        rc = ouroi_out_close(&out, write_all(snapshot, &out));
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? 0 : -1;
}
