/* trace/load.c: reads what dump.c wrote, and whatever else it is given.
 *
 * A file may come from anywhere. Nothing is believed: each count is checked against the bytes that are left before memory
 * is asked for it, and each number against what it is a number of, so that memory is bounded by a constant times the bytes of
 * the file. What is wrong anywhere is -EBADMSG.
 *
 * Sync        none.
 */
#include "trace/snapshot_format.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The rest of a section. error: 0 or what is wrong; then all reads are 0. */
struct reader {
    const uint8_t *at, *end;
    int error;
};

static void damaged(struct reader *reader)
{
    reader->at = reader->end;
    if (reader->error == 0)
        reader->error = -EBADMSG;
}

static uint64_t get_long_number(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    damaged(reader);
    return 0;
}

OUROI_INLINE uint64_t get_number(struct reader *reader)
{
    if (OUROI_LIKELY(reader->at < reader->end && *reader->at < 128))
        return *reader->at++;
    return get_long_number(reader);
}

static uint64_t get_at_most(struct reader *reader, uint64_t most)
{
    uint64_t value = get_number(reader);
    if (value <= most)
        return value;
    damaged(reader);
    return 0;
}

/* A count of items that have at least `least` bytes each. */
static size_t get_count(struct reader *reader, size_t least)
{
    uint64_t count = get_number(reader);
    if (count <= (uint64_t)(reader->end - reader->at) / least && count < UINT32_MAX)
        return (size_t)count;
    damaged(reader);
    return 0;
}

static const char *get_string(struct reader *reader, ouro_snapshot *snapshot)
{
    size_t length = get_count(reader, 1);
    if (reader->error == 0 && memchr(reader->at, '\0', length) != NULL)
        damaged(reader);
    if (reader->error != 0)
        return "";
    const char *text = ouroi_snapshot_string_bytes(snapshot, (const char *)reader->at, length);
    reader->at += length;
    if (text == NULL)
        reader->error = -ENOMEM;
    return text != NULL ? text : "";
}

static void *get_array(struct reader *reader, ouro_snapshot *snapshot, size_t count, size_t item_bytes)
{
    void *array = reader->error == 0 ? ouroi_store_array(&snapshot->store, count, item_bytes) : NULL;
    if (array == NULL && reader->error == 0)
        reader->error = -ENOMEM;
    return array;
}

static void get_info(struct reader *reader, ouro_snapshot *snapshot)
{
    snapshot->address_bytes = (uint32_t)get_at_most(reader, 8);
    snapshot->max_frames = (uint32_t)get_at_most(reader, UINT32_MAX);
    snapshot->sample_bytes = get_number(reader);
    snapshot->time_ns = get_number(reader);
    snapshot->pid = get_number(reader);
    snapshot->library_start = get_number(reader);
    snapshot->library_end = get_number(reader);
    snapshot->program = get_string(reader, snapshot);
    snapshot->machine = get_string(reader, snapshot);
}

static void get_module(struct reader *reader, ouro_snapshot *snapshot, struct ouroi_module *module)
{
    module->path = get_string(reader, snapshot);
    module->main = get_at_most(reader, 1) != 0;
    module->bias = get_number(reader);
    module->build_id_bytes = (uint32_t)get_at_most(reader, OUROI_BUILD_ID_MAX);
    if (module->build_id_bytes > (size_t)(reader->end - reader->at)) {
        module->build_id_bytes = 0;
        damaged(reader);
    }
    memcpy(module->build_id, reader->at, module->build_id_bytes);
    reader->at += module->build_id_bytes;
}

static void get_segment(struct reader *reader, ouro_snapshot *snapshot, struct ouroi_segment *segment)
{
    segment->module = (uint32_t)get_at_most(reader, UINT32_MAX);
    segment->start = get_number(reader);
    if (segment->module >= snapshot->module_count ||
        __builtin_add_overflow(segment->start, get_number(reader), &segment->end))
        damaged(reader);
    segment->file_offset = get_number(reader);
    segment->flags = (uint32_t)get_at_most(reader, UINT32_MAX);
}

static void get_modules(struct reader *reader, ouro_snapshot *snapshot)
{
    size_t count = get_count(reader, 4);
    snapshot->modules = get_array(reader, snapshot, count, sizeof *snapshot->modules);
    for (size_t i = 0; i < count && reader->error == 0; i++) {
        get_module(reader, snapshot, &snapshot->modules[i]);
        snapshot->module_count++;
    }
    count = get_count(reader, 5);
    snapshot->segments = get_array(reader, snapshot, count, sizeof *snapshot->segments);
    for (size_t i = 0; i < count && reader->error == 0; i++) {
        get_segment(reader, snapshot, &snapshot->segments[i]);
        snapshot->segment_count++;
    }
    if (reader->error == 0)
        ouroi_modules_ready(snapshot);
}

/* What is listed is listed once. */
static void once(struct reader *reader, int rc)
{
    if (rc == -EEXIST)
        damaged(reader);
    else if (rc != 0)
        reader->error = rc;
}

static void get_addresses(struct reader *reader, ouro_snapshot *snapshot)
{
    size_t count = get_count(reader, 1);
    uint64_t last = 0;
    snapshot->addresses = get_array(reader, snapshot, count, sizeof *snapshot->addresses);
    for (size_t i = 0; i < count && reader->error == 0; i++) {
        uint64_t zigzag = get_number(reader);
        last += (zigzag >> 1) ^ (0 - (zigzag & 1));
        snapshot->addresses[i] = last;
        snapshot->address_count++;
        if (reader->error == 0)
            once(reader, ouroi_snapshot_index_address(snapshot, (uint32_t)i));
    }
}

static bool same_type(const void *with, uint32_t number, const void *key)
{
    return ((const char *const *)with)[number] == key; /* equal strings have equal addresses */
}

static int index_type(ouro_snapshot *snapshot, uint32_t number)
{
    const char *type = snapshot->types[number];
    uint64_t hash = ouroi_hash_mix(0, (uintptr_t)type);
    if (ouroi_index_reserve(&snapshot->type_index) != 0)
        return -ENOMEM;
    struct ouroi_index_slot *slot = ouroi_index_find(&snapshot->type_index, hash, same_type, snapshot->types, type);
    if (slot->number != 0)
        return -EEXIST;
    ouroi_index_put(&snapshot->type_index, slot, hash, number);
    return 0;
}

static void get_types(struct reader *reader, ouro_snapshot *snapshot)
{
    size_t count = get_count(reader, 1);
    snapshot->types = get_array(reader, snapshot, count, sizeof *snapshot->types);
    for (size_t i = 0; i < count && reader->error == 0; i++) {
        snapshot->types[i] = get_string(reader, snapshot);
        snapshot->type_count++;
        if (reader->error == 0)
            once(reader, index_type(snapshot, (uint32_t)i));
    }
}

static void get_trace(struct reader *reader, ouro_snapshot *snapshot, size_t frames, struct ouroi_trace *trace)
{
    trace->size = get_number(reader);
    trace->count = get_number(reader);
    trace->type = (uint32_t)get_at_most(reader, snapshot->type_count) - 1; /* 0 is OUROI_NO_TYPE */
    trace->frames = (uint32_t)get_at_most(reader, frames - snapshot->frame_count);
    trace->first = snapshot->frame_count;
    for (uint32_t i = 0; i < trace->frames && reader->error == 0; i++) {
        uint64_t number = get_number(reader);
        if (number >= snapshot->address_count)
            damaged(reader);
        snapshot->frames[snapshot->frame_count++] = (uint32_t)number;
    }
    /* Sums are within what pprof and the differences of two can say. */
    if (trace->size > INT64_MAX - snapshot->size || trace->count > INT64_MAX - snapshot->count)
        damaged(reader);
    snapshot->size += trace->size;
    snapshot->count += trace->count;
}

static void get_traces(struct reader *reader, ouro_snapshot *snapshot)
{
    size_t count = get_count(reader, 4), frames = get_count(reader, 1);
    snapshot->traces = get_array(reader, snapshot, count, sizeof *snapshot->traces);
    snapshot->frames = get_array(reader, snapshot, frames, sizeof *snapshot->frames);
    for (size_t i = 0; i < count && reader->error == 0; i++) {
        get_trace(reader, snapshot, frames, &snapshot->traces[i]);
        snapshot->trace_count += reader->error == 0;
    }
    if (snapshot->frame_count != frames)
        damaged(reader);
}

static const struct {
    char tag[4];
    void (*get)(struct reader *, ouro_snapshot *);
} sections[] = { /* in the order that files have them: later ones are checked against earlier ones */
                 { { 'I', 'N', 'F', 'O' }, get_info },
                 { { 'M', 'O', 'D', 'S' }, get_modules },
                 { { 'A', 'D', 'D', 'R' }, get_addresses },
                 { { 'T', 'Y', 'P', 'E' }, get_types },
                 { { 'T', 'R', 'A', 'C' }, get_traces }
};
enum { SECTIONS = sizeof sections / sizeof sections[0] };

static uint64_t word_at(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static bool crc_is_right(const uint8_t *bytes, size_t count)
{
    static const uint8_t zero[4];
    uint32_t crc = ouroi_crc(0, bytes, OUROI_HEADER_CRC);
    crc = ouroi_crc(crc, zero, sizeof zero);
    crc = ouroi_crc(crc, bytes + OUROI_HEADER_CRC + 4, count - OUROI_HEADER_CRC - 4);
    return crc == word_at(bytes + OUROI_HEADER_CRC, 4);
}

/* Whether a file that begins so can be read, and how long it is. */
static int check_header(const uint8_t *bytes, uint64_t *file_bytes)
{
    if (memcmp(bytes, OUROI_SNAPSHOT_MAGIC, 8) != 0)
        return -EBADMSG;
    uint64_t version = word_at(bytes + OUROI_HEADER_VERSION, 4);
    if (version > OUROI_SNAPSHOT_VERSION)
        return -ENOTSUP;
    *file_bytes = word_at(bytes + OUROI_HEADER_FILE_BYTES, 8);
    if (version == 0 || *file_bytes < OUROI_HEADER_BYTES || *file_bytes > SIZE_MAX / 4 ||
        word_at(bytes + OUROI_HEADER_SIZE, 4) != OUROI_HEADER_BYTES)
        return -EBADMSG;
    return 0;
}

/* Reads all sections; those with other tags are left out. */
static int get_sections(const uint8_t *at, const uint8_t *end, ouro_snapshot *snapshot)
{
    unsigned next = 0;
    while (at < end) {
        if ((size_t)(end - at) < OUROI_SECTION_BYTES)
            return -EBADMSG;
        uint64_t bytes = word_at(at + 8, 8);
        struct reader reader = { .at = at + OUROI_SECTION_BYTES };
        if (bytes > (uint64_t)(end - reader.at))
            return -EBADMSG;
        reader.end = reader.at + bytes;
        if (next < SECTIONS && memcmp(at, sections[next].tag, 4) == 0) {
            sections[next].get(&reader, snapshot);
            if (reader.error == 0 && reader.at != reader.end)
                reader.error = -EBADMSG;
            if (reader.error != 0)
                return reader.error;
            next++;
        }
        at = reader.end;
    }
    return next == SECTIONS ? 0 : -EBADMSG;
}

ouro_snapshot *ouroi_snapshot_parse(const uint8_t *bytes, size_t count, int *error)
{
    uint64_t file_bytes;
    *error = count < OUROI_HEADER_BYTES ? -EBADMSG : check_header(bytes, &file_bytes);
    if (*error == 0 && (file_bytes != count || !crc_is_right(bytes, count)))
        *error = -EBADMSG;
    if (*error != 0)
        return NULL;
    ouro_snapshot *snapshot = ouroi_snapshot_new();
    *error = snapshot == NULL ? -ENOMEM : get_sections(bytes + OUROI_HEADER_BYTES, bytes + count, snapshot);
    if (*error == 0)
        return snapshot;
    ouro_snapshot_free(snapshot);
    return NULL;
}

/* Reads until `wanted` bytes are there or the file ends. */
static int read_up_to(int fd, struct ouroi_array *bytes, uint64_t wanted)
{
    while (bytes->count < wanted) {
        size_t room = 1 << 20;
        int rc = ouroi_array_reserve(bytes, room, 1);
        if (rc != 0)
            return rc;
        room = bytes->room - bytes->count;
        if (room > wanted - bytes->count)
            room = (size_t)(wanted - bytes->count);
        ssize_t got = read(fd, (uint8_t *)bytes->items + bytes->count, room);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            return -EBADMSG;
        bytes->count += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int read_file(int fd, struct ouroi_array *bytes)
{
    uint64_t file_bytes;
    int rc = read_up_to(fd, bytes, OUROI_HEADER_BYTES);
    if (rc == 0)
        rc = check_header(bytes->items, &file_bytes);
    if (rc == 0)
        rc = read_up_to(fd, bytes, file_bytes);
    if (rc != 0)
        return rc;
    uint8_t more;
    ssize_t got = read(fd, &more, 1);
    return got == 0 ? 0 : got > 0 ? -EBADMSG : -errno;
}

ouro_snapshot *ouro_snapshot_load(const char *path)
{
    struct ouroi_array bytes = { 0 };
    ouro_snapshot *snapshot = NULL;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
    int rc = path == NULL ? -EINVAL : fd < 0 ? -errno : read_file(fd, &bytes);
    if (rc == 0)
        snapshot = ouroi_snapshot_parse(bytes.items, bytes.count, &rc);
    if (fd >= 0)
        close(fd);
    ouroi_array_free(&bytes);
    if (rc != 0)
        errno = -rc;
    return snapshot;
}
