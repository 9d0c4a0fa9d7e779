/* trace/dump.c: a snapshot written to a file: see docs/formats.md. load.c reads it.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_format.h"

#include <errno.h>
#include <string.h>

static void put_string(struct ouroi_bytes *bytes, const char *text)
{
    size_t length = strlen(text);
    ouroi_bytes_number(bytes, length);
    ouroi_bytes_put(bytes, text, length);
}

static void put_info(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    ouroi_bytes_number(bytes, snapshot->address_bytes);
    ouroi_bytes_number(bytes, snapshot->max_frames);
    ouroi_bytes_number(bytes, snapshot->sample_bytes);
    ouroi_bytes_number(bytes, snapshot->time_ns);
    ouroi_bytes_number(bytes, snapshot->pid);
    ouroi_bytes_number(bytes, snapshot->library_start);
    ouroi_bytes_number(bytes, snapshot->library_end);
    put_string(bytes, snapshot->program);
    put_string(bytes, snapshot->machine);
}

static void put_modules(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    ouroi_bytes_number(bytes, snapshot->module_count);
    for (size_t i = 0; i < snapshot->module_count; i++) {
        const struct ouroi_module *module = &snapshot->modules[i];
        put_string(bytes, module->path);
        ouroi_bytes_number(bytes, module->main);
        ouroi_bytes_number(bytes, module->bias);
        ouroi_bytes_number(bytes, module->build_id_bytes);
        ouroi_bytes_put(bytes, module->build_id, module->build_id_bytes);
    }
    ouroi_bytes_number(bytes, snapshot->segment_count);
    for (size_t i = 0; i < snapshot->segment_count; i++) {
        const struct ouroi_segment *segment = &snapshot->segments[i];
        ouroi_bytes_number(bytes, segment->module);
        ouroi_bytes_number(bytes, segment->start);
        ouroi_bytes_number(bytes, segment->end - segment->start);
        ouroi_bytes_number(bytes, segment->file_offset);
        ouroi_bytes_number(bytes, segment->flags);
    }
}

static void put_addresses(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    uint64_t last = 0;
    ouroi_bytes_number(bytes, snapshot->address_count);
    for (size_t i = 0; i < snapshot->address_count; i++) {
        uint64_t difference = snapshot->addresses[i] - last;
        last = snapshot->addresses[i];
        /* zigzag: small differences of either sign are short */
        ouroi_bytes_number(bytes, (difference << 1) ^ (0 - (difference >> 63)));
    }
}

static void put_types(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    ouroi_bytes_number(bytes, snapshot->type_count);
    for (size_t i = 0; i < snapshot->type_count; i++)
        put_string(bytes, snapshot->types[i]);
}

static void put_traces(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    ouroi_bytes_number(bytes, snapshot->trace_count);
    ouroi_bytes_number(bytes, snapshot->frame_count);
    for (size_t i = 0; i < snapshot->trace_count; i++) {
        const struct ouroi_trace *trace = &snapshot->traces[i];
        ouroi_bytes_number(bytes, trace->size);
        ouroi_bytes_number(bytes, trace->count);
        ouroi_bytes_number(bytes, trace->type != OUROI_NO_TYPE ? trace->type + (uint64_t)1 : 0);
        ouroi_bytes_number(bytes, trace->frames);
        for (uint32_t frame = 0; frame < trace->frames; frame++)
            ouroi_bytes_number(bytes, snapshot->frames[trace->first + frame]);
    }
}

static void put_word(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void put_section(struct ouroi_bytes *bytes, const char *tag, const ouro_snapshot *snapshot,
                        void (*put)(struct ouroi_bytes *, const ouro_snapshot *))
{
    uint8_t head[OUROI_SECTION_BYTES] = { 0 };
    size_t at = bytes->array.count;
    memcpy(head, tag, 4);
    ouroi_bytes_put(bytes, head, sizeof head);
    put(bytes, snapshot);
    if (bytes->error == 0)
        put_word((uint8_t *)bytes->array.items + at + 8, bytes->array.count - at - sizeof head, 8);
}

/* The whole file's bytes. */
static void put_all(struct ouroi_bytes *bytes, const ouro_snapshot *snapshot)
{
    uint8_t head[OUROI_HEADER_BYTES] = { 0 };
    ouroi_bytes_put(bytes, head, sizeof head);
    put_section(bytes, "INFO", snapshot, put_info);
    put_section(bytes, "MODS", snapshot, put_modules);
    put_section(bytes, "ADDR", snapshot, put_addresses);
    put_section(bytes, "TYPE", snapshot, put_types);
    put_section(bytes, "TRAC", snapshot, put_traces);
    if (bytes->error != 0)
        return;
    uint8_t *at = bytes->array.items;
    memcpy(at, OUROI_SNAPSHOT_MAGIC, 8);
    put_word(at + OUROI_HEADER_VERSION, OUROI_SNAPSHOT_VERSION, 4);
    put_word(at + OUROI_HEADER_SIZE, OUROI_HEADER_BYTES, 4);
    put_word(at + OUROI_HEADER_FILE_BYTES, bytes->array.count, 8);
    put_word(at + OUROI_HEADER_CRC, ouroi_crc(0, at, bytes->array.count), 4);
}

int ouro_snapshot_dump(ouro_snapshot *snapshot, const char *path)
{
    struct ouroi_bytes bytes = { 0 };
    struct ouroi_out out;
    int rc = snapshot != NULL ? ouroi_out_open(&out, path) : -EINVAL;
    if (rc == 0) {
        put_all(&bytes, snapshot);
        if (bytes.error == 0)
            ouroi_out_put(&out, bytes.array.items, bytes.array.count);
        rc = ouroi_out_close(&out, bytes.error);
        ouroi_bytes_free(&bytes);
    }
    if (rc != 0)
        errno = -rc;
    return rc == 0 ? 0 : -1;
}
