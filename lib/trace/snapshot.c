/* trace/snapshot.c: a snapshot from begin to finish, and its end.
 *
 * Between begin and finish traces are raw records, one after the other in chunks: nothing is looked up, so that adding is a
 * copy. finish gives each address a number, and writes the traces in their final form.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { RAW_BYTES = 4 << 20 };

struct ouroi_raw {
    struct ouroi_raw *next;
    size_t bytes, used; /* of this mapping, this head included */
};

struct record {
    uint64_t size, count;
    uint32_t frames, type;
    uint64_t frame[];
};

ouro_snapshot *ouroi_snapshot_new(void)
{
    struct ouroi_store store = { 0 };
    ouro_snapshot *snapshot = ouroi_store_alloc(&store, sizeof *snapshot);
    if (snapshot == NULL)
        return NULL;
    snapshot->store = store; /* it lies in its own first chunk */
    snapshot->address_bytes = sizeof(void *);
    snapshot->program = snapshot->machine = "";
    return snapshot;
}

ouro_snapshot *ouroi_snapshot_begin(unsigned max_frames, size_t sample_bytes)
{
    ouro_snapshot *snapshot = ouroi_snapshot_new();
    if (snapshot == NULL)
        return NULL;
    struct timespec now;
    struct utsname machine;
    clock_gettime(CLOCK_REALTIME, &now);
    snapshot->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    snapshot->pid = (uint64_t)getpid();
    snapshot->max_frames = max_frames;
    snapshot->sample_bytes = sample_bytes;
    snapshot->live = true;
    const char *name = uname(&machine) == 0 ? ouroi_snapshot_string(snapshot, machine.machine) : "";
    if (name == NULL) {
        ouro_snapshot_free(snapshot);
        return NULL;
    }
    snapshot->machine = name;
    return snapshot;
}

static struct record *new_record(ouro_snapshot *snapshot, size_t bytes)
{
    struct ouroi_raw *raw = snapshot->raw_last;
    if (raw == NULL || raw->bytes - raw->used < bytes) {
        int error;
        size_t want = bytes > RAW_BYTES / 2 ? ouroi_align_up(bytes + sizeof *raw, RAW_BYTES) : RAW_BYTES;
        struct ouroi_raw *fresh = ouroi_os.map(NULL, want, OUROI_MAP_ANYWHERE, &error);
        if (fresh == NULL)
            return NULL;
        *fresh = (struct ouroi_raw){ .bytes = want, .used = sizeof *fresh };
        *(raw != NULL ? &raw->next : &snapshot->raw_first) = fresh;
        snapshot->raw_last = raw = fresh;
    }
    struct record *record = (void *)((char *)raw + raw->used);
    raw->used += bytes;
    return record;
}

static bool same_type(const void *with, uint32_t number, const void *key)
{
    const char *const *types = with;
    return strcmp(types[number], key) == 0;
}

/* The number of a type's name, which it is given when it has none. */
static int find_type(ouro_snapshot *snapshot, const char *type, uint32_t *number)
{
    *number = OUROI_NO_TYPE;
    if (type == NULL)
        return 0;
    int rc = ouroi_index_reserve(&snapshot->type_index);
    if (rc == 0)
        rc = ouroi_array_reserve(&snapshot->type_list, 1, sizeof(char *));
    if (rc != 0)
        return rc;
    const char **types = snapshot->type_list.items;
    uint64_t hash = ouroi_hash_bytes(type, strlen(type));
    struct ouroi_index_slot *slot = ouroi_index_find(&snapshot->type_index, hash, same_type, types, type);
    if (slot->number == 0) {
        const char *copy = ouroi_snapshot_string(snapshot, type);
        if (copy == NULL)
            return -ENOMEM;
        types[snapshot->type_list.count] = copy;
        ouroi_index_put(&snapshot->type_index, slot, hash, (uint32_t)snapshot->type_list.count++);
    }
    *number = slot->number - 1;
    return 0;
}

int ouroi_snapshot_add(ouro_snapshot *snapshot, const void *const *frames, size_t frame_count, const char *type,
                       size_t size, size_t count)
{
    uint32_t number;
    if (frame_count > OUROI_FRAMES_MAX)
        frame_count = OUROI_FRAMES_MAX;
    int rc = find_type(snapshot, type, &number);
    if (rc != 0)
        return rc;
    if (snapshot->trace_count == UINT32_MAX - 1)
        return -ENOMEM;
    struct record *record = new_record(snapshot, sizeof *record + frame_count * sizeof record->frame[0]);
    if (record == NULL)
        return -ENOMEM;
    *record = (struct record){ .size = size, .count = count, .frames = (uint32_t)frame_count, .type = number };
    for (size_t i = 0; i < frame_count; i++)
        record->frame[i] = (uintptr_t)frames[i];
    snapshot->trace_count++;
    snapshot->frame_count += frame_count;
    return 0;
}

static bool same_address(const void *with, uint32_t number, const void *key)
{
    return ((const uint64_t *)with)[number] == *(const uint64_t *)key;
}

/* The number of an address, which it is given when it has none. */
static int intern_address(struct ouroi_index *index, struct ouroi_array *addresses, uint64_t address, uint32_t *number)
{
    int rc = ouroi_index_reserve(index);
    if (rc != 0)
        return rc;
    uint64_t hash = ouroi_hash_mix(0, address);
    struct ouroi_index_slot *slot = ouroi_index_find(index, hash, same_address, addresses->items, &address);
    if (slot->number == 0) {
        rc = ouroi_array_reserve(addresses, 1, sizeof address);
        if (rc != 0 || addresses->count == UINT32_MAX - 1)
            return -ENOMEM;
        ((uint64_t *)addresses->items)[addresses->count] = address;
        ouroi_index_put(index, slot, hash, (uint32_t)addresses->count++);
    }
    *number = slot->number - 1;
    return 0;
}

/* Makes traces and frames of the raw records, and frees those as it goes. */
static int settle(ouro_snapshot *snapshot, struct ouroi_array *addresses)
{
    snapshot->traces = ouroi_store_array(&snapshot->store, snapshot->trace_count, sizeof *snapshot->traces);
    snapshot->frames = ouroi_store_array(&snapshot->store, snapshot->frame_count, sizeof *snapshot->frames);
    if (snapshot->traces == NULL || snapshot->frames == NULL)
        return -ENOMEM;
    struct ouroi_trace *trace = snapshot->traces;
    size_t used = 0;
    while (snapshot->raw_first != NULL) {
        struct ouroi_raw *raw = snapshot->raw_first;
        for (size_t at = sizeof *raw; at < raw->used; trace++) {
            const struct record *record = (const void *)((const char *)raw + at);
            *trace = (struct ouroi_trace){ record->size, record->count, used, record->frames, record->type };
            for (uint32_t i = 0; i < record->frames; i++) {
                int rc =
                    intern_address(&snapshot->address_index, addresses, record->frame[i], &snapshot->frames[used++]);
                if (rc != 0)
                    return rc;
            }
            snapshot->size += record->size;
            snapshot->count += record->count;
            at += sizeof *record + record->frames * sizeof record->frame[0];
        }
        snapshot->raw_first = raw->next;
        (void)ouroi_os.unmap(raw, raw->bytes);
    }
    snapshot->raw_last = NULL;
    return 0;
}

static int copy_array(ouro_snapshot *snapshot, struct ouroi_array *from, size_t item_bytes, void **to)
{
    *to = ouroi_store_array(&snapshot->store, from->count, item_bytes);
    if (*to == NULL)
        return -ENOMEM;
    if (from->count != 0)
        memcpy(*to, from->items, from->count * item_bytes);
    return 0;
}

static int finish(ouro_snapshot *snapshot, struct ouroi_array *addresses)
{
    int rc = settle(snapshot, addresses);
    if (rc != 0)
        return rc;
    void *copy;
    rc = copy_array(snapshot, addresses, sizeof *snapshot->addresses, &copy);
    snapshot->addresses = copy;
    snapshot->address_count = addresses->count;
    if (rc == 0)
        rc = copy_array(snapshot, &snapshot->type_list, sizeof *snapshot->types, &copy);
    snapshot->types = copy;
    snapshot->type_count = snapshot->type_list.count;
    ouroi_index_free(&snapshot->type_index);
    ouroi_array_free(&snapshot->type_list);
    return rc != 0 ? rc : ouroi_modules_read(snapshot);
}

ouro_snapshot *ouroi_snapshot_finish(ouro_snapshot *snapshot)
{
    struct ouroi_array addresses = { 0 };
    int rc = finish(snapshot, &addresses);
    ouroi_array_free(&addresses);
    if (rc == 0)
        return snapshot;
    ouro_snapshot_free(snapshot);
    return NULL;
}

int ouroi_snapshot_index_address(ouro_snapshot *snapshot, uint32_t number)
{
    struct ouroi_index *index = &snapshot->address_index;
    uint64_t address = snapshot->addresses[number], hash = ouroi_hash_mix(0, address);
    if (ouroi_index_reserve(index) != 0)
        return -ENOMEM;
    struct ouroi_index_slot *slot = ouroi_index_find(index, hash, same_address, snapshot->addresses, &address);
    if (slot->number != 0)
        return -EEXIST;
    ouroi_index_put(index, slot, hash, number);
    return 0;
}

int ouroi_snapshot_find_address(ouro_snapshot *snapshot, uint64_t address, uint32_t *number)
{
    struct ouroi_index *index = &snapshot->address_index;
    while (index->used < snapshot->address_count) { /* filtered, and asked for the first time */
        int rc = ouroi_snapshot_index_address(snapshot, (uint32_t)index->used);
        if (rc != 0)
            return rc;
    }
    if (index->slots == NULL)
        return -ENOENT;
    const struct ouroi_index_slot *slot =
        ouroi_index_find(index, ouroi_hash_mix(0, address), same_address, snapshot->addresses, &address);
    if (slot->number == 0)
        return -ENOENT;
    *number = slot->number - 1;
    return 0;
}

void ouro_snapshot_free(ouro_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    for (struct ouroi_raw *raw = snapshot->raw_first, *next; raw != NULL; raw = next) {
        next = raw->next;
        (void)ouroi_os.unmap(raw, raw->bytes);
    }
    for (size_t i = 0; i < snapshot->module_count; i++)
        ouroi_symbols_close(snapshot->modules[i].symbols);
    ouroi_array_free(&snapshot->type_list);
    ouroi_index_free(&snapshot->type_index);
    ouroi_array_free(&snapshot->strings.items);
    ouroi_index_free(&snapshot->strings.index);
    ouroi_array_free(&snapshot->names);
    ouroi_index_free(&snapshot->address_index);
    struct ouroi_store store = snapshot->store;
    ouroi_store_free(&store);
}

/* Strings. */

struct piece {
    const char *text;
    size_t bytes;
};

static bool same_string(const void *with, uint32_t number, const void *key)
{
    const char *text = ((const char *const *)with)[number];
    const struct piece *piece = key;
    return strncmp(text, piece->text, piece->bytes) == 0 && text[piece->bytes] == '\0';
}

const char *ouroi_snapshot_string_bytes(ouro_snapshot *snapshot, const char *text, size_t bytes)
{
    struct ouroi_strings *strings = &snapshot->strings;
    if (ouroi_index_reserve(&strings->index) != 0 || ouroi_array_reserve(&strings->items, 1, sizeof(char *)) != 0 ||
        strings->items.count == UINT32_MAX - 1)
        return NULL;
    uint64_t hash = ouroi_hash_bytes(text, bytes);
    const char **items = strings->items.items;
    struct piece piece = { text, bytes };
    struct ouroi_index_slot *slot = ouroi_index_find(&strings->index, hash, same_string, items, &piece);
    if (slot->number == 0) {
        char *copy = ouroi_store_alloc(&snapshot->store, bytes + 1);
        if (copy == NULL)
            return NULL;
        memcpy(copy, text, bytes);
        items[strings->items.count] = copy;
        ouroi_index_put(&strings->index, slot, hash, (uint32_t)strings->items.count++);
    }
    return items[slot->number - 1];
}

const char *ouroi_snapshot_string(ouro_snapshot *snapshot, const char *text)
{
    return ouroi_snapshot_string_bytes(snapshot, text, strlen(text));
}

void ouro_snapshot_get_info(const ouro_snapshot *snapshot, ouro_snapshot_info *info)
{
    *info = (ouro_snapshot_info){ .program = snapshot->program,
                                  .time_ns = snapshot->time_ns,
                                  .pid = snapshot->pid,
                                  .sample_bytes = (size_t)snapshot->sample_bytes,
                                  .max_frames = snapshot->max_frames,
                                  .traces = snapshot->trace_count,
                                  .size = (size_t)snapshot->size,
                                  .count = (size_t)snapshot->count };
}

int ouro_snapshot_set_symbol_path(ouro_snapshot *snapshot, const char *folders)
{
    int rc = snapshot == NULL ? EINVAL : snapshot->named ? EBUSY : 0;
    const char *copy = NULL;
    if (rc == 0 && folders != NULL && (copy = ouroi_snapshot_string(snapshot, folders)) == NULL)
        rc = ENOMEM;
    if (rc != 0) {
        errno = rc;
        return -1;
    }
    snapshot->symbol_path = copy;
    return 0;
}
