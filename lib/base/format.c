/* base/format.c: messages, printed without allocation.
 *
 * Owns        the line that a failing process leaves on stderr.
 * Sync        none; each line is one write().
 */
#include "base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct out {
    char *text;
    size_t used, size;
};

static void put_char(struct out *out, char c)
{
    if (out->used + 1 < out->size)
        out->text[out->used++] = c;
}

static void put_text(struct out *out, const char *text)
{
    for (; *text != '\0'; text++)
        put_char(out, *text);
}

static void put_number(struct out *out, uint64_t value, unsigned base)
{
    char digits[24];
    unsigned n = 0;
    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (n > 0)
        put_char(out, digits[--n]);
}

static void put_signed(struct out *out, int64_t value)
{
    if (value < 0)
        put_char(out, '-');
    put_number(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
}

/* One conversion, its length modifiers already counted in longs (2: 64 bits). */
static void put_conversion(struct out *out, char kind, unsigned longs, va_list *list)
{
    switch (kind) {
    case 's': {
        const char *text = va_arg(*list, const char *);
        put_text(out, text != NULL ? text : "(null)");
        break;
    }
    case 'p':
        put_text(out, "0x");
        put_number(out, (uintptr_t)va_arg(*list, void *), 16);
        break;
    case 'd':
        put_signed(out, longs > 0 ? va_arg(*list, int64_t) : va_arg(*list, int));
        break;
    case 'u':
    case 'x':
        put_number(out, longs > 0 ? va_arg(*list, uint64_t) : va_arg(*list, unsigned), kind == 'x' ? 16 : 10);
        break;
    default:
        put_char(out, kind);
        break;
    }
}

size_t ouroi_format_list(char *text, size_t size, const char *format, va_list list)
{
    struct out out = { text, 0, size };
    va_list copy;
    va_copy(copy, list);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put_char(&out, *format);
            continue;
        }
        unsigned longs = 0;
        for (format++; *format == 'l' || *format == 'z'; format++)
            longs++;
        if (*format == '\0')
            break;
        put_conversion(&out, *format, longs, &copy);
    }
    va_end(copy);
    if (size > 0)
        text[out.used] = '\0';
    return out.used;
}

size_t ouroi_format(char *text, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    size_t used = ouroi_format_list(text, size, format, list);
    va_end(list);
    return used;
}

static void write_line(const char *format, va_list list)
{
    char line[512];
    size_t used = ouroi_format(line, sizeof line, "ouro: ");
    used += ouroi_format_list(line + used, sizeof line - used - 1, format, list);
    line[used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}

void ouroi_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    write_line(format, list);
    va_end(list);
    abort();
}

void ouroi_warn(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    write_line(format, list);
    va_end(list);
}
