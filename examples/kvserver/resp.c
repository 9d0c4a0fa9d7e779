/* kvserver/resp.c: the protocol, RESP2: requests are parsed as they come, replies wait in chunks until they are sent.
 *
 * Nothing is sized by what a peer claims: arguments and bytes are stored as they arrive.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kv.h"

enum {
    CHUNK_BYTES = 16384 - (int)sizeof(struct chunk),
    SENT_IN_PLACE = 4096, /* strings from this length on are not copied */
    SEGMENTS = 64,
    ARGS_MAX = 65536,
    LINE_MAX_BYTES = 65536,
};

/* ---- what goes out ---- */

static struct chunk *chunk_add(struct output *out, size_t room)
{
    struct chunk *chunk = ouro_malloc(sizeof *chunk + room);
    if (chunk == NULL) {
        out->failed = true;
        return NULL;
    }
    *chunk = (struct chunk){ .room = room };
    chunk->data = chunk->bytes;
    if (out->last != NULL)
        out->last->next = chunk;
    else
        out->first = chunk;
    out->last = chunk;
    return chunk;
}

void output_bytes(struct output *out, const void *bytes, size_t length)
{
    const char *from = bytes;
    while (length > 0) {
        struct chunk *chunk = out->last;
        if (chunk == NULL || chunk->used == chunk->room)
            chunk = chunk_add(out, CHUNK_BYTES);
        if (chunk == NULL)
            return;
        size_t now = chunk->room - chunk->used < length ? chunk->room - chunk->used : length;
        memcpy(chunk->bytes + chunk->used, from, now);
        chunk->used += now;
        out->bytes += now;
        from += now;
        length -= now;
    }
}

void output_text(struct output *out, const char *text)
{
    output_bytes(out, text, strlen(text));
}

/* A long string is kept by a reference until it is sent, whatever becomes of its key. */
void output_string(struct output *out, struct string *s)
{
    if (s->length < SENT_IN_PLACE) {
        output_bytes(out, s->bytes, s->length);
        return;
    }
    struct chunk *chunk = chunk_add(out, 0);
    if (chunk == NULL)
        return;
    chunk->owner = ouro_newref(s);
    chunk->data = s->bytes;
    chunk->used = chunk->room = s->length; /* full */
    out->bytes += s->length;
}

static void chunk_drop(struct output *out)
{
    struct chunk *chunk = out->first;
    out->first = chunk->next;
    if (out->first == NULL)
        out->last = NULL;
    ouro_xdecref(chunk->owner);
    ouro_free(chunk);
}

void output_free(struct output *out)
{
    while (out->first != NULL)
        chunk_drop(out);
    out->bytes = 0;
}

static void take_sent(struct output *out, size_t sent)
{
    out->bytes -= sent;
    while (sent > 0) {
        struct chunk *chunk = out->first;
        size_t here = chunk->used - chunk->sent < sent ? chunk->used - chunk->sent : sent;
        chunk->sent += here;
        sent -= here;
        if (chunk->sent < chunk->used)
            return;
        if (chunk->next == NULL && chunk->owner == NULL) { /* kept for the next replies */
            chunk->sent = chunk->used = 0;
            return;
        }
        chunk_drop(out);
    }
}

int output_send(struct output *out, int fd)
{
    while (out->bytes > 0) {
        struct iovec segments[SEGMENTS];
        int count = 0;
        for (struct chunk *chunk = out->first; chunk != NULL && count < SEGMENTS; chunk = chunk->next)
            segments[count++] =
                (struct iovec){ (void *)(uintptr_t)(chunk->data + chunk->sent), chunk->used - chunk->sent };
        ssize_t sent = writev(fd, segments, count);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        take_sent(out, (size_t)sent);
    }
    return 0;
}

void reply_ok(struct output *out)
{
    output_bytes(out, "+OK\r\n", 5);
}

void reply_error(struct output *out, const char *text)
{
    output_bytes(out, "-", 1);
    output_text(out, text);
    output_bytes(out, "\r\n", 2);
}

/* A type's letter, a number, the end of the line. */
static void reply_line(struct output *out, char type, long long number)
{
    char text[32], *at = text + sizeof text;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0)
        *--at = '-';
    *--at = type;
    output_bytes(out, at, (size_t)(text + sizeof text - at));
}

void reply_number(struct output *out, long long number)
{
    reply_line(out, ':', number);
}

void reply_array(struct output *out, size_t count)
{
    reply_line(out, '*', (long long)count);
}

void reply_bulk(struct output *out, const char *bytes, size_t length)
{
    reply_line(out, '$', (long long)length);
    output_bytes(out, bytes, length);
    output_bytes(out, "\r\n", 2);
}

void reply_value(struct output *out, struct string *s)
{
    if (s == NULL) {
        output_bytes(out, "$-1\r\n", 5);
        return;
    }
    reply_line(out, '$', (long long)s->length);
    output_string(out, s);
    output_bytes(out, "\r\n", 2);
}

/* ---- what comes in ---- */

void request_reset(struct request *request)
{
    for (size_t i = 0; i < request->count; i++)
        ouro_decref(request->args[i]);
    request->count = request->wanted = 0;
}

/* Each argument is an object: SET stores the very one that was parsed. */
static const char *request_add(struct request *request, const char *bytes, size_t length)
{
    if (request->count == request->room) {
        size_t room = request->room == 0 ? 8 : 2 * request->room;
        struct string **args = ouro_realloc(request->args, room * sizeof *args);
        if (args == NULL)
            return "ERR out of memory";
        request->args = args;
        request->room = room;
    }
    struct string *arg = string_new(bytes, length);
    if (arg == NULL)
        return "ERR out of memory";
    request->args[request->count++] = arg;
    return NULL;
}

/* The line at `at` without its end, or NULL if it is not all there. */
static const char *line_end(const char *at, const char *end, const char **next)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    if (newline == NULL)
        return NULL;
    *next = newline + 1;
    return newline > at && newline[-1] == '\r' ? newline - 1 : newline;
}

/* A number of at most nine digits, of all the bytes. */
static bool take_number(const char *at, const char *end, long *number)
{
    bool negative = at < end && *at == '-';
    at += negative;
    if (at == end || end - at > 9)
        return false;
    long value = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (*at - '0');
    }
    *number = negative ? -value : value;
    return true;
}

/* Words between blanks, as typed into telnet; quotes are not known. */
static enum parse_result parse_inline(struct request *request, const char *at, const char *end, const char **error)
{
    while (at < end) {
        while (at < end && isspace((unsigned char)*at))
            at++;
        const char *word = at;
        while (at < end && !isspace((unsigned char)*at))
            at++;
        if (at > word &&
            (request->count == ARGS_MAX || (*error = request_add(request, word, (size_t)(at - word))) != NULL))
            return PARSE_WRONG;
    }
    return PARSE_DONE;
}

static enum parse_result parse_head(struct request *request, const char **at, const char *end, const char **error)
{
    const char *next, *stop = line_end(*at, end, &next);
    long count;
    if (stop == NULL) {
        *error = "ERR Protocol error: too big inline request";
        return end - *at > LINE_MAX_BYTES ? PARSE_WRONG : PARSE_MORE;
    }
    const char *line = *at;
    *at = next;
    if (*line != '*')
        return parse_inline(request, line, stop, error);
    if (!take_number(line + 1, stop, &count) || count > ARGS_MAX) {
        *error = "ERR Protocol error: invalid multibulk length";
        return PARSE_WRONG;
    }
    request->wanted = count > 0 ? (size_t)count : 0;
    return PARSE_DONE;
}

static enum parse_result parse_argument(struct request *request, const char **at, const char *end, const char **error)
{
    const char *next, *stop = line_end(*at, end, &next);
    long length;
    *error = "ERR Protocol error: invalid bulk length";
    if (*at < end && **at != '$') {
        *error = "ERR Protocol error: expected '$'";
        return PARSE_WRONG;
    }
    if (stop == NULL)
        return end - *at > 32 ? PARSE_WRONG : PARSE_MORE;
    if (!take_number(*at + 1, stop, &length) || length < 0 || (size_t)length > options.max_bulk)
        return PARSE_WRONG;
    if (end - next < length + 2)
        return PARSE_MORE;
    if (next[length] != '\r' || next[length + 1] != '\n')
        return PARSE_WRONG;
    if ((*error = request_add(request, next, (size_t)length)) != NULL)
        return PARSE_WRONG;
    *at = next + length + 2;
    request->wanted--;
    return PARSE_DONE;
}

enum parse_result request_parse(struct request *request, const char **at, const char *end, const char **error)
{
    if (request->wanted == 0) {
        if (*at == end)
            return PARSE_MORE;
        enum parse_result result = parse_head(request, at, end, error);
        if (result != PARSE_DONE)
            return result;
    }
    while (request->wanted > 0) {
        enum parse_result result = parse_argument(request, at, end, error);
        if (result != PARSE_DONE)
            return result;
    }
    return PARSE_DONE;
}
