/* tools/top.c: `ouro top`: a running process's heap and collector, on the terminal or line by line.
 *
 * Two readings of the process make the rates. On a terminal the screen is written over at each; 'q' or ^C ends it, and
 * whatever ends it, the terminal is as it was.
 */
#include "process.h"
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "Usage: ouro top [OPTIONS] PID\n"
    "\n"
    "Shows the heap of a running process that has libouro_malloc or libouro in it, however it got there:\n"
    "memory, calls a second, size classes, collections and their pauses. It is read out of the process's\n"
    "memory: the process is neither stopped nor slowed, and need not answer.\n"
    "\n"
    "Options:\n"
    "  -i, --interval SECONDS  between two readings, 0.1 to 3600 (1)\n"
    "  -n, --count N           ends after N readings\n"
    "  -b, --batch             a line for each reading, for a log; with the first, one of headings\n"
    "  -1, --once              one reading, all of it, totals instead of rates\n"
    "      --library NAME      libouro_malloc or libouro, where the process has both (the first found)\n"
    "  -h, --help              this text\n"
    "\n"
    "On the terminal: q ends it.\n"
    "\n"
    "Examples:\n"
    "  ouro top $(pidof server)\n"
    "  ouro top --batch --interval 10 $(pidof server) >> heap.log\n"
    "  ouro top --once 4711\n"
    "\n"
    "RSS is the kernel's, of the whole process. Resident is the heap's, and an upper bound. Numbers of a\n"
    "process that works are not all of one moment. Other users' processes are root's to look into.\n";

struct reading {
    uint64_t at_ns;
    struct process_figures figures;
    struct process_kernel kernel;
};

struct top {
    struct process process;
    size_t lib;
    struct reading last, now;
    bool has_last;
};

/* A process that has ended, or has become another program, is the end. */
static bool take(struct top *top)
{
    struct reading *now = &top->now;
    now->at_ns = tool_now_ns();
    return process_kernel(&top->process, &now->kernel) && process_read(&top->process, top->lib, &now->figures) &&
           (!top->has_last || now->kernel.started_ticks == top->last.kernel.started_ticks);
}

/* Per second; a counter that seems to have gone back was read while it changed. */
static double rate(const struct top *top, uint64_t now, uint64_t last)
{
    double seconds = (double)(top->now.at_ns - top->last.at_ns) / 1e9;
    return top->has_last && now > last && seconds > 0 ? (double)(now - last) / seconds : 0;
}
#define RATE(top, member) rate(top, (top)->now.figures.member, (top)->last.figures.member)

static uint64_t sum(const uint64_t *of)
{
    return of[0] + of[1] + of[2];
}

/* The whole picture. */

static void show_head(const struct top *top, FILE *out)
{
    const struct process_library *library = top->process.lib[top->lib];
    time_t now = time(NULL);
    struct tm local;
    char clock[16] = "";
    if (localtime_r(&now, &local) != NULL)
        strftime(clock, sizeof clock, "%H:%M:%S", &local);
    fprintf(out, "%s%s (%d)%s  %s %s  %s", tool_style(stdout, TOOL_BOLD), top->process.name, (int)top->process.pid,
            tool_style(stdout, TOOL_PLAIN), process_library_name(library), process_library_version(library), clock);
    if (top->has_last)
        fprintf(out, "  CPU %.0f%%",
                100 * (double)(top->now.kernel.cpu_ns - top->last.kernel.cpu_ns) /
                    (double)(top->now.at_ns - top->last.at_ns));
    fputc('\n', out);
}

static void show_memory(const struct top *top, FILE *out)
{
    const struct process_figures *now = &top->now.figures;
    const struct process_kernel *kernel = &top->now.kernel;
    fprintf(out, "RSS        %-10s peak %-10s threads %llu, %llu with a heap\n",
            tool_bytes((double)kernel->resident).text, tool_bytes((double)kernel->peak_resident).text,
            (unsigned long long)kernel->threads, (unsigned long long)now->threads);
    fprintf(out, "allocated  %-10s peak %-10s in %s blocks\n", tool_bytes((double)now->allocated).text,
            tool_bytes((double)now->peak).text, tool_grouped(now->mallocs - now->frees).text);
    fprintf(out, "resident   %-10s committed %-10s given back %s\n", tool_bytes((double)now->resident).text,
            tool_bytes((double)now->committed).text, tool_bytes((double)now->purged).text);
    fprintf(out, "large      %-10s in %s blocks of more than 32 KiB; %s pools of smaller ones\n",
            tool_bytes((double)now->large_bytes).text, tool_grouped(now->large_blocks).text,
            tool_grouped(now->pools).text);
    if (top->has_last)
        fprintf(out, "mallocs/s  %-10s frees/s %-10s by other threads %s\n", tool_count(RATE(top, mallocs)).text,
                tool_count(RATE(top, frees)).text, tool_percent(RATE(top, remote_frees), RATE(top, frees)).text);
    fprintf(out, "mallocs    %s  frees %s  by other threads %s\n", tool_grouped(now->mallocs).text,
            tool_grouped(now->frees).text, tool_percent((double)now->remote_frees, (double)now->frees).text);
}

static void show_durations(const struct process_durations *durations, FILE *out)
{
    fprintf(out, "median %s, 99%% %s, longest %s", tool_duration((double)process_quantile(durations, 500)).text,
            tool_duration((double)process_quantile(durations, 990)).text,
            tool_duration((double)durations->max_ns).text);
}

static void show_collector(const struct top *top, FILE *out)
{
    const struct process_figures *now = &top->now.figures, *last = &top->last.figures;
    if (!now->has_gc)
        return;
    fprintf(out, "collections ");
    for (unsigned g = 0; g < PROCESS_GENERATIONS; g++) {
        fprintf(out, "%s%s", g == 0 ? "" : " / ", tool_grouped(now->collections[g]).text);
        if (top->has_last)
            fprintf(out, " (%.3g/s)", rate(top, now->collections[g], last->collections[g]));
    }
    fprintf(out, " of generations 0 / 1 / 2\n");
    fprintf(out, "collected  %s objects, %s uncollectable; %llu workers\n", tool_grouped(sum(now->collected)).text,
            tool_grouped(sum(now->uncollectable)).text, (unsigned long long)now->last_workers);
    fprintf(out, "pauses     last %s, ", tool_duration((double)now->last_pause_ns).text);
    show_durations(&now->pauses, out);
    double stopped = rate(top, now->pauses.total_ns, last->pauses.total_ns) / 1e9;
    if (top->has_last) /* a pause that began before the last reading is counted whole at its end */
        fprintf(out, "; stopped for %s of the time", tool_percent(stopped < 1 ? stopped : 1, 1).text);
    fprintf(out, "\nstopping   ");
    show_durations(&now->stops, out);
    fprintf(out, "; part of the pauses\n");
}

static const struct top *sorted; /* for qsort */

static uint64_t class_bytes(size_t c)
{
    const struct process_class *class = &sorted->now.figures.class[c];
    return (class->mallocs - class->frees) * class->size;
}

static int by_bytes(const void *a, const void *b)
{
    uint64_t x = class_bytes(*(const size_t *)a), y = class_bytes(*(const size_t *)b);
    return x < y ? 1 : x > y ? -1 : 0;
}

static void show_classes(const struct top *top, FILE *out, unsigned rows)
{
    static const char *const heads[] = { "size", "living", "bytes", "mallocs/s", "frees/s", "pools", "in use" },
                             *const once[] = { "size", "living", "bytes", "mallocs", "frees", "pools", "in use" };
    const struct process_figures *now = &top->now.figures;
    size_t order[PROCESS_CLASSES], count = 0;
    for (size_t c = 1; c < now->classes; c++)
        if (now->class[c].pools != 0)
            order[count++] = c;
    sorted = top;
    qsort(order, count, sizeof *order, by_bytes);
    struct tool_table *table = tool_table_new(">>>>>>>", top->has_last ? heads : once);
    for (size_t i = 0; i < count && i < rows; i++) {
        const struct process_class *class = &now->class[order[i]], *last = &top->last.figures.class[order[i]];
        uint64_t living = class->mallocs - class->frees;
        tool_table_cell(table, "%llu", (unsigned long long)class->size);
        tool_table_cell(table, "%s", tool_grouped(living).text);
        tool_table_cell(table, "%s", tool_bytes((double)(living * class->size)).text);
        if (top->has_last) {
            tool_table_cell(table, "%s", tool_count(rate(top, class->mallocs, last->mallocs)).text);
            tool_table_cell(table, "%s", tool_count(rate(top, class->frees, last->frees)).text);
        } else {
            tool_table_cell(table, "%s", tool_grouped(class->mallocs).text);
            tool_table_cell(table, "%s", tool_grouped(class->frees).text);
        }
        tool_table_cell(table, "%s", tool_grouped(class->pools).text);
        tool_table_cell(table, "%s", tool_percent((double)(living * class->size), (double)class->pool_bytes).text);
    }
    if (rows > 0 && count > 0)
        tool_table_print(table, out, 0);
    tool_table_free(table);
}

static void show_all(const struct top *top, FILE *out, unsigned rows)
{
    show_head(top, out);
    show_memory(top, out);
    show_collector(top, out);
    fputc('\n', out);
    show_classes(top, out, rows);
}

/* A line for each reading. */

static void show_line(const struct top *top)
{
    const struct process_figures *now = &top->now.figures;
    char clock[32] = "";
    time_t seconds = time(NULL);
    struct tm local;
    if (localtime_r(&seconds, &local) != NULL)
        strftime(clock, sizeof clock, "%FT%T%z", &local);
    printf("%s %llu %llu %llu %llu %.0f %.0f %llu %.3g %llu %llu\n", clock,
           (unsigned long long)top->now.kernel.resident / 1024, (unsigned long long)now->allocated / 1024,
           (unsigned long long)now->resident / 1024, (unsigned long long)now->committed / 1024, RATE(top, mallocs),
           RATE(top, frees), (unsigned long long)top->now.kernel.threads,
           rate(top, sum(now->collections), sum(top->last.figures.collections)),
           (unsigned long long)now->last_pause_ns / 1000, (unsigned long long)now->pauses.max_ns / 1000);
}

/* The terminal. */

static struct termios before;
static bool changed;

static void restore_terminal(void)
{
    static const char sequence[] = "\033[?25h\033[?1049l"; /* the cursor; the screen that was */
    if (!changed)
        return;
    changed = false;
    ssize_t ignored = write(STDOUT_FILENO, sequence, sizeof sequence - 1);
    (void)ignored;
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void end_by_signal(int signo)
{
    restore_terminal();
    signal(signo, SIG_DFL);
    raise(signo);
}

static void prepare_terminal(void)
{
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return;
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    changed = true;
    atexit(restore_terminal);
    static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        signal(all[i], end_by_signal);
    printf("\033[?1049h\033[?25l");
}

static void draw(const struct top *top)
{
    char *text = NULL;
    size_t length = 0;
    unsigned rows = tool_rows(stdout, 24);
    FILE *out = open_memstream(&text, &length); /* in one piece: nothing flickers */
    if (out == NULL)
        return;
    show_all(top, out, rows > 15 ? rows - 15 : 0);
    fclose(out);
    printf("\033[H");
    for (char *line = text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            break;
        printf("%.*s\033[K\n", (int)(end - line), line);
    }
    printf("\033[J");
    fflush(stdout);
    free(text);
}

/* Waits until the time. False: the user has had enough. */
static bool wait_until(uint64_t deadline_ns, bool keys)
{
    for (uint64_t now; (now = tool_now_ns()) < deadline_ns;) {
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
        uint64_t left = (deadline_ns - now + 999999) / 1000000;
        int got = poll(&input, keys ? 1 : 0, left > 60000 ? 60000 : (int)left);
        char key = '\0';
        if (keys && got > 0 && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 4))
            return false;
    }
    return true;
}

/* The command. */

struct request {
    double interval;
    uint64_t count; /* 0: for ever */
    bool batch, once;
    const char *lib;
    pid_t pid;
};

static int parse(int argc, char **argv, struct request *request)
{
    enum { LIBRARY = 256 };
    static const struct option options[] = {
        { "interval", required_argument, NULL, 'i' },
        { "count", required_argument, NULL, 'n' },
        { "batch", no_argument, NULL, 'b' },
        { "once", no_argument, NULL, '1' },
        { "library", required_argument, NULL, LIBRARY },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    uint64_t pid;
    for (int option; (option = getopt_long(argc, argv, "i:n:b1h", options, NULL)) != -1;) {
        char *end;
        switch (option) {
        case 'i':
            request->interval = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(request->interval >= 0.1 && request->interval <= 3600)) {
                tool_error("--interval: %s is no number of seconds from 0.1 to 3600", optarg);
                return tool_usage("top");
            }
            break;
        case 'n':
            if (!tool_number("--count", optarg, false, 1, UINT64_MAX, &request->count))
                return tool_usage("top");
            break;
        case 'b':
            request->batch = true;
            break;
        case '1':
            request->once = true;
            break;
        case LIBRARY:
            request->lib = optarg;
            break;
        case 'h':
            exit(tool_help(help));
        default:
            return tool_usage("top");
        }
    }
    if (optind + 1 != argc) {
        tool_error(optind == argc ? "no process given" : "one process at a time");
        return tool_usage("top");
    }
    if (!tool_number("PID", argv[optind], false, 1, INT32_MAX, &pid))
        return tool_usage("top");
    request->pid = (pid_t)pid;
    return TOOL_OK;
}

static bool choose_library(struct top *top, const char *name)
{
    for (size_t i = 0; name != NULL && i < top->process.libraries; i++) {
        if (strcmp(process_library_name(top->process.lib[i]), name) == 0) {
            top->lib = i;
            return true;
        }
    }
    if (name != NULL)
        tool_error("process %d has no %s", (int)top->process.pid, name);
    return name == NULL;
}

/* Reading after reading. The process's end is a success. */
static int watch(struct top *top, const struct request *request, bool screen)
{
    uint64_t interval_ns = (uint64_t)(request->interval * 1e9), next = tool_now_ns();
    if (!screen)
        printf("# time rss_kib allocated_kib resident_kib committed_kib mallocs/s frees/s threads collections/s "
               "last_pause_us longest_pause_us\n");
    for (uint64_t i = 0; request->count == 0 || i <= request->count; i++) {
        if (!take(top)) {
            restore_terminal();
            tool_error("process %d has ended", (int)top->process.pid);
            return TOOL_OK;
        }
        if (screen)
            draw(top);
        else if (top->has_last) { /* the first is for the rates of the second */
            show_line(top);
            if (tool_flush() != TOOL_OK)
                return TOOL_FAILED;
        }
        top->last = top->now;
        top->has_last = true;
        next += interval_ns;
        if (i != request->count || request->count == 0)
            if (!wait_until(next, screen))
                break;
    }
    return tool_flush();
}

int ouro_cmd_top(int argc, char **argv)
{
    struct request request = { .interval = 1 };
    static struct top top;
    int rc = parse(argc, argv, &request);
    if (rc != TOOL_OK)
        return rc;
    if (!process_open(&top.process, request.pid))
        return TOOL_FAILED;
    if (!choose_library(&top, request.lib)) {
        rc = TOOL_FAILED;
    } else if (request.once) {
        if (take(&top))
            show_all(&top, stdout, PROCESS_CLASSES);
        rc = top.now.kernel.threads != 0 ? tool_flush() : tool_fail("process %d has ended", (int)request.pid);
    } else {
        bool screen = !request.batch && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
        if (screen)
            prepare_terminal();
        rc = watch(&top, &request, screen);
        restore_terminal();
    }
    process_close(&top.process);
    return rc;
}
