/* fuzz/environment.c: variables of the environment with values read from bytes: the process that has them works all the same,
 * and says one line of each that it cannot read.
 *
 * An input is values separated by zero bytes, each after a byte that chooses its variable. As the environment is read once, each
 * input is a process of its own, of this program.
 */
#define _GNU_SOURCE
#include <ouro/ouro.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[] = { "OURO_GC_WORKERS", "OURO_GC_THRESHOLD",   "OURO_GC_DISABLE", "OURO_NUMA",
                                     "OURO_THP",        "OURO_PURGE_DELAY_MS", "OURO_SECURE",     "OURO_STW_WARN_MS",
                                     "OURO_STW_SIGNAL", "OURO_TRACE" };
enum { NAMES = sizeof names / sizeof names[0], VALUE_MAX = 200, SAID_MAX = 1 << 16 };

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "%s:%d: not so: %s\n%s\n", __FILE__, __LINE__, #condition, said); \
            abort();                                                                          \
        }                                                                                     \
    } while (0)

static char said[SAID_MAX];

/* What the process with these variables does. */
struct pair {
    ouro_object base;
    struct pair *a, *b;
};
static ouro_type pair_type = OURO_TYPE(struct pair, OURO_REFS(struct pair, a, b));

static void *work(void *arg)
{
    for (unsigned i = 0; i < 200; i++) {
        struct pair *pair = ouro_new(&pair_type);
        void *block = ouro_malloc(i * 37);
        if (pair == NULL || block == NULL)
            _exit(3);
        pair->a = ouro_newref(pair);
        ouro_decref(pair);
        ouro_free(block);
    }
    return arg;
}

__attribute__((constructor(1000))) static void be_the_child(void)
{
    if (getenv("FUZZ_ENVIRONMENT_CHILD") == NULL)
        return;
    pthread_t thread;
    alarm(60);
    if (pthread_create(&thread, NULL, work, NULL) != 0)
        _exit(4);
    OURO_BLOCKING {
        pthread_join(thread, NULL);
    }
    work(NULL);
    if (ouro_gc_collect(2) < 0 || ouro_debug_check() != 0)
        _exit(5);
    exit(0);
}

static void read_all(int fd)
{
    size_t length = 0;
    ssize_t got;
    while (length < sizeof said - 1 && (got = read(fd, said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = '\0';
}

static void run_with(char *const *environment)
{
    int ends[2], status = -1;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    char program[] = "/proc/self/exe";
    char *args[] = { program, NULL };
    said[0] = '\0';
    CHECK(pipe(ends) == 0 && posix_spawn_file_actions_init(&actions) == 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    CHECK(posix_spawn(&pid, program, &actions, NULL, args, environment) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    read_all(ends[0]);
    close(ends[0]);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char entries[NAMES][VALUE_MAX + 64];
    char *environment[NAMES + 2], child[] = "FUZZ_ENVIRONMENT_CHILD=1";
    size_t count = 0;
    bool given[NAMES] = { false };
    environment[count++] = child;
    for (size_t at = 0; at < size;) {
        size_t which = data[at++] % NAMES, length = 0;
        while (at + length < size && data[at + length] != 0)
            length++;
        size_t kept = length < VALUE_MAX ? length : VALUE_MAX;
        if (!given[which]) {
            int begin = snprintf(entries[which], sizeof entries[which], "%s=", names[which]);
            memcpy(entries[which] + begin, data + at, kept);
            entries[which][(size_t)begin + kept] = '\0';
            environment[count++] = entries[which];
            given[which] = true;
        }
        at += length + 1;
    }
    environment[count] = NULL;
    run_with(environment);
    for (size_t i = 0; i < NAMES; i++) { /* a line for each at most */
        size_t told = 0;
        char begin[64];
        snprintf(begin, sizeof begin, "ouro: %s=", names[i]);
        for (const char *line = strstr(said, begin); line != NULL; line = strstr(line + 1, begin))
            told += line == said || line[-1] == '\n';
        CHECK(told <= 1 && (given[i] || told == 0));
    }
    return 0;
}
