/* kvserver/zset.c: sorted sets: a skip list (Pugh 1990) whose nodes have their links as trailing references, so that the
 * collector needs no function of ours to follow them; and a table from members to nodes.
 */
#include <stdlib.h>
#include <string.h>

#include "kv.h"
#include "table.h"

enum { LEVELS = 24 };

static ouro_type zset_node_type =
    OURO_TYPE_SIZED(struct zset_node, offsetof(struct zset_node, next), OURO_REFS(struct zset_node, member),
                    .item_size = sizeof(struct zset_node *), .items_are_refs = true);
ouro_type zset_type = OURO_TYPE(struct zset, OURO_REFS(struct zset, head, by_member));

static unsigned random_level(void)
{
    static _Thread_local uint64_t state = UINT64_C(0x853c49e6748fea9b);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    unsigned level = 1;
    for (uint64_t bits = state; level < LEVELS && (bits & 3) == 0; bits >>= 2)
        level++;
    return level;
}

static size_t level_of(const struct zset_node *node)
{
#ifdef KV_ATOMIC_COUNTS
    size_t items;
    memcpy(&items, (const char *)node - 16, sizeof items);
    return items;
#else
    return ouro_item_count(node);
#endif
}

struct zset *zset_new(void)
{
    struct zset *zset = ouro_new(&zset_type);
    if (zset == NULL || (zset->head = ouro_new_items(&zset_node_type, LEVELS)) != NULL)
        return zset;
    ouro_decref(zset);
    return NULL;
}

static bool comes_before(const struct zset_node *node, double score, const struct string *member)
{
    return node->score < score || (node->score == score && string_compare(node->member, member) < 0);
}

/* The last node before the place on each level. */
static void find_before(const struct zset *zset, double score, const struct string *member,
                        struct zset_node *before[LEVELS])
{
    struct zset_node *node = zset->head;
    for (unsigned level = LEVELS; level-- > 0;) {
        while (node->next[level] != NULL && comes_before(node->next[level], score, member))
            node = node->next[level];
        before[level] = node;
    }
}

static void link_in(struct zset *zset, struct zset_node *node, size_t levels)
{
    struct zset_node *before[LEVELS];
    find_before(zset, node->score, node->member, before);
    for (size_t level = 0; level < levels; level++) {
        node->next[level] = before[level]->next[level]; /* the reference moves */
        before[level]->next[level] = ouro_newref(node);
    }
}

static void unlink_node(struct zset *zset, struct zset_node *node, size_t levels)
{
    struct zset_node *before[LEVELS];
    find_before(zset, node->score, node->member, before);
    for (size_t level = 0; level < levels; level++)
        OURO_SETREF(before[level]->next[level], OURO_MOVE(node->next[level]));
}

int zset_add(struct zset *zset, double score, struct string *member)
{
    struct zset_node *node = table_get(zset->by_member, member);
    if (node != NULL) {
        if (node->score != score) {
            ouro_incref(node); /* the list lets go of it */
            unlink_node(zset, node, level_of(node));
            node->score = score;
            link_in(zset, node, level_of(node));
            ouro_decref(node);
        }
        return 0;
    }
    unsigned levels = random_level();
    node = ouro_new_items(&zset_node_type, levels);
    if (node == NULL)
        return -1;
    node->score = score;
    node->member = ouro_newref(member);
    int added = table_set(&zset->by_member, zset->count, member, node);
    if (added == 1) {
        link_in(zset, node, levels);
        zset->count++;
    }
    ouro_decref(node);
    return added;
}

bool zset_delete(struct zset *zset, const struct string *member)
{
    struct zset_node *node = table_get(zset->by_member, member);
    if (node == NULL)
        return false;
    ouro_incref(node);
    unlink_node(zset, node, level_of(node));
    table_delete(zset->by_member, node->member);
    ouro_decref(node);
    zset->count--;
    return true;
}

const struct zset_node *zset_find(const struct zset *zset, const struct string *member)
{
    return table_get(zset->by_member, member);
}

const struct zset_node *zset_first(const struct zset *zset)
{
    return zset->head->next[0];
}
