/* api/objects.c: see objects.h. */
#define _GNU_SOURCE
#include "objects.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void objects_fail(const char *what, const char *file, int line)
{
    const char *slash = strrchr(file, '/');
    fprintf(stderr, "%s:%d: not so: %s\n", slash != NULL ? slash + 1 : file, line, what);
    fflush(stderr);
    _exit(1);
}

double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void sleep_ms(unsigned ms)
{
    struct timespec left = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

static bool wait_for(_Atomic size_t *what, size_t least, bool polling)
{
    double end = now_s() + PATIENCE_S;
    while (atomic_load(what) < least) {
        if (polling)
            ouro_safepoint();
        if (now_s() > end)
            return false;
        sched_yield();
    }
    return true;
}

bool wait_polling(_Atomic size_t *what, size_t least)
{
    return wait_for(what, least, true);
}

bool wait_deaf(_Atomic size_t *what, size_t least)
{
    return wait_for(what, least, false);
}

static void probe_destroy(ouro_object *self)
{
    struct probe *probe = (struct probe *)self;
    EXPECT(probe->magic == MAGIC); /* or it died before */
    probe->magic = SCRUBBED;
    if (probe->by != NULL)
        *probe->by = pthread_self();
    if (probe->deaths != NULL)
        atomic_fetch_add(probe->deaths, 1);
}

ouro_type probe_type = OURO_TYPE(struct probe, .destroy = probe_destroy);
ouro_type pair_type = OURO_TYPE(struct pair, OURO_REFS(struct pair, left, right), .destroy = probe_destroy);

struct probe *probe_new(_Atomic size_t *deaths)
{
    struct probe *probe = ouro_new(&probe_type);
    EXPECT(probe != NULL);
    probe->magic = MAGIC;
    probe->deaths = deaths;
    return probe;
}

struct pair *pair_new(_Atomic size_t *deaths, void *left, void *right)
{
    struct pair *pair = ouro_new(&pair_type);
    EXPECT(pair != NULL);
    pair->probe.magic = MAGIC;
    pair->probe.deaths = deaths;
    pair->left = left;
    pair->right = right;
    return pair;
}

static void rest_until_asked(struct puppet *puppet)
{
    size_t next = atomic_load(&puppet->done) + 1;
    switch (puppet->rest) {
    case REST_BLOCKING:
        OURO_BLOCKING {
            EXPECT(wait_deaf(&puppet->asked, next));
        }
        break;
    case REST_POLLING:
        EXPECT(wait_polling(&puppet->asked, next));
        break;
    case REST_DEAF:
    case REST_PLAIN:
        EXPECT(wait_deaf(&puppet->asked, next));
    }
}

static void *puppet_main(void *arg)
{
    struct puppet *puppet = arg;
    if (puppet->rest != REST_PLAIN)
        EXPECT(ouro_thread_register() == 0);
    for (;;) {
        rest_until_asked(puppet);
        if (puppet->last)
            return NULL;
        puppet->fn(puppet->arg);
        atomic_fetch_add(&puppet->done, 1);
    }
}

void puppet_start(struct puppet *puppet, enum rest rest)
{
    memset(puppet, 0, sizeof *puppet);
    puppet->rest = rest;
    EXPECT(pthread_create(&puppet->thread, NULL, puppet_main, puppet) == 0);
    puppet_do(puppet, order_nothing, NULL);
}

void puppet_ask(struct puppet *puppet, void (*fn)(void *arg), void *arg)
{
    puppet->fn = fn;
    puppet->arg = arg;
    atomic_fetch_add(&puppet->asked, 1);
}

void puppet_await(struct puppet *puppet)
{
    EXPECT(wait_deaf(&puppet->done, atomic_load(&puppet->asked)));
}

void puppet_do(struct puppet *puppet, void (*fn)(void *arg), void *arg)
{
    puppet_ask(puppet, fn, arg);
    puppet_await(puppet);
}

void puppet_do_while_polling(struct puppet *puppet, void (*fn)(void *arg), void *arg)
{
    puppet_ask(puppet, fn, arg);
    EXPECT(wait_polling(&puppet->done, atomic_load(&puppet->asked)));
}

void puppet_end(struct puppet *puppet)
{
    puppet->last = true;
    atomic_fetch_add(&puppet->asked, 1);
    pthread_join(puppet->thread, NULL);
}

void order_decref(void *obj)
{
    ouro_decref(obj);
}

void order_incref(void *obj)
{
    ouro_incref(obj);
}

void order_nothing(void *unused)
{
    (void)unused;
}

struct task {
    void (*fn)(void *arg);
    void *arg;
};

static void *run_task(void *arg)
{
    struct task *task = arg;
    task->fn(task->arg);
    return NULL;
}

void with_stack(size_t kib, void (*fn)(void *arg), void *arg)
{
    struct task task = { fn, arg };
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    EXPECT(pthread_attr_setstacksize(&attr, (SANITIZED ? kib * 8 : kib) * KIB) == 0);
    EXPECT(pthread_create(&thread, &attr, run_task, &task) == 0);
    pthread_attr_destroy(&attr);
    OURO_BLOCKING {
        pthread_join(thread, NULL);
    }
}

void child_main(int argc, char **argv, const struct child_case *cases, size_t count)
{
    if (argc != 3 || strcmp(argv[1], "--case") != 0)
        return;
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[2], cases[i].name) == 0) {
            cases[i].run();
            exit(0);
        }
    }
    fprintf(stderr, "no case %s\n", argv[2]);
    exit(2);
}

static _Noreturn void become(const char *name, const char *env, int err)
{
    char *args[] = { (char *)(uintptr_t) "/proc/self/exe", (char *)(uintptr_t) "--case", (char *)(uintptr_t)name,
                     NULL };
    dup2(err, 2);
    if (env != NULL)
        putenv((char *)(uintptr_t)env);
    execv(args[0], args);
    _exit(126);
}

int child_run(const char *name, const char *env, char *text, size_t size)
{
    int ends[2], status = -1;
    char rest[256];
    size_t used = 0;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        become(name, env, ends[1]);
    }
    close(ends[1]);
    for (;;) {
        bool room = used + 1 < size;
        ssize_t n = read(ends[0], room ? text + used : rest, room ? size - 1 - used : sizeof rest);
        if (n <= 0)
            break;
        used += room ? (size_t)n : 0;
    }
    close(ends[0]);
    if (size > 0)
        text[used] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

bool child_was_fine(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool child_aborted(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

size_t lines_of(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++)
        lines += *text == '\n' || text[1] == '\0';
    return lines;
}
