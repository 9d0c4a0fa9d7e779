/* fuzz/snapshot.c: a dump from bytes, and all that is asked of a snapshot.
 *
 * Bytes that begin as a dump does are read as they are, and again with length and checksum made right. Others are changes
 * to a small good dump: place and value, two bytes and one, its checksum made right too. A snapshot that comes of it must
 * bear every question; the sums of its groups are its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ouro/trace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace/snapshot_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 16 };

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition))
static void fail(const char *what)
{
    fprintf(stderr, "fuzz snapshot: %s\n", what);
    abort();
}

/* What can be asked; names are offsets, since no files are looked into. */
static void ask_all(ouro_snapshot *snapshot)
{
    const ouro_trace_stat *stats;
    ouro_snapshot_info info;
    ouro_snapshot_get_info(snapshot, &info);
    CHECK(strlen(info.program) < BYTES_MAX);
    for (ouro_trace_key key = OURO_BY_LINE; key <= OURO_BY_TRACEBACK; key++) {
        size_t count = ouro_snapshot_statistics(snapshot, key, &stats), sum = 0, blocks = 0;
        for (size_t i = 0; i < count; i++) {
            CHECK(i == 0 || stats[i - 1].size >= stats[i].size);
            CHECK(key == OURO_BY_TYPE || key == OURO_BY_FILE || stats[i].function == NULL ||
                  stats[i].function[0] != '\0');
            sum += stats[i].size;
            blocks += stats[i].count;
            for (size_t frame = 0; frame < stats[i].frame_count; frame++) {
                ouro_trace_symbol symbol;
                CHECK(ouro_snapshot_symbols(snapshot, stats[i].frames[frame], &symbol, 1) == 1);
            }
        }
        CHECK(sum == info.size && blocks == info.count);
        count = ouro_snapshot_compare(snapshot, snapshot, key, &stats);
        for (size_t i = 0; i < count; i++)
            CHECK(stats[i].size_diff == 0 && stats[i].count_diff == 0);
    }
    size_t halves = 0;
    for (int inclusive = 0; inclusive < 2; inclusive++) {
        ouro_snapshot_info half;
        ouro_snapshot *some = ouro_snapshot_filter(snapshot, "*lib*", inclusive);
        CHECK(some != NULL);
        ouro_snapshot_get_info(some, &half);
        halves += half.size;
        ouro_snapshot_free(some);
    }
    CHECK(halves == info.size);
    CHECK(ouro_snapshot_write_folded(snapshot, "/dev/null") == 0);
    CHECK(ouro_snapshot_write_pprof(snapshot, "/dev/null") == 0);
    CHECK(ouro_snapshot_dump(snapshot, "/dev/null") == 0);
}

static void try_bytes(const uint8_t *bytes, size_t count)
{
    int error = 0;
    uint8_t *exact = malloc(count + (count == 0)); /* a read past the end is seen */
    if (count != 0)
        memcpy(exact, bytes, count);
    ouro_snapshot *snapshot = ouroi_snapshot_parse(exact, count, &error);
    free(exact);
    CHECK(snapshot != NULL || error == -EBADMSG || error == -ENOTSUP);
    if (snapshot != NULL)
        ask_all(snapshot);
    ouro_snapshot_free(snapshot);
}

static void make_right(uint8_t *bytes, uint64_t count)
{
    memcpy(bytes + OUROI_HEADER_FILE_BYTES, &count, 8);
    memset(bytes + OUROI_HEADER_CRC, 0, 4);
    uint32_t crc = ouroi_crc(0, bytes, count);
    memcpy(bytes + OUROI_HEADER_CRC, &crc, 4);
}

/* Two modules, four traces, two types. */
static ouro_snapshot *make_good(void)
{
    static const uint64_t addresses[] = { 0x401000, 0x401234, 0x7f0000001000, 0x7f0000002000, 5 };
    static const uint32_t frames[] = { 2, 0, 1, 3, 2, 0, 4 };
    ouro_snapshot *snapshot = ouroi_snapshot_new();
    CHECK(snapshot != NULL);
    struct ouroi_store *store = &snapshot->store;
    snapshot->modules = ouroi_store_array(store, 2, sizeof *snapshot->modules);
    snapshot->segments = ouroi_store_array(store, 2, sizeof *snapshot->segments);
    snapshot->addresses = ouroi_store_array(store, 5, sizeof *snapshot->addresses);
    snapshot->frames = ouroi_store_array(store, 7, sizeof *snapshot->frames);
    snapshot->types = ouroi_store_array(store, 2, sizeof *snapshot->types);
    snapshot->traces = ouroi_store_array(store, 4, sizeof *snapshot->traces);
    snapshot->modules[0] = (struct ouroi_module){ .path = "/usr/bin/server", .main = true, .build_id_bytes = 20 };
    snapshot->modules[1] = (struct ouroi_module){ .path = "/usr/lib/libpart.so.1", .bias = 0x7f0000000000 };
    snapshot->segments[0] = (struct ouroi_segment){ .start = 0x400000, .end = 0x500000, .flags = 5 };
    snapshot->segments[1] =
        (struct ouroi_segment){ .start = 0x7f0000000000, .end = 0x7f0000008000, .flags = 5, .module = 1 };
    memcpy(snapshot->addresses, addresses, sizeof addresses);
    memcpy(snapshot->frames, frames, sizeof frames);
    snapshot->types[0] = "node";
    snapshot->types[1] = "session";
    snapshot->traces[0] = (struct ouroi_trace){ 4096, 3, 0, 3, OUROI_NO_TYPE };
    snapshot->traces[1] = (struct ouroi_trace){ 70000, 1, 3, 3, 0 };
    snapshot->traces[2] = (struct ouroi_trace){ 100, 2, 6, 1, 1 };
    snapshot->traces[3] = (struct ouroi_trace){ 1, 1, 0, 0, OUROI_NO_TYPE };
    snapshot->module_count = snapshot->segment_count = snapshot->type_count = 2;
    snapshot->address_count = 5;
    snapshot->frame_count = 7;
    snapshot->trace_count = 4;
    snapshot->library_start = 0x7f0000002000;
    snapshot->library_end = 0x7f0000003000;
    snapshot->program = "/usr/bin/server";
    snapshot->machine = "x86_64";
    snapshot->max_frames = 8;
    snapshot->time_ns = 1;
    snapshot->pid = 2;
    return snapshot;
}

static uint8_t good[4096];
static size_t good_bytes;

static void dump_good(void)
{
    char path[64];
    int fd = memfd_create("good", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ouro_snapshot *snapshot = make_good();
    CHECK(ouro_snapshot_dump(snapshot, path) == 0);
    ouro_snapshot_free(snapshot);
    ssize_t got = pread(fd, good, sizeof good, 0);
    CHECK(got > OUROI_HEADER_BYTES && got < (ssize_t)sizeof good);
    good_bytes = (size_t)got;
    close(fd);
    int error;
    snapshot = ouroi_snapshot_parse(good, good_bytes, &error);
    CHECK(snapshot != NULL);
    ouro_snapshot_free(snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[BYTES_MAX];
    ouroi_names_without_files = true;
    ouroi_gzip_stored = size % 2 == 0;
    if (good_bytes == 0)
        dump_good();
    if (size > sizeof bytes)
        return 0;
    if (size >= 8 && memcmp(data, OUROI_SNAPSHOT_MAGIC, 8) == 0) {
        try_bytes(data, size);
        if (size < OUROI_HEADER_BYTES)
            return 0;
        memcpy(bytes, data, size);
        make_right(bytes, size);
        try_bytes(bytes, size);
        return 0;
    }
    memcpy(bytes, good, good_bytes);
    for (size_t i = 0; i + 3 <= size && i < 3 * 4; i += 3) /* few changes: many would all be refused */
        bytes[OUROI_HEADER_BYTES + (data[i] | (size_t)data[i + 1] << 8) % (good_bytes - OUROI_HEADER_BYTES)] =
            data[i + 2];
    make_right(bytes, good_bytes);
    try_bytes(bytes, good_bytes);
    return 0;
}
