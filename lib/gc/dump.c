/* gc/dump.c: the object graph as text, for the ouro tool.
 *
 * A line each, fields apart by one space, numbers decimal, addresses as 0x and hexadecimal digits:
 *
 *   ouro-graph 1
 *   type NUMBER SIZE ITEM_SIZE NAME                 NAME to the end of the line; before the first object of the type
 *   object ADDRESS TYPE GENERATION REFCOUNT OUTSIDE SIZE BLOCK [REFERENT]...
 *   end OBJECTS EDGES
 *
 * TYPE is a NUMBER; GENERATION 0 to 2, 3 for frozen, -1 for untracked; OUTSIDE the references that no object in the graph holds,
 * so that an object with OUTSIDE over 0 is a root; SIZE in bytes what ouro_sizeof says without extra_size; BLOCK what the heap
 * has for it; REFERENT addresses in the order of traversal, one for each reference. Objects in the graph are those that are
 * tracked, and what they refer to. Without the last line the graph is not whole.
 *
 * Sync        the text is made with the world stopped, and written with the world running.
 */
#include "gc/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct dump {
    char *text;
    size_t used, room;
    struct ouroi_table objects; /* seen: references from objects in the graph; reached: tracked */
    struct ouroi_table types;   /* those that were named */
    bool no_memory;
    size_t object_count, edge_count;
};

static void put(struct dump *dump, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct dump *dump, const char *format, ...)
{
    char line[512];
    va_list list;
    va_start(list, format);
    size_t length = ouroi_format_list(line, sizeof line, format, list);
    va_end(list);
    if (dump->used + length > dump->room) {
        void *text = dump->text;
        if (dump->no_memory || ouroi_memory_grow(&text, &dump->room, dump->used, dump->used + length, 1) != 0) {
            dump->no_memory = true;
            return;
        }
        dump->text = text;
    }
    memcpy(dump->text + dump->used, line, length);
    dump->used += length;
}

static void see_referent(ouro_object *referent, void *arg)
{
    struct dump *dump = arg;
    struct ouroi_entry *entry = ouroi_table_get(&dump->objects, referent);
    if (entry == NULL)
        dump->no_memory = true;
    else
        entry->seen++;
}

static bool is_in_graph(const ouro_object *obj, const int8_t *state)
{
    return ouroi_state_generation(*state) >= 0 && ouroi_object_count(obj) > 0;
}

static void see_object(ouro_object *obj, int8_t *state, struct ouroi_walk *walk)
{
    struct dump *dump = walk->arg;
    if (!is_in_graph(obj, state))
        return;
    struct ouroi_entry *entry = ouroi_table_get(&dump->objects, obj);
    if (entry == NULL) {
        dump->no_memory = walk->stopped = true;
        return;
    }
    entry->reached = true;
    ouroi_object_traverse(obj, ouroi_type_of(obj), see_referent, dump);
    walk->stopped = dump->no_memory;
}

static void put_type(struct dump *dump, const ouro_type *type)
{
    const struct ouroi_type *private = ouroi_type_private(type);
    struct ouroi_entry *entry = ouroi_table_get(&dump->types, (ouro_object *)(uintptr_t)type);
    if (entry == NULL) {
        dump->no_memory = true;
    } else if (entry->count == 0) {
        entry->count = 1;
        put(dump, "type %u %zu %zu %s\n", private->index, type->size, type->item_size, ouroi_type_name(type));
    }
}

static void put_referent(ouro_object *referent, void *arg)
{
    struct dump *dump = arg;
    put(dump, " %p", (void *)referent);
    dump->edge_count++;
}

static void put_object(struct dump *dump, const struct ouroi_entry *entry)
{
    ouro_object *obj = entry->object;
    const ouro_type *type = ouroi_type_of(obj);
    int64_t count = ouroi_object_count(obj), outside = count - entry->seen;
    put_type(dump, type);
    put(dump, "object %p %u %d %zu %zu %zu %zu", (void *)obj, ouroi_type_private(type)->index,
        ouro_gc_generation_of(obj), (size_t)count, (size_t)(outside < 0 ? 0 : outside),
        type->size + ouroi_object_items(obj) * type->item_size, ouro_block_size(obj));
    if (entry->reached)
        ouroi_object_traverse(obj, type, put_referent, dump);
    put(dump, "\n");
    dump->object_count++;
}

static void make_text(struct dump *dump)
{
    struct ouroi_walk walk = { .fn = see_object, .arg = dump };
    put(dump, "ouro-graph 1\n");
    ouroi_walk(&walk);
    for (size_t i = 0; !dump->no_memory && i < dump->objects.room; i++)
        if (dump->objects.entries[i].object != NULL)
            put_object(dump, &dump->objects.entries[i]);
    put(dump, "end %zu %zu\n", dump->object_count, dump->edge_count);
}

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes != 0) {
        ssize_t wrote = write(fd, text, bytes);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return errno;
        text += wrote;
        bytes -= (size_t)wrote;
    }
    return 0;
}

int ouro_gc_dump_graph(int fd)
{
    struct dump dump = { 0 };
    if (!ouroi_gc_may_stop())
        return -1;
    ouroi_world_stop();
    make_text(&dump);
    ouroi_world_start();
    int error = dump.no_memory ? ENOMEM : 0;
    if (error == 0)
        OURO_BLOCKING
            error = write_all(fd, dump.text, dump.used);
    void *text = dump.text;
    ouroi_memory_free(&text, &dump.room, 1);
    ouroi_table_free(&dump.objects);
    ouroi_table_free(&dump.types);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}
