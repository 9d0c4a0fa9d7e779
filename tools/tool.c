/* tools/tool.c: errors, numbers for people, terminals. */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static void say(const char *format, va_list list)
{
    char line[2048];
    size_t length = (size_t)snprintf(line, sizeof line, "ouro: ");
    int more = vsnprintf(line + length, sizeof line - length - 1, format, list);
    length += more > 0 ? (size_t)more : 0;
    length = length < sizeof line - 2 ? length : sizeof line - 2;
    line[length++] = '\n';
    fflush(stdout);
    ssize_t ignored = write(STDERR_FILENO, line, length);
    (void)ignored;
}

void tool_error(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
}

int tool_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say(format, list);
    va_end(list);
    return TOOL_FAILED;
}

int tool_usage(const char *command)
{
    fprintf(stderr, "Try 'ouro %s%s--help'.\n", command != NULL ? command : "", command != NULL ? " " : "");
    return TOOL_USAGE;
}

int tool_help(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        size_t heading = strcspn(line, " :\n");
        if (line[0] >= 'A' && line[0] <= 'Z' && line[heading] == ':')
            printf("%s%.*s%s%.*s\n", tool_style(stdout, TOOL_BOLD), (int)heading + 1, line,
                   tool_style(stdout, TOOL_PLAIN), (int)(length - heading - 1), line + heading + 1);
        else
            printf("%.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
    return tool_flush();
}

bool tool_number(const char *option, const char *text, bool units, uint64_t low, uint64_t high, uint64_t *number)
{
    static const char names[] = "kMGT";
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    bool good = text[0] >= '0' && text[0] <= '9' && errno == 0;
    if (good && units && *end != '\0') {
        const char *unit = strchr(names, *end == 'K' ? 'k' : *end);
        unsigned shift = unit != NULL ? 10 * (unsigned)(unit - names + 1) : 0;
        good = unit != NULL && value << shift >> shift == value;
        value <<= shift;
        end++;
    }
    if (!good || *end != '\0' || value < low || value > high) {
        tool_error("%s: %s is no number from %llu to %llu", option, text, (unsigned long long)low,
                   (unsigned long long)high);
        return false;
    }
    *number = value;
    return true;
}

int tool_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return tool_fail("cannot write the output: %s", strerror(errno));
    return TOOL_OK;
}

const char *tool_style(FILE *out, enum tool_style style)
{
    static const char *const escapes[] = {
        [TOOL_PLAIN] = "\033[0m",  [TOOL_BOLD] = "\033[1m",    [TOOL_DIM] = "\033[2m",   [TOOL_RED] = "\033[31m",
        [TOOL_GREEN] = "\033[32m", [TOOL_YELLOW] = "\033[33m", [TOOL_BLUE] = "\033[34m", [TOOL_CYAN] = "\033[36m",
    };
    const char *refused = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if ((refused != NULL && *refused != '\0') || terminal == NULL || strcmp(terminal, "dumb") == 0 ||
        !isatty(fileno(out)))
        return "";
    return escapes[style];
}

static unsigned extent(FILE *out, const char *variable, bool rows, unsigned otherwise)
{
    const char *set = getenv(variable);
    unsigned long value = set != NULL ? strtoul(set, NULL, 10) : 0;
    struct winsize size;
    if (!isatty(fileno(out)))
        return otherwise;
    if (value > 0 && value < 10000)
        return (unsigned)value;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return otherwise;
    return rows ? size.ws_row : size.ws_col;
}

unsigned tool_columns(FILE *out, unsigned otherwise)
{
    return extent(out, "COLUMNS", false, otherwise);
}

unsigned tool_rows(FILE *out, unsigned otherwise)
{
    return extent(out, "LINES", true, otherwise);
}

/* A number with three digits and its unit, of which each is `step` times the one before. */
static struct tool_text scaled(double value, double step, const char *const *units, const char *sign)
{
    struct tool_text out;
    unsigned unit = 0;
    while (value >= (step == 1024 ? 1023.5 : 999.5) && units[unit + 1] != NULL) {
        value /= step;
        unit++;
    }
    int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out.text, sizeof out.text, "%s%.*f%s%s", sign, digits, value, *units[unit] != '\0' ? " " : "",
             units[unit]);
    return out;
}

static const char *const byte_units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL };

struct tool_text tool_bytes(double bytes)
{
    return scaled(bytes < 0 ? -bytes : bytes, 1024, byte_units, bytes < 0 ? "-" : "");
}

struct tool_text tool_signed_bytes(double bytes)
{
    return scaled(bytes < 0 ? -bytes : bytes, 1024, byte_units, bytes < 0 ? "-" : bytes > 0 ? "+" : "");
}

struct tool_text tool_count(double count)
{
    static const char *const units[] = { "", "k", "M", "G", "T", NULL };
    return scaled(count < 0 ? -count : count, 1000, units, count < 0 ? "-" : "");
}

struct tool_text tool_duration(double ns)
{
    static const char *const units[] = { "ns", "us", "ms", "s", NULL };
    return scaled(ns, 1000, units, "");
}

struct tool_text tool_percent(double part, double whole)
{
    struct tool_text out;
    snprintf(out.text, sizeof out.text, "%.1f%%", whole > 0 ? 100 * part / whole : 0.0);
    return out;
}

struct tool_text tool_grouped(uint64_t count)
{
    struct tool_text out;
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = out.text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

static void *there(void *p, size_t size)
{
    if (p == NULL && size != 0) {
        tool_error("out of memory");
        exit(TOOL_FAILED);
    }
    return p;
}

void *tool_alloc(size_t size)
{
    return there(malloc(size), size);
}

void *tool_alloc_zero(size_t count, size_t size)
{
    return there(calloc(count, size), count * size);
}

void *tool_realloc(void *p, size_t count, size_t size)
{
    return there(reallocarray(p, count, size), size);
}

char *tool_format(const char *format, ...)
{
    va_list list;
    char *text = NULL;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0)
        text = NULL;
    va_end(list);
    return there(text, 1);
}

uint64_t tool_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Progress. */

#define PROGRESS_AFTER_NS ((uint64_t)500000000)
#define PROGRESS_EACH_NS ((uint64_t)100000000)

void tool_progress_begin(struct tool_progress *progress, const char *what, uint64_t total)
{
    *progress = (struct tool_progress){ .what = what, .total = total, .begun_ns = tool_now_ns() };
    progress->wanted = isatty(STDERR_FILENO);
}

void tool_progress_step(struct tool_progress *progress, uint64_t done)
{
    if (!progress->wanted)
        return;
    uint64_t now = tool_now_ns();
    if (now - progress->begun_ns < PROGRESS_AFTER_NS || now - progress->shown_ns < PROGRESS_EACH_NS)
        return;
    progress->shown_ns = now;
    progress->shown = true;
    if (progress->total != 0)
        fprintf(stderr, "\r\033[K%s: %s", progress->what, tool_percent((double)done, (double)progress->total).text);
    else
        fprintf(stderr, "\r\033[K%s: %s", progress->what, tool_count((double)done).text);
}

void tool_progress_end(struct tool_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
