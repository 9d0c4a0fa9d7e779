/* trace/file.c: a file that is written, and appears under its name when it is whole.
 *
 * A regular file, or one that is not there yet, is written beside its place and renamed; what is none (a pipe, a terminal)
 * is written to as it is. The first error stays, and what follows is not written.
 *
 * Sync        none: belongs to the thread that writes. Its buffer is mapped, and nothing is taken from a heap.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 << 10 };

static void write_all(struct ouroi_out *out, const uint8_t *bytes, size_t count)
{
    while (count > 0 && out->error == 0) {
        ssize_t written = write(out->fd, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            out->error = written < 0 ? -errno : -EIO;
            return;
        }
        bytes += written;
        count -= (size_t)written;
    }
}

/* Where the file goes. What a link points to is written in place, and the link stays. */
static int choose_place(struct ouroi_out *out, const char *path)
{
    struct stat status;
    size_t length = path != NULL ? strlen(path) : 0;
    if (length == 0)
        return path != NULL ? -ENOENT : -EINVAL;
    if (length + 32 > sizeof out->path)
        return -ENAMETOOLONG;
    memcpy(out->path, path, length + 1);
    out->temporary[0] = '\0';
    if (lstat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return 0; /* in place; opening says what is wrong with a folder */
    ouroi_format(out->temporary, sizeof out->temporary, "%s.%d.part", path, (int)getpid());
    return 0;
}

int ouroi_out_open(struct ouroi_out *out, const char *path)
{
    int error = choose_place(out, path);
    out->fd = -1;
    out->used = 0;
    out->error = error;
    if (error != 0)
        return error;
    out->buffer = ouroi_os.map(NULL, BUFFER_BYTES, OUROI_MAP_ANYWHERE, &error);
    if (out->buffer == NULL)
        return out->error = -ENOMEM;
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY;
    out->fd = open(out->temporary[0] != '\0' ? out->temporary : out->path, flags, 0666);
    if (out->fd < 0) {
        out->error = -errno;
        (void)ouroi_os.unmap(out->buffer, BUFFER_BYTES);
    }
    return out->error;
}

static void flush(struct ouroi_out *out)
{
    write_all(out, out->buffer, out->used);
    out->used = 0;
}

void ouroi_out_put(struct ouroi_out *out, const void *bytes, size_t count)
{
    if (count > BUFFER_BYTES - out->used) {
        flush(out);
        if (count >= BUFFER_BYTES) {
            write_all(out, bytes, count);
            return;
        }
    }
    memcpy(out->buffer + out->used, bytes, count);
    out->used += count;
}

int ouroi_out_close(struct ouroi_out *out, int error)
{
    if (out->error == 0)
        out->error = error;
    flush(out);
    (void)ouroi_os.unmap(out->buffer, BUFFER_BYTES);
    if (close(out->fd) != 0 && out->error == 0)
        out->error = -errno;
    if (out->temporary[0] != '\0') {
        if (out->error == 0 && rename(out->temporary, out->path) != 0)
            out->error = -errno;
        if (out->error != 0)
            unlink(out->temporary);
    }
    return out->error;
}
