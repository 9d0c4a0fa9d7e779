/* trace/pprof.c: a snapshot as profile.proto, the format of pprof (its fields by their numbers, in protobuf's encoding).
 *
 * Messages are written as they are met, samples first, then what they refer to; strings come last. A location is an
 * address of the snapshot, and its id that number plus one; so with modules and mappings. Functions are numbered as met.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

/* Numbers of fields. */
enum profile_field {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE = 2,
    PROFILE_MAPPING = 3,
    PROFILE_LOCATION = 4,
    PROFILE_FUNCTION = 5,
    PROFILE_STRING = 6,
    PROFILE_TIME_NS = 9,
    PROFILE_PERIOD_TYPE = 11,
    PROFILE_PERIOD = 12,
    PROFILE_DEFAULT_SAMPLE_TYPE = 14,
};
enum value_type_field { TYPE_TYPE = 1, TYPE_UNIT = 2 };
enum sample_field { SAMPLE_LOCATIONS = 1, SAMPLE_VALUES = 2, SAMPLE_LABEL = 3 };
enum label_field { LABEL_KEY = 1, LABEL_TEXT = 2 };
enum mapping_field {
    MAPPING_ID = 1,
    MAPPING_START = 2,
    MAPPING_END = 3,
    MAPPING_FILE_OFFSET = 4,
    MAPPING_FILE = 5,
    MAPPING_BUILD_ID = 6,
    MAPPING_FUNCTIONS = 7,
    MAPPING_FILES = 8,
    MAPPING_LINES = 9,
    MAPPING_INLINED = 10,
};
enum location_field { LOCATION_ID = 1, LOCATION_MAPPING = 2, LOCATION_ADDRESS = 3, LOCATION_LINE = 4 };
enum line_field { LINE_FUNCTION = 1, LINE_LINE = 2 };
enum function_field { FUNCTION_ID = 1, FUNCTION_NAME = 2, FUNCTION_SYSTEM_NAME = 3, FUNCTION_FILE = 4 };

struct writing {
    ouro_snapshot *snapshot;
    struct ouroi_bytes out, message, inner;
    struct ouroi_array strings; /* const char *, each once; equal ones have equal addresses */
    struct ouroi_index string_index;
    struct ouroi_array functions; /* struct ouroi_name, without lines */
    struct ouroi_index function_index;
    uint8_t *used; /* addresses */
    int error;
};

static void fail(struct writing *w, int error)
{
    if (w->error == 0)
        w->error = error;
}

static void put_number(struct ouroi_bytes *bytes, unsigned field, uint64_t value)
{
    ouroi_bytes_number(bytes, field << 3);
    ouroi_bytes_number(bytes, value);
}

static void put_bytes(struct ouroi_bytes *bytes, unsigned field, const void *from, size_t count)
{
    ouroi_bytes_number(bytes, field << 3 | 2);
    ouroi_bytes_number(bytes, count);
    ouroi_bytes_put(bytes, from, count);
}

/* Writes a finished message as a field, and empties it. */
static void put_message(struct ouroi_bytes *bytes, unsigned field, struct ouroi_bytes *message)
{
    put_bytes(bytes, field, message->array.count != 0 ? message->array.items : "", message->array.count);
    if (message->error != 0 && bytes->error == 0)
        bytes->error = message->error;
    message->array.count = 0;
}

static bool same_string(const void *with, uint32_t number, const void *key)
{
    return ((const char *const *)with)[number] == key;
}

/* The number of one of the snapshot's strings; NULL is "". */
static uint64_t string_number(struct writing *w, const char *text)
{
    text = ouroi_snapshot_string(w->snapshot, text != NULL ? text : "");
    if (text == NULL || ouroi_index_reserve(&w->string_index) != 0 ||
        ouroi_array_reserve(&w->strings, 1, sizeof text) != 0) {
        fail(w, -ENOMEM);
        return 0;
    }
    uint64_t hash = ouroi_hash_mix(0, (uintptr_t)text);
    struct ouroi_index_slot *slot = ouroi_index_find(&w->string_index, hash, same_string, w->strings.items, text);
    if (slot->number == 0) {
        ((const char **)w->strings.items)[w->strings.count] = text;
        ouroi_index_put(&w->string_index, slot, hash, (uint32_t)w->strings.count++);
    }
    return slot->number - 1;
}

static bool same_function(const void *with, uint32_t number, const void *key)
{
    const struct ouroi_name *one = &((const struct ouroi_name *)with)[number], *other = key;
    return one->function == other->function && one->file == other->file;
}

static uint64_t function_id(struct writing *w, const struct ouroi_name *name)
{
    if (ouroi_index_reserve(&w->function_index) != 0 || ouroi_array_reserve(&w->functions, 1, sizeof *name) != 0) {
        fail(w, -ENOMEM);
        return 1;
    }
    uint64_t hash = ouroi_hash_mix(ouroi_hash_mix(0, (uintptr_t)name->function), (uintptr_t)name->file);
    struct ouroi_index_slot *slot = ouroi_index_find(&w->function_index, hash, same_function, w->functions.items, name);
    if (slot->number == 0) {
        ((struct ouroi_name *)w->functions.items)[w->functions.count] = *name;
        ouroi_index_put(&w->function_index, slot, hash, (uint32_t)w->functions.count++);
    }
    return slot->number;
}

static void put_value_type(struct writing *w, unsigned field, const char *type, const char *unit)
{
    put_number(&w->message, TYPE_TYPE, string_number(w, type));
    put_number(&w->message, TYPE_UNIT, string_number(w, unit));
    put_message(&w->out, field, &w->message);
}

static void put_samples(struct writing *w)
{
    const ouro_snapshot *snapshot = w->snapshot;
    uint64_t label = string_number(w, "type");
    for (size_t i = 0; i < snapshot->trace_count; i++) {
        const struct ouroi_trace *trace = &snapshot->traces[i];
        uint32_t first = ouroi_names_first_outside(snapshot, trace);
        for (uint32_t frame = first < trace->frames ? first : 0; frame < trace->frames; frame++) {
            uint32_t address = snapshot->frames[trace->first + frame];
            w->used[address] = 1;
            ouroi_bytes_number(&w->inner, address + (uint64_t)1);
        }
        put_message(&w->message, SAMPLE_LOCATIONS, &w->inner);
        ouroi_bytes_number(&w->inner, trace->count);
        ouroi_bytes_number(&w->inner, trace->size);
        put_message(&w->message, SAMPLE_VALUES, &w->inner);
        if (trace->type != OUROI_NO_TYPE) {
            put_number(&w->inner, LABEL_KEY, label);
            put_number(&w->inner, LABEL_TEXT, string_number(w, snapshot->types[trace->type]));
            put_message(&w->message, SAMPLE_LABEL, &w->inner);
        }
        put_message(&w->out, PROFILE_SAMPLE, &w->message);
    }
}

static void put_location(struct writing *w, uint32_t address)
{
    ouro_snapshot *snapshot = w->snapshot;
    int rc = ouroi_names_of(snapshot, address);
    if (rc != 0) {
        fail(w, rc);
        return;
    }
    const struct ouroi_place *place = &snapshot->places[address];
    put_number(&w->message, LOCATION_ID, address + (uint64_t)1);
    if (place->module != OUROI_NO_MODULE)
        put_number(&w->message, LOCATION_MAPPING, place->module + (uint64_t)1);
    put_number(&w->message, LOCATION_ADDRESS, snapshot->addresses[address]);
    for (uint32_t i = 0; i < place->names; i++) {
        const struct ouroi_name *name = &((const struct ouroi_name *)snapshot->names.items)[place->first_name + i];
        put_number(&w->inner, LINE_FUNCTION, function_id(w, name));
        put_number(&w->inner, LINE_LINE, name->line);
        put_message(&w->message, LOCATION_LINE, &w->inner);
    }
    put_message(&w->out, PROFILE_LOCATION, &w->message);
}

/* The segment of a module that pprof is told of: that with the code. */
static const struct ouroi_segment *code_segment(const ouro_snapshot *snapshot, uint32_t module)
{
    const struct ouroi_segment *best = NULL;
    for (size_t i = 0; i < snapshot->segment_count; i++) {
        const struct ouroi_segment *segment = &snapshot->segments[i];
        if (segment->module == module && (best == NULL || ((segment->flags & PF_X) != 0 && (best->flags & PF_X) == 0)))
            best = segment;
    }
    return best;
}

static void put_mapping(struct writing *w, uint32_t number)
{
    const struct ouroi_module *module = &w->snapshot->modules[number];
    const struct ouroi_segment *segment = code_segment(w->snapshot, number);
    char build_id[2 * OUROI_BUILD_ID_MAX + 1] = "";
    for (uint32_t i = 0; i < module->build_id_bytes; i++) {
        unsigned byte = module->build_id[i];
        ouroi_format(build_id + 2 * i, sizeof build_id - 2 * i, byte < 16 ? "0%x" : "%x", byte);
    }
    put_number(&w->message, MAPPING_ID, number + (uint64_t)1);
    if (segment != NULL) {
        put_number(&w->message, MAPPING_START, segment->start);
        put_number(&w->message, MAPPING_END, segment->end);
        put_number(&w->message, MAPPING_FILE_OFFSET, segment->file_offset);
    }
    put_number(&w->message, MAPPING_FILE, string_number(w, module->path));
    put_number(&w->message, MAPPING_BUILD_ID, string_number(w, build_id));
    put_number(&w->message, MAPPING_FUNCTIONS, module->functions);
    put_number(&w->message, MAPPING_FILES, module->lines);
    put_number(&w->message, MAPPING_LINES, module->lines);
    put_number(&w->message, MAPPING_INLINED, module->inlined);
    put_message(&w->out, PROFILE_MAPPING, &w->message);
}

static void put_function(struct writing *w, uint64_t id, const struct ouroi_name *name)
{
    put_number(&w->message, FUNCTION_ID, id);
    put_number(&w->message, FUNCTION_NAME, string_number(w, name->function));
    put_number(&w->message, FUNCTION_SYSTEM_NAME, string_number(w, name->function));
    put_number(&w->message, FUNCTION_FILE, string_number(w, name->file));
    put_message(&w->out, PROFILE_FUNCTION, &w->message);
}

static void put_profile(struct writing *w)
{
    const ouro_snapshot *snapshot = w->snapshot;
    (void)string_number(w, ""); /* pprof wants it first */
    put_value_type(w, PROFILE_SAMPLE_TYPE, "inuse_objects", "count");
    put_value_type(w, PROFILE_SAMPLE_TYPE, "inuse_space", "bytes");
    put_samples(w);
    for (uint32_t i = 0; i < snapshot->address_count && w->error == 0; i++) {
        if (w->used[i])
            put_location(w, i);
    }
    for (uint32_t i = 0; i < snapshot->module_count; i++)
        put_mapping(w, i);
    for (size_t i = 0; i < w->functions.count; i++)
        put_function(w, i + 1, &((const struct ouroi_name *)w->functions.items)[i]);
    put_number(&w->out, PROFILE_TIME_NS, snapshot->time_ns);
    put_value_type(w, PROFILE_PERIOD_TYPE, "space", "bytes");
    put_number(&w->out, PROFILE_PERIOD, snapshot->sample_bytes != 0 ? snapshot->sample_bytes : 1);
    put_number(&w->out, PROFILE_DEFAULT_SAMPLE_TYPE, string_number(w, "inuse_space"));
    for (size_t i = 0; i < w->strings.count; i++) {
        const char *text = ((const char *const *)w->strings.items)[i];
        put_bytes(&w->out, PROFILE_STRING, text, strlen(text));
    }
    fail(w, w->out.error);
}

/* The profile's bytes, to be freed. 0 or -ENOMEM. */
static int make_profile(ouro_snapshot *snapshot, struct ouroi_bytes *profile)
{
    struct writing w = { .snapshot = snapshot };
    struct ouroi_array used = { 0 };
    int rc = ouroi_names_places(snapshot);
    if (rc == 0)
        rc = ouroi_array_reserve(&used, snapshot->address_count, 1);
    if (rc == 0) {
        w.used = used.items;
        put_profile(&w);
        rc = w.error;
    }
    ouroi_array_free(&used);
    ouroi_bytes_free(&w.message);
    ouroi_bytes_free(&w.inner);
    ouroi_array_free(&w.strings);
    ouroi_index_free(&w.string_index);
    ouroi_array_free(&w.functions);
    ouroi_index_free(&w.function_index);
    *profile = w.out;
    return rc;
}

int ouro_snapshot_write_pprof(ouro_snapshot *snapshot, const char *path)
{
    struct ouroi_bytes profile = { 0 };
    struct ouroi_out out;
    int rc = snapshot != NULL ? ouroi_out_open(&out, path) : -EINVAL;
    if (rc == 0) {
        rc = make_profile(snapshot, &profile);
        if (rc == 0)
            ouroi_gzip_write(&out, profile.array.items, profile.array.count);
        rc = ouroi_out_close(&out, rc);
        ouroi_bytes_free(&profile);
    }
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? 0 : -1;
}
