/* tools/snapshot.c: `ouro snapshot`: who allocated what, from the files that tracing writes. */
#include "snapshot.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "Usage: ouro snapshot FILE [OPTIONS]\n"
    "\n"
    "Shows a snapshot of a traced program: which code allocated the memory that was in use. FILE is what\n"
    "OURO_TRACE_FILE named, or ouro_snapshot_dump wrote. Lines are found in the program's debug information\n"
    "(-g), which may be in a separate file, found by its build-id.\n"
    "\n"
    "Options:\n"
    "  -b, --by KEY          group by line (default), file, function, type or traceback\n"
    "  -n, --top N           show the N biggest groups; 0: all (default 25; of tracebacks 10)\n"
    "  -d, --diff OLD        show the difference to an older snapshot\n"
    "  -f, --filter GLOB     only what was allocated in files that match; !GLOB: in others. All that are given hold\n"
    "  -s, --symbols DIRS    folders, separated by ':', to search for programs and debug files\n"
    "      --pprof OUT       write a profile for pprof\n"
    "      --folded OUT      write folded stacks, a line each\n"
    "      --flamegraph OUT  write a flame graph, an SVG to open in a browser\n"
    "  -h, --help            this text\n"
    "\n"
    "With one of the last three, the table is shown only if --by, --top or --diff is given too.\n"
    "\n"
    "Examples:\n"
    "  OURO_TRACE=25 OURO_TRACE_FILE=server.ouro LD_PRELOAD=libouro_malloc.so ./server\n"
    "  ouro snapshot server.ouro\n"
    "  ouro snapshot server.ouro --by traceback --top 5 --filter '*/parser/*'\n"
    "  ouro snapshot now.ouro --diff before.ouro --by function\n"
    "  ouro snapshot server.ouro --flamegraph server.svg\n"
    "\n"
    "Exit status: 0 success, 1 failure, 2 wrong usage.\n";

enum { FILTERS = 64, TOP_DEFAULT = 25, TOP_TRACEBACKS = 10, PLACE_COLUMNS = 46 };

struct wishes {
    const char *path, *old, *symbols, *pprof, *folded, *flamegraph;
    const char *filters[FILTERS];
    size_t filter_count;
    ouro_trace_key key;
    uint64_t top; /* 0: all */
    bool by_given, top_given;
};

static const char *const key_names[] = { "line", "file", "function", "type", "traceback" };

static bool read_key(const char *text, ouro_trace_key *key)
{
    for (size_t i = 0; i < sizeof key_names / sizeof *key_names; i++) {
        if (strcmp(text, key_names[i]) == 0) {
            *key = (ouro_trace_key)i;
            return true;
        }
    }
    tool_error("--by: %s is none of line, file, function, type, traceback", text);
    return false;
}

static bool add_filter(struct wishes *wishes, const char *glob)
{
    if (wishes->filter_count == FILTERS) {
        tool_error("--filter: at most %d", FILTERS);
        return false;
    }
    wishes->filters[wishes->filter_count++] = glob;
    return true;
}

/* False: wrong usage, with a message. help: set if asked for. */
static bool read_wishes(int argc, char **argv, struct wishes *wishes, bool *want_help)
{
    enum { PPROF = 256, FOLDED, FLAMEGRAPH };
    static const struct option options[] = {
        { "by", required_argument, NULL, 'b' },
        { "top", required_argument, NULL, 'n' },
        { "diff", required_argument, NULL, 'd' },
        { "filter", required_argument, NULL, 'f' },
        { "symbols", required_argument, NULL, 's' },
        { "pprof", required_argument, NULL, PPROF },
        { "folded", required_argument, NULL, FOLDED },
        { "flamegraph", required_argument, NULL, FLAMEGRAPH },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    bool good = true;
    for (int option; good && (option = getopt_long(argc, argv, "b:n:d:f:s:h", options, NULL)) != -1;) {
        switch (option) {
        case 'b':
            good = wishes->by_given = read_key(optarg, &wishes->key);
            break;
        case 'n':
            good = wishes->top_given = tool_number("--top", optarg, false, 0, UINT32_MAX, &wishes->top);
            break;
        case 'd':
            wishes->old = optarg;
            break;
        case 'f':
            good = add_filter(wishes, optarg);
            break;
        case 's':
            wishes->symbols = optarg;
            break;
        case PPROF:
            wishes->pprof = optarg;
            break;
        case FOLDED:
            wishes->folded = optarg;
            break;
        case FLAMEGRAPH:
            wishes->flamegraph = optarg;
            break;
        case 'h':
            *want_help = true;
            return true;
        default:
            good = false;
        }
    }
    if (good && optind != argc - 1) {
        tool_error(optind == argc ? "snapshot: no file given" : "snapshot: more than one file; --diff compares two");
        good = false;
    }
    wishes->path = good ? argv[optind] : NULL;
    return good;
}

/* Loads and filters. NULL, with a message. */
static ouro_snapshot *load(const struct wishes *wishes, const char *path)
{
    ouro_snapshot *snapshot = ouro_snapshot_load(path);
    if (snapshot == NULL) {
        if (errno == EBADMSG)
            tool_error("%s: not a snapshot, or damaged", path);
        else if (errno == ENOTSUP)
            tool_error("%s: written by a newer version of ouro than this one", path);
        else
            tool_error("%s: %s", path, strerror(errno));
        return NULL;
    }
    int rc = ouro_snapshot_set_symbol_path(snapshot, wishes->symbols);
    for (size_t i = 0; i < wishes->filter_count && rc == 0; i++) {
        const char *glob = wishes->filters[i];
        bool inclusive = glob[0] != '!';
        ouro_snapshot *chosen = ouro_snapshot_filter(snapshot, inclusive ? glob : glob + 1, inclusive);
        rc = chosen != NULL ? 0 : -1;
        ouro_snapshot_free(snapshot);
        snapshot = chosen;
    }
    if (rc != 0) {
        tool_error("%s: %s", path, strerror(errno));
        ouro_snapshot_free(snapshot);
        return NULL;
    }
    return snapshot;
}

/* A copy without what a terminal would obey: a dump, and the programs it names, may come from anywhere. To be freed. */
static char *printable(const char *text)
{
    char *copy = tool_format("%s", text);
    for (char *at = copy; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return copy;
}

static void say_sampling(const ouro_snapshot_info *info, char *text, size_t size)
{
    if (info->sample_bytes == 0)
        snprintf(text, size, "every allocation");
    else
        snprintf(text, size, "sampled, one for %s", tool_bytes((double)info->sample_bytes).text);
}

struct tool_text snapshot_time(const ouro_snapshot_info *info)
{
    struct tool_text when;
    time_t seconds = (time_t)(info->time_ns / 1000000000u);
    struct tm local;
    if (localtime_r(&seconds, &local) == NULL || strftime(when.text, sizeof when.text, "%F %T", &local) == 0)
        snprintf(when.text, sizeof when.text, "unknown time");
    return when;
}

/* "server, process 17, at TIME" and "12 MiB in 1,234 blocks, ..."; old: NULL, or what it is compared with. */
static void print_head(const struct wishes *wishes, const ouro_snapshot *snapshot, const ouro_snapshot *old)
{
    ouro_snapshot_info info, then;
    char how[64];
    ouro_snapshot_get_info(snapshot, &info);
    say_sampling(&info, how, sizeof how);
    char *program = printable(info.program);
    printf("%s%s%s, process %llu, %s\n", tool_style(stdout, TOOL_BOLD), program, tool_style(stdout, TOOL_PLAIN),
           (unsigned long long)info.pid, snapshot_time(&info).text);
    free(program);
    printf("%s in %s blocks, %s tracebacks of up to %u frames, %s\n", tool_bytes((double)info.size).text,
           tool_grouped(info.count).text, tool_grouped(info.traces).text, info.max_frames, how);
    if (old != NULL) {
        ouro_snapshot_get_info(old, &then);
        printf("%s since %s, process %llu, %s, when it was %s in %s blocks\n",
               tool_signed_bytes((double)info.size - (double)then.size).text, wishes->old, (unsigned long long)then.pid,
               snapshot_time(&then).text, tool_bytes((double)then.size).text, tool_grouped(then.count).text);
    }
    putchar('\n');
}

/* FILE:LINE in at most PLACE_COLUMNS, its end where it is longer; to be freed. */
static char *place_of(const char *name, unsigned line)
{
    char *file = printable(name != NULL ? name : "?");
    char *place = line != 0 ? tool_format("%s:%u", file, line) : tool_format("%s", file);
    free(file);
    size_t length = strlen(place);
    if (length <= PLACE_COLUMNS)
        return place;
    char *end = place + length - PLACE_COLUMNS + 4, *slash = strchr(end, '/');
    char *shorter = tool_format("...%s", slash != NULL ? slash : end);
    free(place);
    return shorter;
}

static void put_text(struct tool_table *table, const char *text, const char *after)
{
    char *copy = printable(text);
    tool_table_cell(table, "%s%s", copy, after);
    free(copy);
}

static void put_sums(struct tool_table *table, const ouro_trace_stat *stat, double total, bool difference)
{
    if (difference) {
        tool_table_cell(table, "%s", stat->size_diff != 0 ? tool_signed_bytes((double)stat->size_diff).text : "=");
        tool_table_style(table, stat->size_diff > 0 ? TOOL_RED : stat->size_diff < 0 ? TOOL_GREEN : TOOL_DIM);
        tool_table_cell(table, "%+ld", stat->count_diff);
        tool_table_cell(table, "%s", tool_bytes((double)stat->size).text);
        tool_table_cell(table, "%s", tool_grouped(stat->count).text);
        return;
    }
    tool_table_cell(table, "%s", tool_bytes((double)stat->size).text);
    tool_table_cell(table, "%s", tool_percent((double)stat->size, total).text);
    tool_table_cell(table, "%s", tool_grouped(stat->count).text);
    tool_table_cell(table, "%s", stat->count != 0 ? tool_bytes((double)stat->size / (double)stat->count).text : "-");
}

static void put_names(struct tool_table *table, const ouro_trace_stat *stat, ouro_trace_key key)
{
    if (key == OURO_BY_TYPE) {
        put_text(table, stat->type != NULL ? stat->type : "(plain blocks)", "");
        return;
    }
    if (key == OURO_BY_FILE) {
        put_text(table, stat->file != NULL ? stat->file : "(no file)", "");
        return;
    }
    char *place = place_of(stat->file, stat->line);
    tool_table_cell(table, "%s", place);
    put_text(table, stat->function != NULL ? stat->function : "(no frames)", "");
    free(place);
}

static void print_table(const ouro_trace_stat *stats, size_t count, double total, ouro_trace_key key, bool difference)
{
    static const char *const sums[] = { "SIZE", "%", "BLOCKS", "EACH" }, *const differences[] = { "CHANGE", "BLOCKS",
                                                                                                  "SIZE NOW",
                                                                                                  "BLOCKS NOW" };
    const char *heads[6];
    for (size_t i = 0; i < 4; i++)
        heads[i] = difference ? differences[i] : sums[i];
    bool two = key == OURO_BY_LINE || key == OURO_BY_FUNCTION;
    heads[4] = two ? "WHERE" : key == OURO_BY_TYPE ? "TYPE" : "FILE";
    heads[5] = "FUNCTION";
    struct tool_table *table = tool_table_new(two ? ">>>><<" : ">>>><", heads);
    for (size_t i = 0; i < count; i++) {
        put_sums(table, &stats[i], total, difference);
        put_names(table, &stats[i], key);
    }
    tool_table_print(table, stdout, 0);
    tool_table_free(table);
}

static void print_traceback(struct frame_table *names, size_t number, const ouro_trace_stat *stat, double total,
                            bool difference)
{
    const char *bold = tool_style(stdout, TOOL_BOLD), *plain = tool_style(stdout, TOOL_PLAIN);
    char *type = stat->type != NULL ? printable(stat->type) : NULL;
    printf("%s#%zu  ", bold, number);
    if (difference)
        printf("%s%s  %+ld blocks, now ", stat->size_diff != 0 ? tool_signed_bytes((double)stat->size_diff).text : "=",
               plain, stat->count_diff);
    printf("%s%s in %s block%s, %s%s%s%s\n", tool_bytes((double)stat->size).text, plain, tool_grouped(stat->count).text,
           stat->count == 1 ? "" : "s", tool_percent((double)stat->size, total).text, type != NULL ? " [" : "",
           type != NULL ? type : "", type != NULL ? "]" : "");
    free(type);
    struct tool_table *table = tool_table_new("<<", NULL);
    for (size_t i = first_shown(names, stat); i < stat->frame_count; i++) {
        const struct frame_names *frame = frame_names_of(names, stat->frames[i]);
        for (size_t k = 0; k < frame->count; k++) {
            const ouro_trace_symbol *symbol = &frame->symbols[k];
            char *place = place_of(symbol->file != NULL ? symbol->file : symbol->module, symbol->line);
            tool_table_cell(table, "%s", place);
            tool_table_style(table, TOOL_DIM);
            put_text(table, symbol->function, k + 1 < frame->count ? " (inlined)" : "");
            free(place);
        }
    }
    if (stat->frame_count == 0) {
        tool_table_cell(table, "(no frames)");
        tool_table_cell(table, "%s", "");
    }
    tool_table_print(table, stdout, 4);
    tool_table_free(table);
    putchar('\n');
}

static void print_rest(const ouro_trace_stat *stats, size_t shown, size_t count, bool difference)
{
    double size = 0;
    for (size_t i = shown; i < count; i++)
        size += difference ? (double)stats[i].size_diff : (double)stats[i].size;
    if (shown < count)
        printf("%s... and %s more: %s%s\n", tool_style(stdout, TOOL_DIM), tool_grouped(count - shown).text,
               difference ? tool_signed_bytes(size).text : tool_bytes(size).text, tool_style(stdout, TOOL_PLAIN));
}

/* Why there are no lines, where that can be said. */
static void warn_of_names(const struct wishes *wishes, const ouro_trace_stat *stats, size_t count)
{
    size_t nameless = 0;
    for (size_t i = 0; i < count; i++)
        nameless += stats[i].line == 0;
    if (wishes->key != OURO_BY_LINE || nameless == 0)
        return;
    void *library = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        tool_error("functions and lines need libdw (Debian: libdw1), which is not installed");
    else if (nameless == count)
        tool_error("no line numbers: the program's files are not here, are others than then, or were built without -g;"
                   " --symbols says where to search");
}

static int show(const struct wishes *wishes, ouro_snapshot *snapshot, ouro_snapshot *old)
{
    const ouro_trace_stat *stats;
    ouro_snapshot_info info;
    errno = 0;
    size_t count = old != NULL ? ouro_snapshot_compare(snapshot, old, wishes->key, &stats)
                               : ouro_snapshot_statistics(snapshot, wishes->key, &stats);
    if (count == 0 && errno != 0)
        return tool_fail("%s: %s", wishes->path, strerror(errno));
    ouro_snapshot_get_info(snapshot, &info);
    print_head(wishes, snapshot, old);
    uint64_t top = wishes->top_given ? wishes->top : wishes->key == OURO_BY_TRACEBACK ? TOP_TRACEBACKS : TOP_DEFAULT;
    size_t shown = top == 0 || top > count ? count : (size_t)top;
    struct frame_table names, old_names;
    frame_table_begin(&names, snapshot);
    frame_table_begin(&old_names, old);
    if (wishes->key != OURO_BY_TRACEBACK)
        print_table(stats, shown, (double)info.size, wishes->key, old != NULL);
    for (size_t i = 0; i < shown && wishes->key == OURO_BY_TRACEBACK; i++) {
        bool gone = old != NULL && stats[i].count == 0; /* its frames are the older snapshot's */
        print_traceback(gone ? &old_names : &names, i + 1, &stats[i], (double)info.size, old != NULL);
    }
    print_rest(stats, shown, count, old != NULL);
    frame_table_end(&names);
    frame_table_end(&old_names);
    int rc = tool_flush();
    warn_of_names(wishes, stats, count);
    return rc;
}

static int write_files(const struct wishes *wishes, ouro_snapshot *snapshot)
{
    if (wishes->pprof != NULL && ouro_snapshot_write_pprof(snapshot, wishes->pprof) != 0)
        return tool_fail("%s: %s", wishes->pprof, strerror(errno));
    if (wishes->folded != NULL && ouro_snapshot_write_folded(snapshot, wishes->folded) != 0)
        return tool_fail("%s: %s", wishes->folded, strerror(errno));
    return wishes->flamegraph != NULL ? write_flamegraph(snapshot, wishes->flamegraph) : TOOL_OK;
}

int ouro_cmd_snapshot(int argc, char **argv)
{
    struct wishes wishes = { 0 };
    bool want_help = false;
    if (!read_wishes(argc, argv, &wishes, &want_help))
        return tool_usage("snapshot");
    if (want_help)
        return tool_help(help);
    ouro_snapshot *snapshot = load(&wishes, wishes.path);
    ouro_snapshot *old = snapshot != NULL && wishes.old != NULL ? load(&wishes, wishes.old) : NULL;
    int rc = snapshot == NULL || (wishes.old != NULL && old == NULL) ? TOOL_FAILED : write_files(&wishes, snapshot);
    bool files = wishes.pprof != NULL || wishes.folded != NULL || wishes.flamegraph != NULL;
    if (rc == TOOL_OK && (!files || wishes.by_given || wishes.top_given || wishes.old != NULL))
        rc = show(&wishes, snapshot, old);
    ouro_snapshot_free(old);
    ouro_snapshot_free(snapshot);
    return rc;
}
