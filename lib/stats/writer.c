/* stats/writer.c: text on its way to a file descriptor.
 *
 * Owns        the mapping that a writer has for the time of a call.
 * Sync        none: a writer belongs to one call.
 */
#include "stats/stats.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "os/os.h"

#define ROOM_BYTES ((size_t)256 << 10) /* more than everything on a machine of 64 nodes: one write */
#define LITTLE_BYTES 1024              /* where there is no memory: many writes */

static void flush(struct ouroi_writer *writer)
{
    for (size_t done = 0; done < writer->used && writer->error == 0;) {
        ssize_t n = write(writer->fd, writer->text + done, writer->used - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            writer->error = n == 0 ? EIO : errno;
    }
    writer->used = 0;
}

int ouroi_stats_write(int fd, void (*write_all)(struct ouroi_writer *writer))
{
    int saved = errno, error;
    char little[LITTLE_BYTES];
    struct ouroi_writer writer = { .fd = fd, .room = ROOM_BYTES };
    void *room = ouroi_os.map(NULL, ROOM_BYTES, OUROI_MAP_ANYWHERE, &error);
    writer.text = room;
    if (room == NULL) {
        writer.text = little;
        writer.room = sizeof little;
    }
    write_all(&writer);
    flush(&writer);
    if (room != NULL)
        ouroi_os.unmap(room, ROOM_BYTES);
    errno = writer.error != 0 ? writer.error : saved;
    return writer.error != 0 ? -1 : 0;
}

/* No single piece of text is longer than this. */
enum { PIECE_BYTES = 512 };
_Static_assert((int)PIECE_BYTES <= (int)LITTLE_BYTES, "a piece fits in any room");

void ouroi_writer_put(struct ouroi_writer *writer, const char *format, ...)
{
    va_list list;
    if (writer->room - writer->used < PIECE_BYTES)
        flush(writer);
    va_start(list, format);
    writer->used += ouroi_format_list(writer->text + writer->used, PIECE_BYTES, format, list);
    va_end(list);
}

void ouroi_writer_put_seconds(struct ouroi_writer *writer, uint64_t ns)
{
    char digits[10] = "000000000";
    uint64_t part = ns % 1000000000u;
    for (unsigned i = 9; i-- > 0; part /= 10)
        digits[i] = (char)('0' + part % 10);
    ouroi_writer_put(writer, "%lu.%s", (unsigned long)(ns / 1000000000u), digits);
}

static void put_key(struct ouroi_writer *writer, const char *key)
{
    ouroi_writer_put(writer, writer->separate ? ", " : "");
    if (key != NULL)
        ouroi_writer_put(writer, "\"%s\": ", key);
    writer->separate = true;
}

void ouroi_json_open(struct ouroi_writer *writer, const char *key, char bracket)
{
    put_key(writer, key);
    ouroi_writer_put(writer, "%s", bracket == '{' ? "{" : "[");
    writer->separate = false;
}

void ouroi_json_close(struct ouroi_writer *writer, char bracket)
{
    ouroi_writer_put(writer, "%s", bracket == '}' ? "}" : "]");
    writer->separate = true;
}

void ouroi_json_number(struct ouroi_writer *writer, const char *key, uint64_t value)
{
    put_key(writer, key);
    ouroi_writer_put(writer, "%lu", (unsigned long)value);
}

void ouroi_json_bool(struct ouroi_writer *writer, const char *key, bool value)
{
    put_key(writer, key);
    ouroi_writer_put(writer, "%s", value ? "true" : "false");
}

void ouroi_json_text(struct ouroi_writer *writer, const char *key, const char *value)
{
    put_key(writer, key);
    ouroi_writer_put(writer, "\"%s\"", value);
}

void ouroi_metric_family(struct ouroi_writer *writer, const char *name, const char *type, const char *unit,
                         const char *help)
{
    ouroi_writer_put(writer, "# TYPE %s %s\n", name, type);
    if (unit != NULL)
        ouroi_writer_put(writer, "# UNIT %s %s\n", name, unit);
    ouroi_writer_put(writer, "# HELP %s %s\n", name, help);
}

void ouroi_metric_counter(struct ouroi_writer *writer, const char *name, const char *unit, const char *help,
                          uint64_t value)
{
    ouroi_metric_family(writer, name, "counter", unit, help);
    ouroi_writer_put(writer, "%s_total %lu\n", name, (unsigned long)value);
}

void ouroi_metric_gauge(struct ouroi_writer *writer, const char *name, const char *unit, const char *help,
                        uint64_t value)
{
    ouroi_metric_family(writer, name, "gauge", unit, help);
    ouroi_writer_put(writer, "%s %lu\n", name, (unsigned long)value);
}
