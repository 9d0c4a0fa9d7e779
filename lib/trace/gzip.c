/* trace/gzip.c: bytes as a gzip file (RFC 1952), by zlib, opened when first needed; where the process cannot have it, as
 * stored blocks (RFC 1951, 3.2.4), which every reader takes.
 *
 * Sync        none: belongs to the thread that writes. zlib allocates by the process's malloc.
 */
#include "trace/libdw.h"
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { OUT_BYTES = 64 << 10, STORED_MOST = 65535, IN_MOST = 1 << 30 };

bool ouroi_gzip_stored;

struct zlib {
    __typeof__(&deflateInit2_) init;
    __typeof__(&deflate) deflate;
    __typeof__(&deflateEnd) end;
};

static bool find_zlib(struct zlib *zlib)
{
    void *library = ouroi_gzip_stored ? NULL : ouroi_libdw_open("libz.so.1");
    if (library == NULL)
        return false;
    void *init = ouroi_libdw_function(library, "deflateInit2_"), *step = ouroi_libdw_function(library, "deflate"),
         *end = ouroi_libdw_function(library, "deflateEnd");
    memcpy(&zlib->init, &init, sizeof init);
    memcpy(&zlib->deflate, &step, sizeof step);
    memcpy(&zlib->end, &end, sizeof end);
    return init != NULL && step != NULL && end != NULL;
}

/* 0, or -ENOMEM with nothing written. */
static int compress_all(const struct zlib *zlib, struct ouroi_out *out, const uint8_t *bytes, size_t count)
{
    uint8_t buffer[OUT_BYTES];
    z_stream stream = { 0 };
    if (zlib->init(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, sizeof stream) !=
        Z_OK)
        return -ENOMEM;
    int rc = Z_OK;
    while (rc != Z_STREAM_END && out->error == 0) {
        if (stream.avail_in == 0 && count > 0) {
            stream.next_in = (z_const Bytef *)(uintptr_t)bytes; /* zlib writes nothing there */
            stream.avail_in = count < IN_MOST ? (uInt)count : (uInt)IN_MOST;
            bytes += stream.avail_in;
            count -= stream.avail_in;
        }
        stream.next_out = buffer;
        stream.avail_out = sizeof buffer;
        rc = zlib->deflate(&stream, count == 0 ? Z_FINISH : Z_NO_FLUSH);
        ouroi_out_put(out, buffer, sizeof buffer - stream.avail_out);
    }
    zlib->end(&stream);
    return 0;
}

static void put_word(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void store_all(struct ouroi_out *out, const uint8_t *bytes, size_t count)
{
    static const uint8_t head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };
    uint8_t tail[8];
    put_word(tail, ouroi_crc(0, bytes, count));
    put_word(tail + 4, (uint32_t)count);
    ouroi_out_put(out, head, sizeof head);
    do {
        size_t part = count < STORED_MOST ? count : STORED_MOST;
        uint8_t block[5] = { part == count, (uint8_t)part, (uint8_t)(part >> 8), (uint8_t)~part,
                             (uint8_t)(~part >> 8) };
        ouroi_out_put(out, block, sizeof block);
        ouroi_out_put(out, bytes, part);
        bytes += part;
        count -= part;
    } while (count > 0);
    ouroi_out_put(out, tail, sizeof tail);
}

void ouroi_gzip_write(struct ouroi_out *out, const uint8_t *bytes, size_t count)
{
    struct zlib zlib;
    if (!find_zlib(&zlib) || compress_all(&zlib, out, bytes, count) != 0)
        store_all(out, bytes, count);
}
