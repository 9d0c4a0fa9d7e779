/* unit/os/test_os.c: what the os layer promises of memory, time and the environment. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"

static size_t page(void)
{
    ouroi_os_init();
    return ouroi_machine.page_bytes;
}

static bool is_zero(const char *at, size_t bytes)
{
    return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

static void test_machine(void **state)
{
    (void)state;
    assert_int_equal(page(), sysconf(_SC_PAGESIZE));
    assert_in_range(ouroi_machine.cpus, 1, 1024);
    assert_in_range(ouroi_machine.nodes, 1, OUROI_NODES_MAX);
    assert_true(ouroi_os.node() < OUROI_NODES_MAX);
}

static void test_map_and_unmap(void **state)
{
    (void)state;
    int error = 99;
    errno = 7777;
    char *p = ouroi_os.map(NULL, 1 * MIB, OUROI_MAP_ANYWHERE, &error);
    assert_non_null(p);
    assert_int_equal(error, 0);
    assert_true(is_zero(p, 1 * MIB));
    memset(p, 1, 1 * MIB);
    assert_int_equal(ouroi_os.unmap(p, 1 * MIB), 0);
    assert_int_equal(errno, 7777);
    assert_int_equal(msync(p, page(), MS_ASYNC), -1); /* it is gone */
}

static void test_map_exactly(void **state)
{
    (void)state;
    int error;
    errno = 7777;
    char *p = ouroi_os.map(NULL, 8 * page(), OUROI_MAP_ANYWHERE, &error);
    memset(p, 0x5a, 8 * page());
    /* where something is: refused, and what is there stays */
    assert_null(ouroi_os.map(p, 8 * page(), OUROI_MAP_EXACT, &error));
    assert_int_equal(error, -EEXIST);
    assert_null(ouroi_os.map(p + 7 * page(), 2 * page(), OUROI_MAP_EXACT, &error));
    assert_int_equal(error, -EEXIST);
    assert_int_equal(p[0], 0x5a);
    /* in a hole: there */
    assert_int_equal(ouroi_os.unmap(p + 2 * page(), 2 * page()), 0);
    assert_ptr_equal(ouroi_os.map(p + 2 * page(), 2 * page(), OUROI_MAP_EXACT, &error), p + 2 * page());
    assert_true(is_zero(p + 2 * page(), 2 * page()));
    assert_int_equal(p[2 * page() - 1], 0x5a);
    assert_int_equal(p[4 * page()], 0x5a);
    ouroi_os.unmap(p, 8 * page());
    assert_int_equal(errno, 7777);
}

static void test_map_of_too_much(void **state)
{
    (void)state;
    int error = 0;
    errno = 7777;
    assert_null(ouroi_os.map(NULL, (size_t)1 << 62, OUROI_MAP_ANYWHERE, &error));
    assert_int_equal(error, -ENOMEM);
    assert_int_equal(errno, 7777);
}

static void write_to(void *arg)
{
    *(volatile char *)arg = 1;
}

static void test_read_only_zeroes(void **state)
{
    (void)state;
    int error;
    char *p = ouroi_os.map(NULL, page(), OUROI_MAP_READ, &error);
    assert_non_null(p);
    assert_true(is_zero(p, page()));
    assert_true(WIFSIGNALED(unit_in_child(write_to, p, NULL, 0)));
    ouroi_os.unmap(p, page());
}

static void test_purge_gives_back_and_zeroes(void **state)
{
    (void)state;
    int error;
    unsigned char resident[16];
    char *p = ouroi_os.map(NULL, 16 * page(), OUROI_MAP_ANYWHERE, &error);
    memset(p, 1, 16 * page());
    assert_int_equal(ouroi_os.purge(p + 4 * page(), 8 * page()), 0);
    assert_int_equal(mincore(p, 16 * page(), resident), 0);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(resident[i] & 1, i < 4 || i >= 12);
    assert_true(is_zero(p + 4 * page(), 8 * page()));
    assert_int_equal(p[4 * page() - 1], 1);
    assert_int_equal(p[12 * page()], 1);
    ouroi_os.unmap(p, 16 * page());
}

static bool is_locked(void)
{
    char line[200];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "VmLck: %zu", &kib) != 1)
        continue;
    fclose(file);
    return kib > 0;
}

static void test_purge_of_locked_memory_is_refused(void **state)
{
    (void)state;
    int error;
    char *p = ouroi_os.map(NULL, 2 * page(), OUROI_MAP_ANYWHERE, &error);
    if (mlock(p, 2 * page()) != 0 || !is_locked()) /* sanitizers make nothing of mlock */
        skip();
    memset(p, 1, 2 * page());
    errno = 7777;
    assert_true(ouroi_os.purge(p, 2 * page()) < 0);
    assert_int_equal(errno, 7777);
    assert_int_equal(p[0], 1);
    ouroi_os.unmap(p, 2 * page());
}

static void test_resize(void **state)
{
    (void)state;
    int error;
    char *p = ouroi_os.map(NULL, 16 * page(), OUROI_MAP_ANYWHERE, &error);
    memset(p, 1, 16 * page());
    assert_int_equal(ouroi_os.resize(p, 16 * page(), 8 * page()), 0); /* shrinks: the rest is free */
    assert_int_equal(msync(p + 8 * page(), page(), MS_ASYNC), -1);
    errno = 7777;
    assert_int_equal(ouroi_os.resize(p, 8 * page(), 12 * page()), 0); /* grows again */
    assert_int_equal(p[8 * page() - 1], 1);
    assert_true(is_zero(p + 8 * page(), 4 * page()));
    ouroi_os.map(p + 12 * page(), page(), OUROI_MAP_EXACT, &error); /* in its way */
    assert_true(ouroi_os.resize(p, 12 * page(), 16 * page()) < 0);
    assert_int_equal(p[0], 1);
    assert_int_equal(errno, 7777);
    ouroi_os.unmap(p, 13 * page());
}

static void test_move(void **state)
{
    (void)state;
    int error;
    char *from = ouroi_os.map(NULL, 4 * page(), OUROI_MAP_ANYWHERE, &error);
    char *to = ouroi_os.map(NULL, 8 * page(), OUROI_MAP_ANYWHERE, &error);
    for (size_t i = 0; i < 4 * page(); i++)
        from[i] = (char)(i * 7);
    assert_int_equal(ouroi_os.move(from, 4 * page(), to, 8 * page()), 0);
    for (size_t i = 0; i < 4 * page(); i++)
        assert_int_equal(to[i], (char)(i * 7));
    assert_true(is_zero(to + 4 * page(), 4 * page()));
    assert_int_equal(msync(from, page(), MS_ASYNC), -1);
    ouroi_os.unmap(to, 8 * page());
}

static void test_protect(void **state)
{
    (void)state;
    int error;
    char *p = ouroi_os.map(NULL, 3 * page(), OUROI_MAP_ANYWHERE, &error);
    assert_int_equal(ouroi_os.protect(p + page(), page(), false), 0);
    p[0] = p[2 * page()] = 1;
    assert_true(WIFSIGNALED(unit_in_child(write_to, p + page(), NULL, 0)));
    assert_true(unit_child_returned(unit_in_child(write_to, p + 2 * page(), NULL, 0)));
    ouroi_os.unmap(p, 3 * page());
}

static void test_time_moves_on(void **state)
{
    (void)state;
    uint32_t word = 0;
    uint64_t a = ouroi_os.now_ns();
    ouroi_os.futex_wait(&word, 0, 20000000);
    uint64_t b = ouroi_os.now_ns();
    assert_true(b - a >= 15000000 && b - a < 10000000000u);
    ouroi_os.futex_wait(&word, 1, 0); /* is not 1: returns at once */
}

static uint32_t wake_word;

static void *wait_for_wake(void *arg)
{
    while (__atomic_load_n(&wake_word, __ATOMIC_ACQUIRE) == 0)
        ouroi_os.futex_wait(&wake_word, 0, 0);
    return arg;
}

static void test_futex_wakes(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_wake, NULL), 0);
    usleep(20000);
    __atomic_store_n(&wake_word, 1, __ATOMIC_RELEASE);
    ouroi_os.futex_wake(&wake_word, 4);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void test_read_file(void **state)
{
    (void)state;
    char text[64], path[] = "/tmp/ouro-unit-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    errno = 7777;
    assert_int_equal(ouroi_os_read_file(path, text, sizeof text), 10);
    assert_string_equal(text, "0123456789");
    assert_int_equal(ouroi_os_read_file(path, text, 5), 4);
    assert_string_equal(text, "0123");
    unlink(path);
    assert_true(ouroi_os_read_file(path, text, sizeof text) < 0);
    assert_int_equal(errno, 7777);
    int next = open("/dev/null", O_RDONLY); /* no descriptor is left open */
    assert_int_equal(next, fd);
    close(next);
}

/* Options. Read once, hence each case in a child. */

struct setting {
    const char *name, *value;
    enum ouroi_numa numa;
    enum ouroi_thp thp;
    enum ouroi_report report;
    uint64_t delay_ns;
    bool secure, complaint;
};

#define SECOND UINT64_C(1000000000)

static const struct setting settings[] = {
    { "OURO_NOTHING", "1", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_NUMA", "off", OUROI_NUMA_OFF, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_NUMA", "interleave", OUROI_NUMA_INTERLEAVE, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_NUMA", "of", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_NUMA", "offf", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_NUMA", "", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_THP", "never", OUROI_NUMA_AUTO, OUROI_THP_NEVER, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_THP", "always", OUROI_NUMA_AUTO, OUROI_THP_ALWAYS, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_THP", "sometimes", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_STATS_AT_EXIT", "text", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_TEXT, SECOND, false, false },
    { "OURO_STATS_AT_EXIT", "json", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_JSON, SECOND, false, false },
    { "OURO_STATS_AT_EXIT", "xml", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_PURGE_DELAY_MS", "50", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND / 20, false, false },
    { "OURO_PURGE_DELAY_MS", "0", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, 0, false, false },
    { "OURO_PURGE_DELAY_MS", "50ms", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_PURGE_DELAY_MS", "-1", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_PURGE_DELAY_MS", "", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, true },
    { "OURO_PURGE_DELAY_MS", "99999999999999999999999", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND,
      false, true },
    { "OURO_SECURE", "1", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, true, false },
    { "OURO_SECURE", "0", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, false },
    { "OURO_SECUREX", "1", OUROI_NUMA_AUTO, OUROI_THP_AUTO, OUROI_REPORT_NONE, SECOND, false, false },
};

/* By exec: this process has read its environment already. */
static void exec_with(void *arg)
{
    const struct setting *s = arg;
    char index[16];
    snprintf(index, sizeof index, "%zu", (size_t)(s - settings));
    for (size_t i = 0; i < COUNT_OF(settings); i++)
        unsetenv(settings[i].name);
    setenv(s->name, s->value, 1);
    execl("/proc/self/exe", "test_os", "--options", index, (char *)NULL);
    _exit(99);
}

static int check_options(const char *index)
{
    const struct setting *s = &settings[strtoul(index, NULL, 10)];
    ouroi_os_init();
    ouroi_os_init();
    return ouroi_options.numa == s->numa && ouroi_options.thp == s->thp && ouroi_options.stats_at_exit == s->report &&
                   ouroi_options.purge_delay_ns == s->delay_ns && ouroi_options.secure == s->secure
               ? 0
               : 1;
}

static void test_options(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        char text[600];
        int status = unit_in_child(exec_with, (void *)(uintptr_t)&settings[i], text, sizeof text);
        if (!unit_child_returned(status))
            print_message("%s=%s\n", settings[i].name, settings[i].value);
        assert_true(unit_child_returned(status));
        if (!settings[i].complaint) {
            assert_string_equal(text, "");
            continue;
        }
        assert_non_null(strstr(text, settings[i].name));
        assert_non_null(strstr(text, settings[i].value));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    }
}

static void test_getenv(void **state)
{
    (void)state;
    setenv("OURO_UNIT", "value=with=signs", 1);
    assert_string_equal(ouroi_os_getenv("OURO_UNIT"), "value=with=signs");
    assert_null(ouroi_os_getenv("OURO_UNI"));
    assert_null(ouroi_os_getenv("OURO_UNITS"));
    unsetenv("OURO_UNIT");
    assert_null(ouroi_os_getenv("OURO_UNIT"));
}

static void test_injection_counts(void **state)
{
    (void)state;
    struct ouroi_os before = ouroi_os;
    int error;
    ouroi_os_inject(2, 3);
    char *one = ouroi_os.map(NULL, page(), OUROI_MAP_ANYWHERE, &error);
    assert_non_null(one);
    for (unsigned i = 0; i < 2; i++) {
        assert_null(ouroi_os.map(NULL, page(), OUROI_MAP_ANYWHERE, &error));
        assert_int_equal(error, -ENOMEM);
    }
    char *two = ouroi_os.map(NULL, page(), OUROI_MAP_ANYWHERE, &error);
    assert_non_null(two);
    assert_int_equal(ouroi_os_inject_requests(), 4);
    ouroi_os_inject(0, 0);
    for (unsigned i = 0; i < 10; i++) {
        char *p = ouroi_os.map(NULL, page(), OUROI_MAP_ANYWHERE, &error);
        assert_non_null(p);
        ouroi_os.unmap(p, page());
    }
    ouroi_os.unmap(one, page());
    ouroi_os.unmap(two, page());
    ouroi_os = before;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--options") == 0)
        _exit(check_options(argv[2])); /* nothing is said at this exit */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_map_and_unmap),
        cmocka_unit_test(test_map_exactly),
        cmocka_unit_test(test_map_of_too_much),
        cmocka_unit_test(test_read_only_zeroes),
        cmocka_unit_test(test_purge_gives_back_and_zeroes),
        cmocka_unit_test(test_purge_of_locked_memory_is_refused),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_protect),
        cmocka_unit_test(test_time_moves_on),
        cmocka_unit_test(test_futex_wakes),
        cmocka_unit_test(test_read_file),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_getenv),
        cmocka_unit_test(test_injection_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
