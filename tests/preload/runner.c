/* preload/runner.c: runs the checks of some programs, each in a process of its own.
 *
 *   runner [--preload LIBRARY] [--library LIBRARY] [--jobs N] [--only SUBSTRING]... [--skip SUBSTRING]...
 *          [--skip-unless-long SUBSTRING]... [--env NAME=VALUE]... [--through COMMAND] [--list] [--quiet] PROGRAM...
 *
 * --preload    LD_PRELOAD of the checks; the runner itself stays as it is
 * --library    BATTERY_LIBRARY of the checks, for those that dlopen it; by default what is preloaded
 * --skip-unless-long   --skip, but with OURO_TEST_LONG set and not 0
 * --through    runs each check by this command, words separated by blanks, as in "valgrind -q"
 * --quiet      lines only for what failed
 *
 * A line for each check and a total; the exit status is 0 if none failed. A check that runs out of its time is killed,
 * with all processes that it started, and has failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 32, MAX_JOBS = 64, EXIT_SKIPPED = 77, DEFAULT_SECONDS = 60 };

struct job {
    const char *program;
    char name[96];
    char needs[160];
    pid_t pid;
    FILE *output;
    double started, limit;
    bool running, timed_out;
    int status;
};

struct options {
    const char *preload, *tested;
    const char *only[MAX_WORDS], *skip[MAX_WORDS], *env[MAX_WORDS];
    size_t only_count, skip_count, env_count;
    char *through;
    unsigned jobs;
    bool list, quiet;
};

static struct options options = { .jobs = 1 };
static struct job *jobs;
static size_t job_count, job_room;

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "runner: %s%s%s\n", what, detail != NULL ? ": " : "", detail != NULL ? detail : "");
    exit(2);
}

/* The value of `key` in blank-separated words, copied to `value`; false if it is not there. A word without "=" has
 * the value "". */
static bool need_value(const char *needs, const char *key, char *value, size_t room)
{
    size_t length = strlen(key);
    for (const char *at = needs; *at != '\0';) {
        size_t word = strcspn(at, " ");
        if (word >= length && strncmp(at, key, length) == 0 && (word == length || at[length] == '=')) {
            size_t skip = word == length ? length : length + 1;
            snprintf(value, room, "%.*s", (int)(word - skip), at + skip);
            return true;
        }
        at += word;
        at += strspn(at, " ");
    }
    return false;
}

static rlim_t parse_bytes(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end == 'K')
        n <<= 10;
    if (*end == 'M')
        n <<= 20;
    if (*end == 'G')
        n <<= 30;
    return (rlim_t)n;
}

static void set_soft(__rlimit_resource_t resource, rlim_t value)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        _exit(EXIT_SKIPPED);
    limit.rlim_cur = value;
    if (setrlimit(resource, &limit) != 0)
        _exit(EXIT_SKIPPED);
}

static bool any_in(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(text, words[i]) != NULL)
            return true;
    }
    return false;
}

static void add_checks_of(const char *program)
{
    char command[PATH_MAX + 16];
    char line[512];
    snprintf(command, sizeof command, "'%s' --list", program);
    FILE *list = popen(command, "r");
    if (list == NULL)
        die("cannot list the checks of", program);
    size_t before = job_count;
    while (fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        size_t length = strcspn(line, " ");
        if (job_count == job_room) {
            job_room = job_room == 0 ? 64 : job_room * 2;
            jobs = realloc(jobs, job_room * sizeof *jobs);
            if (jobs == NULL)
                die("out of memory", NULL);
        }
        struct job *job = &jobs[job_count];
        memset(job, 0, sizeof *job);
        job->program = program;
        snprintf(job->name, sizeof job->name, "%.*s", (int)length, line);
        snprintf(job->needs, sizeof job->needs, "%s", line[length] == ' ' ? line + length + 1 : "");
        job_count++;
    }
    if (pclose(list) != 0 || job_count == before)
        die("no checks in", program);
}

/* In the child: never returns. */
static void exec_job(const struct job *job)
{
    char value[64];
    setpgid(0, 0);
    int out = fileno(job->output);
    int null = open("/dev/null", O_RDWR);
    if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    if (options.tested != NULL)
        setenv("BATTERY_LIBRARY", options.tested, 1);
    for (size_t i = 0; i < options.env_count; i++)
        putenv((char *)(uintptr_t)options.env[i]);
    if (options.preload != NULL && !need_value(job->needs, "nopreload", value, sizeof value)) {
        setenv("LD_PRELOAD", options.preload, 1);
    }
    if (need_value(job->needs, "noaslr", value, sizeof value))
        personality(ADDR_NO_RANDOMIZE);
    if (need_value(job->needs, "stack", value, sizeof value))
        set_soft(RLIMIT_STACK, RLIM_INFINITY);
    if (need_value(job->needs, "data", value, sizeof value))
        set_soft(RLIMIT_DATA, parse_bytes(value));
    if (need_value(job->needs, "as", value, sizeof value))
        set_soft(RLIMIT_AS, parse_bytes(value));
    const char *words[MAX_WORDS + 4];
    size_t count = 0;
    for (char *word = options.through != NULL ? strtok(options.through, " ") : NULL; word != NULL && count < MAX_WORDS;
         word = strtok(NULL, " "))
        words[count++] = word;
    words[count++] = job->program;
    words[count++] = "--run";
    words[count++] = job->name;
    words[count] = NULL;
    execvp(words[0], (char **)(uintptr_t)words);
    _exit(127);
}

static void start_job(struct job *job)
{
    char value[64];
    job->limit = need_value(job->needs, "seconds", value, sizeof value) ? strtod(value, NULL) : DEFAULT_SECONDS;
    job->output = tmpfile();
    if (job->output == NULL)
        die("no temporary file", strerror(errno));
    fflush(stdout);
    job->started = now_s();
    job->pid = fork();
    if (job->pid < 0)
        die("fork", strerror(errno));
    if (job->pid == 0)
        exec_job(job);
    setpgid(job->pid, job->pid);
    job->running = true;
}

/* The last line that the check wrote. */
static void last_line(FILE *output, char *line, size_t room)
{
    char next[512];
    line[0] = '\0';
    rewind(output);
    while (fgets(next, sizeof next, output) != NULL) {
        next[strcspn(next, "\n")] = '\0';
        if (next[0] != '\0')
            snprintf(line, room, "%.400s", next);
    }
}

enum verdict { PASS, FAIL, SKIP };

static enum verdict report_job(struct job *job)
{
    char line[512], how[64] = "";
    double seconds = now_s() - job->started;
    last_line(job->output, line, sizeof line);
    fclose(job->output);
    enum verdict verdict = FAIL;
    if (job->timed_out) {
        snprintf(how, sizeof how, "hang, killed after %.0f s; ", job->limit);
    } else if (WIFSIGNALED(job->status)) {
        snprintf(how, sizeof how, "crash, signal %d; ", WTERMSIG(job->status));
    } else if (WEXITSTATUS(job->status) == 0) {
        verdict = PASS;
    } else if (WEXITSTATUS(job->status) == EXIT_SKIPPED) {
        verdict = SKIP;
    } else if (WEXITSTATUS(job->status) != 1) {
        snprintf(how, sizeof how, "exit status %d; ", WEXITSTATUS(job->status));
    }
    static const char *const words[] = { "pass", "FAIL", "skip" };
    if (verdict == PASS) {
        if (!options.quiet)
            printf("%s  %-44s %5.1f s\n", words[verdict], job->name, seconds);
    } else {
        printf("%s  %-44s %5.1f s  %s%s\n", words[verdict], job->name, seconds, how, line);
    }
    fflush(stdout);
    return verdict;
}

/* Waits until one job has ended; returns it. */
static struct job *wait_for_one(void)
{
    for (;;) {
        for (size_t i = 0; i < job_count; i++) {
            struct job *job = &jobs[i];
            if (!job->running)
                continue;
            if (waitpid(job->pid, &job->status, WNOHANG) == job->pid) {
                job->running = false;
                kill(-job->pid, SIGKILL);
                return job;
            }
            if (!job->timed_out && now_s() - job->started > job->limit) {
                job->timed_out = true;
                kill(-job->pid, SIGKILL);
            }
        }
        poll(NULL, 0, 10);
    }
}

static const char *option_value(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc)
        die("a value is missing after", argv[*at]);
    return argv[++*at];
}

static void add_word(const char **words, size_t *count, const char *word)
{
    if (*count == MAX_WORDS)
        die("too many options", word);
    words[(*count)++] = word;
}

static int parse_options(int argc, char **argv)
{
    int at = 1;
    const char *setting = getenv("OURO_TEST_LONG");
    bool long_run = setting != NULL && strcmp(setting, "0") != 0;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        const char *option = argv[at];
        if (strcmp(option, "--list") == 0)
            options.list = true;
        else if (strcmp(option, "--quiet") == 0)
            options.quiet = true;
        else if (strcmp(option, "--preload") == 0)
            options.preload = option_value(argc, argv, &at);
        else if (strcmp(option, "--library") == 0)
            options.tested = option_value(argc, argv, &at);
        else if (strcmp(option, "--jobs") == 0)
            options.jobs = (unsigned)strtoul(option_value(argc, argv, &at), NULL, 10);
        else if (strcmp(option, "--only") == 0)
            add_word(options.only, &options.only_count, option_value(argc, argv, &at));
        else if (strcmp(option, "--skip") == 0)
            add_word(options.skip, &options.skip_count, option_value(argc, argv, &at));
        else if (strcmp(option, "--through") == 0)
            options.through = strdup(option_value(argc, argv, &at));
        else if (strcmp(option, "--skip-unless-long") == 0) {
            const char *word = option_value(argc, argv, &at);
            if (!long_run)
                add_word(options.skip, &options.skip_count, word);
        } else if (strcmp(option, "--env") == 0)
            add_word(options.env, &options.env_count, option_value(argc, argv, &at));
        else
            die("unknown option", option);
    }
    if (options.jobs == 0 || options.jobs > MAX_JOBS)
        die("--jobs is from 1 to 64", NULL);
    if (at == argc)
        die("no program is named", NULL);
    return at;
}

/* A name without a slash would be searched for on the loader's path, and a missing file would be ignored. */
static const char *library_path(const char *library)
{
    if (library == NULL)
        return NULL;
    char *path = realpath(library, NULL);
    if (path == NULL)
        die("no such library", library);
    return path;
}

int main(int argc, char **argv)
{
    int at = parse_options(argc, argv);
    options.preload = library_path(options.preload);
    options.tested = options.tested != NULL ? library_path(options.tested) : options.preload;
    for (; at < argc; at++) {
        char *path = realpath(argv[at], NULL);
        if (path == NULL)
            die("no such program", argv[at]);
        add_checks_of(path);
    }
    size_t running = 0, totals[3] = { 0, 0, 0 }, chosen = 0;
    for (size_t i = 0; i < job_count; i++) {
        struct job *job = &jobs[i];
        if (options.only_count > 0 && !any_in(job->name, options.only, options.only_count))
            continue;
        if (any_in(job->name, options.skip, options.skip_count))
            continue;
        chosen++;
        if (options.list) {
            printf("%s\n", job->name);
            continue;
        }
        if (running == options.jobs) {
            totals[report_job(wait_for_one())]++;
            running--;
        }
        start_job(job);
        running++;
    }
    for (; running > 0; running--)
        totals[report_job(wait_for_one())]++;
    if (options.list)
        return 0;
    printf("%zu checks: %zu pass, %zu fail, %zu skipped\n", chosen, totals[PASS], totals[FAIL], totals[SKIP]);
    return totals[FAIL] == 0 && chosen > 0 ? 0 : 1;
}
