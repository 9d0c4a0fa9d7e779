/* gc/memory.c: the collector's own memory: lists and tables that grow while the world is stopped.
 *
 * Owns        mappings, each of one list or table. They are asked for from the OS and not from a heap, so that a collection
 *             that runs out of memory learns it here, with nothing done yet.
 * Sync        none: a list or table belongs to one searcher, or to the collecting thread.
 */
#include "gc/internal.h"

#include <errno.h>
#include <string.h>

enum {
    FIRST_BYTES = 64 << 10,
    KEPT_BYTES = 1 << 20, /* between collections */
};

static void *map(size_t bytes)
{
    int error;
    return ouroi_os.map(NULL, bytes, OUROI_MAP_ANYWHERE, &error);
}

/* A mapping that cannot be given back is lost: the OS has no memory to split its own lists. */
static void unmap(void *at, size_t bytes)
{
    if (at != NULL)
        (void)ouroi_os.unmap(at, bytes);
}

int ouroi_memory_grow(void **items, size_t *room, size_t used, size_t wanted, size_t item_bytes)
{
    size_t bytes = *room * item_bytes * 2;
    if (bytes < FIRST_BYTES)
        bytes = FIRST_BYTES;
    if (bytes < wanted * item_bytes)
        bytes = wanted * item_bytes;
    bytes = ouroi_align_up(bytes, ouroi_machine.page_bytes);
    void *fresh = map(bytes);
    if (fresh == NULL)
        return -ENOMEM;
    if (used != 0)
        memcpy(fresh, *items, used * item_bytes);
    ouroi_memory_free(items, room, item_bytes);
    *items = fresh;
    *room = bytes / item_bytes;
    return 0;
}

void ouroi_memory_free(void **items, size_t *room, size_t item_bytes)
{
    unmap(*items, ouroi_align_up(*room * item_bytes, ouroi_machine.page_bytes));
    *items = NULL;
    *room = 0;
}

int ouroi_list_grow(struct ouroi_list *list, size_t room)
{
    if (room <= list->room)
        return 0;
    void *items = list->items;
    int rc = ouroi_memory_grow(&items, &list->room, list->count, room, sizeof(void *));
    list->items = items;
    return rc;
}

void ouroi_list_free(struct ouroi_list *list)
{
    void *items = list->items;
    ouroi_memory_free(&items, &list->room, sizeof(void *));
    list->items = NULL;
    list->count = 0;
}

void ouroi_list_reset(struct ouroi_list *list)
{
    ouroi_list_reset_to(list, 0);
}

void ouroi_list_reset_to(struct ouroi_list *list, size_t kept_bytes)
{
    list->count = 0;
    if (list->room * sizeof(void *) > (kept_bytes > KEPT_BYTES ? kept_bytes : KEPT_BYTES))
        ouroi_list_free(list);
}

static size_t place_of(const struct ouroi_table *table, const ouro_object *object)
{
    return (size_t)(((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> 20) & (table->room - 1);
}

struct ouroi_entry *ouroi_table_find(const struct ouroi_table *table, const ouro_object *object)
{
    if (table->count == 0)
        return NULL;
    for (size_t at = place_of(table, object);; at = (at + 1) & (table->room - 1)) {
        struct ouroi_entry *entry = &table->entries[at];
        if (entry->object == object)
            return entry;
        if (entry->object == NULL)
            return NULL;
    }
}

static struct ouroi_entry *place_for(struct ouroi_table *table, const ouro_object *object)
{
    size_t at = place_of(table, object);
    while (table->entries[at].object != NULL && table->entries[at].object != object)
        at = (at + 1) & (table->room - 1);
    return &table->entries[at];
}

static size_t bytes_of(const struct ouroi_table *table)
{
    return ouroi_align_up(table->room * sizeof(struct ouroi_entry), ouroi_machine.page_bytes);
}

/* Twice the room; at most half of it is ever used. */
static bool grow(struct ouroi_table *table)
{
    struct ouroi_table larger = { .room = table->room == 0 ? 1024 : table->room * 2, .count = table->count };
    larger.entries = map(bytes_of(&larger));
    if (larger.entries == NULL)
        return false;
    for (size_t i = 0; i < table->room; i++)
        if (table->entries[i].object != NULL)
            *place_for(&larger, table->entries[i].object) = table->entries[i];
    unmap(table->entries, bytes_of(table));
    *table = larger;
    return true;
}

struct ouroi_entry *ouroi_table_get(struct ouroi_table *table, ouro_object *object)
{
    struct ouroi_entry *entry = ouroi_table_find(table, object);
    if (entry != NULL)
        return entry;
    if (table->count * 2 >= table->room && !grow(table))
        return NULL;
    entry = place_for(table, object);
    entry->object = object;
    table->count++;
    return entry;
}

void ouroi_table_free(struct ouroi_table *table)
{
    unmap(table->entries, bytes_of(table));
    *table = (struct ouroi_table){ 0 };
}

void ouroi_table_reset(struct ouroi_table *table)
{
    if (table->count == 0)
        return;
    if (bytes_of(table) > KEPT_BYTES) {
        ouroi_table_free(table);
        return;
    }
    memset(table->entries, 0, table->room * sizeof(struct ouroi_entry));
    table->count = 0;
}
