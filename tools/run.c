/* tools/run.c: `ouro run`: a program with libouro_malloc as its malloc, and a report when it has ended.
 *
 * The library writes its statistics and its snapshot itself, as the process ends, into files whose names the environment
 * gives it. Descendants of the program have the same environment: the files have the process's number in their names, so
 * that the program's own are found.
 */
#include "library.h"
#include "tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127, NOT_EXECUTABLE = 126, TOP_LINES = 10 };

static const char help[] =
    "Usage: ouro run [OPTIONS] [--] PROGRAM [ARGS]...\n"
    "\n"
    "Runs PROGRAM with Ouroboros as its malloc, whether it was built for that or not, and reports on stderr\n"
    "how long it took, its peak memory and page faults. Ends as the program did: its exit status, or 128 and\n"
    "the number of the signal that killed it; 127 where it is not found, 126 where it cannot be run.\n"
    "\n"
    "Options:\n"
    "  -s, --stats[=json]   the heap's statistics at the end, in words or as one line of JSON\n"
    "  -t, --trace[=N[:B]]  trace who allocates, with tracebacks of up to N frames (25); with B, a sample: one\n"
    "                       allocation for each B bytes. The top lines are shown, the snapshot is kept\n"
    "  -o, --output FILE    where the snapshot goes; %p is the process's number (ouro.%p.snapshot)\n"
    "      --secure         with the hardened heap: finds misuse, and is slow\n"
    "  -q, --quiet          no report but what other options ask for\n"
    "      --library FILE   another libouro_malloc.so than the one beside this tool\n"
    "  -h, --help           this text\n"
    "\n"
    "Examples:\n"
    "  ouro run --stats -- ./server --port 8080\n"
    "  ouro run --trace=30 -o build.snapshot -- make       then: ouro snapshot build.snapshot --by function\n"
    "  ouro run --stats=json -- sort big.txt 2> stats.json > sorted.txt\n"
    "  OURO_PURGE_DELAY_MS=200 ouro run -- ./server\n"
    "\n"
    "Programs that are linked statically, or run with raised privileges, keep their own malloc. Statistics and\n"
    "snapshots are written at exit(); a program that ends by a signal or _exit() leaves none.\n";

struct request {
    const char *lib, *output;
    char *trace;
    bool stats, json, secure, quiet;
    char **program;
};

/* OURO_TRACE's value for FRAMES[:BYTES], to be freed; NULL, with a message, if it is none. */
static char *read_trace(const char *text)
{
    char frames[32];
    uint64_t number = 25, bytes = 0;
    const char *colon = text != NULL ? strchr(text, ':') : NULL;
    snprintf(frames, sizeof frames, "%.*s", colon != NULL ? (int)(colon - text) : 31, text != NULL ? text : "25");
    if (!tool_number("--trace", frames, false, 1, 4096, &number) ||
        (colon != NULL && !tool_number("--trace", colon + 1, true, 0, (uint64_t)1 << 40, &bytes)))
        return NULL;
    return tool_format("%llu:%llu", (unsigned long long)number, (unsigned long long)bytes);
}

static int parse(int argc, char **argv, struct request *request)
{
    enum { SECURE = 256, LIBRARY };
    static const struct option options[] = {
        { "stats", optional_argument, NULL, 's' },
        { "trace", optional_argument, NULL, 't' },
        { "output", required_argument, NULL, 'o' },
        { "secure", no_argument, NULL, SECURE },
        { "quiet", no_argument, NULL, 'q' },
        { "help", no_argument, NULL, 'h' },
        { "library", required_argument, NULL, LIBRARY },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "+s::t::o:qh", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            request->stats = true;
            request->json = optarg != NULL && strcmp(optarg, "json") == 0;
            if (optarg != NULL && !request->json && strcmp(optarg, "text") != 0) {
                tool_error("--stats: %s is neither text nor json", optarg);
                return tool_usage("run");
            }
            break;
        case 't':
            free(request->trace);
            request->trace = read_trace(optarg);
            if (request->trace == NULL)
                return tool_usage("run");
            break;
        case 'o':
            request->output = optarg;
            break;
        case SECURE:
            request->secure = true;
            break;
        case 'q':
            request->quiet = true;
            break;
        case LIBRARY:
            request->lib = optarg;
            break;
        case 'h':
            exit(tool_help(help));
        default:
            return tool_usage("run");
        }
    }
    if (optind == argc) {
        tool_error("no program given");
        return tool_usage("run");
    }
    request->program = argv + optind;
    return TOOL_OK;
}

/* In the child. */

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) != 0)
        _exit(tool_fail("out of memory"));
}

/* `pattern` with the process's number for %p. */
static char *for_process(const char *pattern, pid_t pid)
{
    const char *at = strstr(pattern, "%p");
    return at == NULL ? tool_format("%s", pattern)
                      : tool_format("%.*s%d%s", (int)(at - pattern), pattern, (int)pid, at + 2);
}

static void prepare_environment(const struct request *request, const char *library, const char *folder)
{
    for (char **entry = tool_environment; *entry != NULL; entry++)
        putenv(*entry);
    const char *others = getenv("LD_PRELOAD");
    char *preload =
        others != NULL && *others != '\0' ? tool_format("%s:%s", library, others) : tool_format("%s", library);
    set("LD_PRELOAD", preload);
    if (request->secure)
        set("OURO_SECURE", "1");
    if (request->stats) {
        char *file = tool_format("%s/%%p", folder);
        set("OURO_STATS_AT_EXIT", "json");
        set("OURO_STATS_FILE", file);
    }
    if (request->trace != NULL) {
        set("OURO_TRACE", request->trace);
        set("OURO_TRACE_FILE", request->output);
    }
}

static _Noreturn void become(const struct request *request, const char *library, const char *folder, int report)
{
    prepare_environment(request, library, folder);
    execvp(request->program[0], request->program);
    int error = errno;
    ssize_t ignored = write(report, &error, sizeof error);
    (void)ignored;
    _exit(error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

/* In the tool. */

static pid_t child;

/* What is sent to this process alone is passed on. */
static void signals_to_pass(sigset_t *set)
{
    static const int all[] = { SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };
    sigemptyset(set);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sigaddset(set, all[i]);
}

/* Returns the wait status. Signals to pass on, and SIGCHLD, are blocked. */
static int await_child(struct rusage *usage)
{
    sigset_t set;
    int status = 0;
    signals_to_pass(&set);
    sigaddset(&set, SIGCHLD);
    while (wait4(child, &status, WNOHANG, usage) == 0) {
        int signo = sigwaitinfo(&set, NULL);
        if (signo > 0 && signo != SIGCHLD)
            kill(child, signo);
    }
    return status;
}

/* Returns the wait status; *error: why it could not be run, or 0. */
static int run(const struct request *request, const char *library, const char *folder, struct rusage *usage, int *error)
{
    int ends[2], status = 0;
    struct sigaction plain = { .sa_handler = SIG_DFL }, ignore = { .sa_handler = SIG_IGN }, children;
    sigset_t blocked, before;
    *error = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        *error = errno;
        return 0;
    }
    signals_to_pass(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGCHLD, &plain, &children); /* where it is ignored, there is no status */
    child = fork();
    if (child == 0) {
        sigaction(SIGCHLD, &children, NULL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        become(request, library, folder, ends[1]);
    }
    close(ends[1]);
    sigaction(SIGINT, &ignore, NULL); /* what the terminal sends, the program gets as well */
    sigaction(SIGQUIT, &ignore, NULL);
    if (child < 0)
        *error = errno;
    else if (read(ends[0], error, sizeof *error) != (ssize_t)sizeof *error)
        *error = 0;
    if (child > 0)
        status = await_child(usage);
    close(ends[0]);
    return status;
}

/* The report. */

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void report_end(const char *name, int status, uint64_t elapsed_ns, const struct rusage *usage)
{
    const char *strong = tool_style(stderr, TOOL_BOLD), *plain = tool_style(stderr, TOOL_PLAIN);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%souro: %s was killed by signal %d (%s)%s\n", strong, name, WTERMSIG(status),
                strsignal(WTERMSIG(status)), plain);
    else
        fprintf(stderr, "%souro: %s ended with status %d%s\n", strong, name, WEXITSTATUS(status), plain);
    fprintf(stderr, "  time       %.2f s; %.2f s user, %.2f s system\n", (double)elapsed_ns / 1e9,
            seconds(usage->ru_utime), seconds(usage->ru_stime));
    fprintf(stderr, "  memory     %s peak RSS; %s minor faults, %s major\n",
            tool_bytes((double)usage->ru_maxrss * 1024).text, tool_grouped((uint64_t)usage->ru_minflt).text,
            tool_grouped((uint64_t)usage->ru_majflt).text);
}

/* A file's text, to be freed; NULL: there is none. */
static char *read_all(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t used = 0;
    if (file == NULL)
        return NULL;
    for (size_t n = 1; n > 0; used += n) {
        text = tool_realloc(text, used + 65537, 1);
        n = fread(text + used, 1, 65536, file);
    }
    text[used] = '\0';
    fclose(file);
    return text;
}

/* The number of the first member `key` after *at, which it moves behind it; 0 if there is none before `end`. */
static uint64_t member(const char **at, const char *key)
{
    char *wanted = tool_format("\"%s\": ", key);
    const char *found = strstr(*at, wanted);
    uint64_t number = 0;
    if (found != NULL) {
        char *end;
        number = strtoull(found + strlen(wanted), &end, 10);
        *at = end;
    }
    free(wanted);
    return number;
}

static uint64_t total(const char *json, const char *key)
{
    return member(&json, key);
}

struct size_class {
    uint64_t size, mallocs, living;
};

static int by_mallocs(const void *a, const void *b)
{
    const struct size_class *x = a, *y = b;
    return x->mallocs < y->mallocs ? 1 : x->mallocs > y->mallocs ? -1 : 0;
}

static void report_classes(const char *json, uint64_t mallocs)
{
    enum { MOST = 128, SHOWN = 5 };
    static const char *const heads[] = { "size", "mallocs", "", "living", "bytes" };
    struct size_class classes[MOST];
    size_t count = 0;
    const char *at = strstr(json, "\"size_classes\": ["), *end = at != NULL ? strchr(at, ']') : NULL;
    for (; at != NULL && at < end && count < MOST && (at = strstr(at, "{")) != NULL && at < end; count++) {
        classes[count].size = member(&at, "size");
        classes[count].mallocs = member(&at, "mallocs");
        classes[count].living = member(&at, "living");
    }
    qsort(classes, count, sizeof *classes, by_mallocs);
    struct tool_table *table = tool_table_new(">>>>>", heads);
    for (size_t i = 0; i < count && i < SHOWN && classes[i].mallocs != 0; i++) {
        tool_table_cell(table, "%llu", (unsigned long long)classes[i].size);
        tool_table_cell(table, "%s", tool_grouped(classes[i].mallocs).text);
        tool_table_cell(table, "%s", tool_percent((double)classes[i].mallocs, (double)mallocs).text);
        tool_table_cell(table, "%s", tool_grouped(classes[i].living).text);
        tool_table_cell(table, "%s", tool_bytes((double)(classes[i].living * classes[i].size)).text);
    }
    tool_table_print(table, stderr, 13);
    tool_table_free(table);
}

static void report_stats(const char *json)
{
    uint64_t mallocs = total(json, "mallocs"), frees = total(json, "frees"), remote = total(json, "remote_frees");
    fprintf(stderr, "  heap       %s allocated at the end in %s blocks; peak %s\n",
            tool_bytes((double)total(json, "allocated")).text, tool_grouped(mallocs - frees).text,
            tool_bytes((double)total(json, "peak_allocated")).text);
    fprintf(stderr, "             %s resident, %s committed, %s given back\n",
            tool_bytes((double)total(json, "resident")).text, tool_bytes((double)total(json, "committed")).text,
            tool_bytes((double)total(json, "purged")).text);
    fprintf(stderr, "  calls      %s mallocs, %s frees, %s of them by other threads\n", tool_grouped(mallocs).text,
            tool_grouped(frees).text, tool_percent((double)remote, (double)frees).text);
    if (mallocs != 0)
        report_classes(json, mallocs);
}

static const char *why_nothing(int status)
{
    return WIFSIGNALED(status) ? "it was killed" : "it is linked statically, or privileged, or did not end by exit()";
}

static void report_snapshot(const char *path)
{
    static char name[] = "ouro", option[] = "--top", lines[8];
    char *file = tool_format("%s", path);
    snprintf(lines, sizeof lines, "%d", TOP_LINES);
    fprintf(stderr, "  snapshot   %s\n", path);
    fflush(stderr);
    int out = dup(STDOUT_FILENO); /* the program's output is not to be mixed with the report */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    optind = 0;
    ouro_cmd_snapshot(4, (char *[]){ name, file, option, lines, NULL });
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    free(file);
}

static void report(const struct request *request, int status, const char *folder)
{
    if (request->stats) {
        char *path = tool_format("%s/%d", folder, (int)child), *json = read_all(path);
        if (json == NULL)
            tool_error("no statistics of %s: %s", request->program[0], why_nothing(status));
        else if (request->json)
            fputs(json, stderr);
        else
            report_stats(json);
        free(json);
        free(path);
    }
    if (request->trace != NULL) {
        char *path = for_process(request->output, (pid_t)child);
        if (access(path, R_OK) == 0)
            report_snapshot(path);
        else
            tool_error("no snapshot of %s: %s", request->program[0], why_nothing(status));
        free(path);
    }
}

/* Descendants have left files there, too. */
static void remove_folder(const char *folder)
{
    DIR *files = opendir(folder);
    for (struct dirent *file; files != NULL && (file = readdir(files)) != NULL;)
        unlinkat(dirfd(files), file->d_name, 0);
    if (files != NULL)
        closedir(files);
    rmdir(folder);
}

static char *make_folder(void)
{
    const char *place = getenv("TMPDIR");
    char *folder = tool_format("%s/ouro-run-XXXXXX", place != NULL && *place != '\0' ? place : "/tmp");
    if (mkdtemp(folder) != NULL)
        return folder;
    tool_error("cannot make %s: %s", folder, strerror(errno));
    free(folder);
    return NULL;
}

int ouro_cmd_run(int argc, char **argv)
{
    struct request request = { .output = "ouro.%p.snapshot" };
    int rc = parse(argc, argv, &request), error;
    if (rc != TOOL_OK) {
        free(request.trace);
        return rc;
    }
    char *library = request.lib != NULL ? realpath(request.lib, NULL) : library_find("libouro_malloc", ".so");
    if (library == NULL)
        return tool_fail("%s is not there", request.lib != NULL ? request.lib : "libouro_malloc.so");
    char *folder = request.stats ? make_folder() : NULL;
    if (request.stats && folder == NULL)
        return TOOL_FAILED;
    struct rusage usage = { 0 };
    uint64_t begin = tool_now_ns();
    int status = run(&request, library, folder, &usage, &error);
    uint64_t elapsed = tool_now_ns() - begin;
    free(library);
    if (error != 0) {
        tool_error("cannot run %s: %s", request.program[0], strerror(error));
    } else {
        if (!request.quiet && !request.json)
            report_end(request.program[0], status, elapsed, &usage);
        report(&request, status, folder);
    }
    if (folder != NULL)
        remove_folder(folder);
    free(folder);
    free(request.trace);
    if (error != 0)
        return error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
