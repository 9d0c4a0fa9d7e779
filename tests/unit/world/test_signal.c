/* unit/world/test_signal.c: threads that reach no safepoint are stopped by the signal, wherever they are but in the library. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/futex.h>

#include "world/internal.h"

#define LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return true;
#endif
#endif
    return OUROI_RACES_SEEN;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(unsigned microseconds)
{
    struct timespec t = { 0, (long)microseconds * 1000 };
    nanosleep(&t, NULL);
}

static int ends[2];
static uint32_t ready, quit, word;
static uint64_t turns;
static pthread_t sleeper;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void in_read(void)
{
    char byte;
    if (read(ends[0], &byte, 1) != 1) /* restarted */
        abort();
}

static void in_poll(void);

/* Where ThreadSanitizer hands on signals, too. */
static void in_wait(void)
{
    if (OUROI_RACES_SEEN)
        in_poll();
    else
        in_read();
}

static void in_epoll_wait(void)
{
    int fd = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &event);
    int n;
    while ((n = epoll_wait(fd, &event, 1, -1)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        abort();
    close(fd);
}

static void in_poll(void)
{
    struct pollfd one = { .fd = ends[0], .events = POLLIN };
    int n;
    while ((n = poll(&one, 1, -1)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        abort();
}

static void *sleep_long(void *unused)
{
    (void)unused;
    while (!LOAD(&quit))
        nap(1000);
    return NULL;
}

static void in_join(void)
{
    pthread_join(sleeper, NULL);
}

static void in_futex(void)
{
    while (!LOAD(&quit))
        syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void in_condition(void)
{
    pthread_mutex_lock(&mutex);
    while (!LOAD(&quit))
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
}

static void in_a_loop(void)
{
    while (!LOAD(&quit))
        STORE(&turns, turns + 1);
}

/* At work in the library all the time: no safepoint among these calls. */
static void in_malloc(void)
{
    while (!LOAD(&quit)) {
        void *p[32];
        for (size_t i = 0; i < 32; i++)
            p[i] = ouro_malloc(16 + i * 700);
        for (size_t i = 0; i < 32; i++)
            ouro_free(p[i]);
        STORE(&turns, turns + 1);
    }
}

static void *sleepy_main(void *arg)
{
    ouro_thread_register();
    STORE(&ready, 1);
    errno = 42;
    ((void (*)(void))(uintptr_t)arg)();
    ouro_thread_unregister();
    return NULL;
}

static void end_all(void)
{
    STORE(&quit, 1);
    word = 1;
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    if (write(ends[1], "x", 1) != 1)
        abort();
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Stops a thread that is in `where` many times; the time that it takes is less than 5 ms, of most. */
static void stop_in(void (*where)(void), const char *name)
{
    enum { ROUNDS = 60 };
    uint64_t times[ROUNDS];
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    ready = quit = word = 0;
    assert_int_equal(pthread_create(&sleeper, NULL, sleep_long, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, sleepy_main, (void *)(uintptr_t)where), 0);
    while (!LOAD(&ready))
        ouro_safepoint();
    nap(20000); /* it is there now */
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t begin = now_ns();
        ouroi_world_stop();
        times[i] = now_ns() - begin;
        if (i == 0) {
            uint64_t seen = LOAD(&turns);
            nap(10000);
            assert_int_equal(LOAD(&turns), seen); /* it is not running */
        }
        ouroi_world_start();
        nap(i % 3 == 0 ? 0 : 300);
    }
    OURO_BLOCKING {
        end_all();
        pthread_join(thread, NULL);
        if (where != in_join)
            pthread_join(sleeper, NULL);
    }
    qsort(times, ROUNDS, sizeof times[0], compare_times);
    print_message("%s: stopped in %lu us, median; %lu at most\n", name, (unsigned long)times[ROUNDS / 2] / 1000,
                  (unsigned long)times[ROUNDS - 1] / 1000);
    /* one that does nothing but call the library is seldom found outside of it */
    uint64_t limit = where == in_malloc ? 500000000u : is_sanitized() ? 50000000u : 5000000u;
    assert_true(times[ROUNDS / 2] < limit);
    close(ends[0]);
    close(ends[1]);
}

static void test_stopping(void **unused)
{
    (void)unused;
    ouro_thread_register();
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    stop_in(in_epoll_wait, "epoll_wait");
    stop_in(in_poll, "poll");
    stop_in(in_join, "pthread_join");
    stop_in(in_condition, "pthread_cond_wait");
    if (OUROI_RACES_SEEN)
        return; /* ThreadSanitizer hands on no signal where it does not know the call to block, or there is none */
    stop_in(in_read, "read");
    stop_in(in_futex, "futex");
    stop_in(in_a_loop, "a loop");
    stop_in(in_malloc, "malloc and free");
}

/* In a section, or under a lock, a thread is left alone. */
static struct ouroi_lock some_lock = OUROI_LOCK_INIT(OUROI_RANK_QUEUE);
static void in_section(void)
{
    ouroi_section_begin();
    nap(30000);
    ouroi_section_end();
    in_wait();
}
static void under_lock(void)
{
    ouroi_lock_acquire(&some_lock);
    nap(30000);
    ouroi_lock_release(&some_lock);
    in_wait();
}

static void test_left_alone(void **unused)
{
    (void)unused;
    static void (*const where[])(void) = { in_section, under_lock };
    for (size_t i = 0; i < COUNT_OF(where); i++) {
        pthread_t thread;
        assert_int_equal(pipe(ends), 0);
        ready = quit = 0;
        uint64_t begin = now_ns();
        assert_int_equal(pthread_create(&thread, NULL, sleepy_main, (void *)(uintptr_t)where[i]), 0);
        while (!LOAD(&ready))
            ouro_safepoint();
        ouroi_world_stop(); /* sends the signal, which ends the nap early or not; then it waits */
        assert_int_equal(ouroi_section_depth, 0);
        assert_true(now_ns() > begin);
        assert_int_equal(some_lock.word, 0);
        ouroi_world_start();
        if (write(ends[1], "x", 1) != 1)
            abort();
        OURO_BLOCKING {
            pthread_join(thread, NULL);
        }
        close(ends[0]);
        close(ends[1]);
    }
}

/* Signals of others go to the handler that was there before; errno and the mask are what they were. */
static uint32_t received, received_value;
static void on_theirs(int signo, siginfo_t *info, void *context)
{
    (void)context;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    received += signo == SIGUSR1 && sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGUSR2) == 1 &&
                sigismember(&mask, SIGTERM) == 0;
    received_value = (uint32_t)info->si_value.sival_int;
    errno = 3;
}

static void test_handing_on(void **unused)
{
    (void)unused;
    struct sigaction theirs = { .sa_sigaction = on_theirs, .sa_flags = SA_SIGINFO };
    sigemptyset(&theirs.sa_mask);
    sigaddset(&theirs.sa_mask, SIGUSR2);
    assert_int_equal(sigaction(SIGUSR1, &theirs, NULL), 0);
    assert_int_equal(ouro_thread_stop_by_signal(SIGUSR1), 0);
    assert_int_equal(ouro_thread_stop_by_signal(SIGUSR1), 0);
    union sigval value = { .sival_int = 99 };
    errno = 8;
    assert_int_equal(pthread_sigqueue(pthread_self(), SIGUSR1, value), 0);
    nap(1); /* ThreadSanitizer delivers here */
    assert_int_equal(received, 1);
    assert_int_equal(received_value, 99);
    assert_int_equal(errno, 8);
    pthread_kill(pthread_self(), SIGUSR1);
    nap(1);
    assert_int_equal(received, 2);
    stop_in(in_wait, "waiting, by SIGUSR1");
    assert_int_equal(received, 2);
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
    pthread_kill(pthread_self(), SIGUSR1);
    nap(1);
    assert_int_equal(received, 3);
    /* ignored, and by default ignored */
    signal(SIGUSR2, SIG_IGN);
    assert_int_equal(ouro_thread_stop_by_signal(SIGUSR2), 0);
    pthread_kill(pthread_self(), SIGUSR2);
    pthread_kill(pthread_self(), SIGURG);
}

static void die_by_default(void *unused)
{
    (void)unused;
    CHILD_EXPECT(ouro_thread_stop_by_signal(SIGALRM) == 0);
    raise(SIGALRM);
    nap(1);
    CHILD_EXPECT(false);
}

static void test_default_action(void **unused)
{
    (void)unused;
    char text[300];
    if (OUROI_RACES_SEEN)
        skip(); /* ThreadSanitizer's own handler stands between */
    int status = unit_in_child(die_by_default, NULL, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGALRM);
}

static void test_errors(void **unused)
{
    (void)unused;
    static const int wrong[] = { -1, SIGKILL, SIGSTOP, 32, 65, 1000000 };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        errno = 0;
        assert_int_equal(ouro_thread_stop_by_signal(wrong[i]), -1);
        assert_int_equal(errno, EINVAL);
    }
}

static void run_with(const char *value, char *text, size_t size)
{
    char command[300], self[200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    snprintf(command, sizeof command, "OURO_STW_SIGNAL='%s' '%s' --signal 2>&1", value, self);
    FILE *pipe_end = popen(command, "r");
    assert_non_null(pipe_end);
    size_t used = fread(text, 1, size - 1, pipe_end);
    text[used] = '\0';
    assert_int_equal(pclose(pipe_end), 0);
}

static int print_signal(void)
{
    int found = 0;
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction action;
        if (sigaction(signo, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0 && ouroi_signal_is_on())
            found = signo;
    }
    printf("%d\n", found);
    return 0;
}

static void test_environment(void **unused)
{
    (void)unused;
    char text[500], expected[200];
    struct {
        const char *value;
        int signo;
    } right[] = { { "SIGURG", SIGURG }, { "USR2", SIGUSR2 }, { "23", 23 }, { "0", 0 }, { "40", 40 } };
    for (size_t i = 0; i < COUNT_OF(right) - (is_sanitized() ? 1 : 0); i++) {
        run_with(right[i].value, text, sizeof text);
        snprintf(expected, sizeof expected, "%d\n", right[i].signo);
        if (!is_sanitized()) /* whose runtime has handlers of its own */
            assert_string_equal(text, expected);
    }
    static const char *const wrong[] = { "", "SIGKILL", "9", "SIGNONE", "12x", "-3", "99999999999" };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        run_with(wrong[i], text, sizeof text);
        snprintf(expected, sizeof expected, "ouro: OURO_STW_SIGNAL=%s is no signal that can be handled; ignored\n",
                 wrong[i]);
        assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
    }
}

/* Threads of all kinds, stopped by the signal or at safepoints as it comes; what each writes is whole when it is stopped at a
 * safepoint, and does not change while it is stopped at all. */
enum { THREADS = 6 };
static uint64_t counts[THREADS];

static void *mixed_main(void *arg)
{
    uint64_t *count = arg, seed = (uint64_t)(count - counts);
    ouro_thread_register();
    while (!LOAD(&quit)) {
        __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
        switch (ouroi_random_next(&seed) % 8) {
        case 0:
            ouro_safepoint();
            break;
        case 1:
            ouro_blocking_begin();
            ouro_blocking_end();
            break;
        case 2:
            if (ouroi_random_next(&seed) % 64 == 0)
                nap(2000);
            break;
        case 3:
            ouro_free(ouro_malloc(ouroi_random_next(&seed) % 40000));
            break;
        case 4:
            if (ouroi_random_next(&seed) % 64 == 0) {
                ouroi_world_stop();
                ouroi_world_start();
            }
            break;
        case 5:
            if (ouroi_random_next(&seed) % 64 == 0)
                ouro_thread_unregister();
            ouro_thread_register();
            break;
        default:
            break;
        }
    }
    return NULL;
}

static void test_mixed(void **unused)
{
    (void)unused;
    pthread_t threads[THREADS];
    uint64_t seen[THREADS];
    quit = 0;
    assert_int_equal(ouro_thread_stop_by_signal(SIGURG), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mixed_main, &counts[i]), 0);
    unsigned rounds = is_sanitized() ? 100 : 400;
    for (unsigned round = 0; round < rounds; round++) {
        ouroi_world_stop();
        for (size_t i = 0; i < THREADS; i++)
            seen[i] = LOAD(&counts[i]);
        nap(round % 8 == 0 ? 1000 : 10);
        for (size_t i = 0; i < THREADS; i++)
            if (LOAD(&counts[i]) > seen[i] + 1) /* a thread that is registering just now may have been on its way to */
                fail_msg("thread %zu ran while the world was stopped", i);
        ouroi_world_start();
        nap(200);
    }
    OURO_BLOCKING {
        STORE(&quit, 1);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    assert_int_equal(ouro_thread_stop_by_signal(0), 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--signal") == 0)
        return print_signal();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),      cmocka_unit_test(test_stopping), cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_handing_on),  cmocka_unit_test(test_mixed),    cmocka_unit_test(test_default_action),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
