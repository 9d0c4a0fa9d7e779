/* unit/world/test_late.c: what stderr says about a thread that holds up a stop of the world. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "world/internal.h"

static int ends[2], tid, quit, ready;
static unsigned interruptions;
static uint64_t warn_ns = 50000000;

static OUROI_NOINLINE void sleep_in_the_kernel(void)
{
    struct timespec t = { 0, 400000000 };
    interruptions += nanosleep(&t, NULL) != 0;
    __asm__ __volatile__("" ::: "memory");
}

static OUROI_NOINLINE void read_what_does_not_come(void)
{
    char byte;
    ssize_t n = read(ends[0], &byte, 1);
    if (n != 1)
        abort();
    __asm__ __volatile__("" ::: "memory");
}

static OUROI_NOINLINE void work_without_end(void)
{
    while (!__atomic_load_n(&quit, __ATOMIC_RELAXED))
        __asm__ __volatile__("");
}

static void *late_main(void *arg)
{
    pthread_setname_np(pthread_self(), "tardy");
    ouro_thread_register();
    tid = (int)syscall(SYS_gettid);
    __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    ((void (*)(void))(uintptr_t)arg)();
    ouro_safepoint();
    return NULL;
}

/* Stops the world, twice if need be, while another thread is in `where`, and lets it go from a third. */
static void *free_the_late(void *unused)
{
    (void)unused;
    struct timespec t = { 0, 300000000 };
    nanosleep(&t, NULL);
    __atomic_store_n(&quit, 1, __ATOMIC_RELAXED);
    ssize_t n = write(ends[1], "x", 1);
    (void)n;
    return NULL;
}

static void stop_while_late(void *where)
{
    pthread_t late, helper;
    CHILD_EXPECT(pipe(ends) == 0);
    ouroi_stop_warn_ns = warn_ns;
    ouro_thread_register();
    CHILD_EXPECT(pthread_create(&late, NULL, late_main, where) == 0);
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
        ouro_safepoint();
    struct timespec t = { 0, 50000000 };
    nanosleep(&t, NULL); /* it is there now */
    CHILD_EXPECT(pthread_create(&helper, NULL, free_the_late, NULL) == 0);
    ouroi_world_stop();
    ouroi_world_start();
    OURO_BLOCKING {
        pthread_join(late, NULL);
        pthread_join(helper, NULL);
    }
    CHILD_EXPECT(interruptions == 0);
    for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++) {
        struct sigaction action;
        CHILD_EXPECT(sigaction(signo, NULL, &action) == 0);
        CHILD_EXPECT(action.sa_handler == SIG_DFL);
    }
    fprintf(stderr, "tid=%d\n", tid);
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

static void expect_warning(void (*where)(void), const char *function, const char *does)
{
    static char text[16384];
    char line[64];
    int status = unit_in_child(stop_while_late, (void *)(uintptr_t)where, text, sizeof text);
    print_message("%s", text);
    assert_true(unit_child_returned(status));
    const char *at = strstr(text, "tid=");
    assert_non_null(at);
    snprintf(line, sizeof line, "ouro: thread \"tardy\" (tid %d) ", atoi(at + 4));
    assert_int_equal(count_of(text, line), 1);
    assert_int_equal(count_of(text, "holds up a collection"), 1);
    assert_non_null(strstr(text, does));
    assert_non_null(strstr(text, function));
    assert_non_null(strstr(text, "late_main+"));
    for (at = text; strncmp(at, "tid=", 4) != 0; at = strchr(at, '\n') + 1)
        assert_int_equal(strncmp(at, "ouro: ", 6), 0);
}

static void test_asleep(void **unused)
{
    (void)unused;
    expect_warning(sleep_in_the_kernel, "sleep_in_the_kernel+", "sleeps in the system call clock_nanosleep");
}

static void test_reading(void **unused)
{
    (void)unused;
    expect_warning(read_what_does_not_come, "read_what_does_not_come+", "sleeps in the system call read");
}

static void test_busy(void **unused)
{
    (void)unused;
    if (OUROI_RACES_SEEN)
        skip(); /* ThreadSanitizer does not interrupt a loop */
    expect_warning(work_without_end, "work_without_end+", "it runs");
}

/* 0: nothing is said. */
static void test_silence(void **unused)
{
    (void)unused;
    static char text[1000];
    warn_ns = 0;
    assert_true(
        unit_child_returned(unit_in_child(stop_while_late, (void *)(uintptr_t)sleep_in_the_kernel, text, sizeof text)));
    warn_ns = 50000000;
    assert_int_equal(strncmp(text, "tid=", 4), 0);
}

/* What the environment says, in a process of its own. */
static void print_warn_time(void)
{
    fprintf(stderr, "%lu\n", (unsigned long)(ouroi_stop_warn_ns / 1000000));
}

static void run_with(const char *value, char *text, size_t size)
{
    char command[300], self[200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    snprintf(command, sizeof command, "OURO_STW_WARN_MS='%s' '%s' --warn-time 2>&1", value, self);
    FILE *pipe_end = popen(command, "r");
    assert_non_null(pipe_end);
    size_t used = fread(text, 1, size - 1, pipe_end);
    text[used] = '\0';
    assert_int_equal(pclose(pipe_end), 0);
}

static void test_environment(void **unused)
{
    (void)unused;
    char text[500];
    run_with("250", text, sizeof text);
    assert_string_equal(text, "250\n");
    run_with("0", text, sizeof text);
    assert_string_equal(text, "0\n");
    static const char *const wrong[] = { "", "soon", "-1", "10x", "99999999999999999999" };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char expected[200];
        run_with(wrong[i], text, sizeof text);
        snprintf(expected, sizeof expected, "ouro: OURO_STW_WARN_MS=%s is no number of milliseconds; ignored\n1000\n",
                 wrong[i]);
        assert_string_equal(text, expected);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--warn-time") == 0) {
        print_warn_time();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asleep),  cmocka_unit_test(test_reading),     cmocka_unit_test(test_busy),
        cmocka_unit_test(test_silence), cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
