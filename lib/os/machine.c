/* os/machine.c: what the machine is and what the environment asked for.
 *
 * Owns        ouroi_machine and ouroi_options.
 * Invariants  allocates nothing: it runs before the first malloc has returned.
 * Sync        written by ouroi_os_init under its caller's lock, read-only after.
 */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

struct ouroi_options ouroi_options = { .purge_delay_ns = 1000000000u };
struct ouroi_machine ouroi_machine = { .page_bytes = 4096, .cpus = 1, .nodes = 1, .address_limit_bytes = SIZE_MAX };

const char *ouroi_os_getenv(const char *name)
{
    if (environ == NULL)
        return NULL;
    size_t length = strlen(name);
    for (char **entry = environ; *entry != NULL; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

long ouroi_os_read_file(const char *path, char *text, size_t size)
{
    int saved = errno;
    long used = -ENOENT;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC); /* libc's may be wrapped, and allocate */
    if (fd >= 0) {
        used = 0;
        while ((size_t)used < size - 1) {
            long n = syscall(SYS_read, fd, text + used, size - 1 - (size_t)used);
            if (n <= 0)
                break;
            used += n;
        }
        text[used] = '\0';
        syscall(SYS_close, fd);
    }
    errno = saved;
    return used;
}

/* Reads digits at *text and moves it past them; false if there are none or too many. */
static bool read_number(const char **text, uint64_t *value)
{
    const char *start = *text;
    uint64_t sum = 0;
    for (; **text >= '0' && **text <= '9'; ++*text) {
        if (sum > (UINT64_MAX - 9) / 10)
            return false;
        sum = sum * 10 + (uint64_t)(**text - '0');
    }
    *value = sum;
    return *text != start;
}

/* The highest number in a list such as "0-3,8", plus one; 0 if it cannot be read. */
static unsigned list_end(const char *list)
{
    uint64_t highest = 0, value;
    for (;;) {
        if (!read_number(&list, &value))
            return 0;
        highest = value > highest ? value : highest;
        if (*list != '-' && *list != ',')
            return (unsigned)highest + 1;
        list++;
    }
}

static unsigned count_nodes(void)
{
    char text[256];
    if (ouroi_os_read_file("/sys/devices/system/node/has_memory", text, sizeof text) <= 0 &&
        ouroi_os_read_file("/sys/devices/system/node/online", text, sizeof text) <= 0)
        return 1;
    unsigned nodes = list_end(text);
    return nodes == 0 ? 1 : nodes > OUROI_NODES_MAX ? OUROI_NODES_MAX : nodes;
}

static unsigned count_cpus(void)
{
    unsigned long mask[1024 / (8 * sizeof(unsigned long))] = { 0 };
    unsigned cpus = 0;
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
        cpus += (unsigned)__builtin_popcountl(mask[i]);
    if (cpus == 0)
        cpus = 1;
    char text[64];
    if (ouroi_os_read_file("/sys/fs/cgroup/cpu.max", text, sizeof text) > 0) {
        const char *at = text;
        uint64_t quota, period;
        if (read_number(&at, &quota) && *at++ == ' ' && read_number(&at, &period) && period > 0) {
            uint64_t allowed = (quota + period - 1) / period;
            if (allowed > 0 && allowed < cpus)
                cpus = (unsigned)allowed;
        }
    }
    return cpus;
}

/* The index in `words`, separated by '|', of the value of the variable `name`; `otherwise` where it is not set or is
 * none of them, which is said. */
static unsigned read_word(const char *name, const char *words, unsigned otherwise)
{
    const char *value = ouroi_os_getenv(name);
    if (value == NULL)
        return otherwise;
    size_t length = strlen(value);
    unsigned index = 0;
    for (const char *word = words;; word++, index++) {
        const char *end = strchr(word, '|');
        size_t word_length = end != NULL ? (size_t)(end - word) : strlen(word);
        if (length == word_length && memcmp(word, value, length) == 0)
            return index;
        if (end == NULL)
            break;
        word = end;
    }
    ouroi_warn("%s=%s is none of %s; ignored", name, value, words);
    return otherwise;
}

static void read_options(void)
{
    ouroi_options.numa = (enum ouroi_numa)read_word("OURO_NUMA", "auto|off|interleave", OUROI_NUMA_AUTO);
    ouroi_options.thp = (enum ouroi_thp)read_word("OURO_THP", "auto|never|always", OUROI_THP_AUTO);
    ouroi_options.stats_at_exit =
        ouroi_os_getenv("OURO_STATS_AT_EXIT") == NULL
            ? OUROI_REPORT_NONE
            : (enum ouroi_report)(read_word("OURO_STATS_AT_EXIT", "text|json", (unsigned)-1) + 1);
    const char *file = ouroi_os_getenv("OURO_STATS_FILE");
    if (file != NULL && strlen(file) < sizeof ouroi_options.stats_file)
        memcpy(ouroi_options.stats_file, file, strlen(file) + 1); /* a program may write over its environment */
    else if (file != NULL)
        ouroi_warn("OURO_STATS_FILE is longer than %zu bytes; ignored", sizeof ouroi_options.stats_file - 1);
    const char *secure = ouroi_os_getenv("OURO_SECURE");
    ouroi_options.secure = secure != NULL && strcmp(secure, "0") != 0 && *secure != '\0';
    const char *delay = ouroi_os_getenv("OURO_PURGE_DELAY_MS");
    if (delay != NULL) {
        const char *at = delay;
        uint64_t ms;
        if (read_number(&at, &ms) && *at == '\0' && ms < UINT64_MAX / 1000000u)
            ouroi_options.purge_delay_ns = ms * 1000000u;
        else
            ouroi_warn("OURO_PURGE_DELAY_MS=%s is no number of milliseconds; ignored", delay);
    }
}

void ouroi_os_init(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    int saved = errno;
    long page = sysconf(_SC_PAGESIZE);
    if (page > 0)
        ouroi_machine.page_bytes = (size_t)page;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        ouroi_machine.address_limit_bytes = limit.rlim_cur;
    read_options();
    if (ouroi_options.numa != OUROI_NUMA_OFF)
        ouroi_machine.nodes = count_nodes();
    ouroi_machine.cpus = count_cpus();
    char text[64];
    ouroi_machine.thp_always =
        ouroi_os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) > 0 &&
        strncmp(text, "[always]", 8) == 0;
    errno = saved;
}

static size_t read_size(const char *path, size_t otherwise)
{
    char text[64];
    const char *at = text;
    uint64_t value;
    if (ouroi_os_read_file(path, text, sizeof text) <= 0 || !read_number(&at, &value))
        return otherwise;
    return value;
}

void ouroi_os_pressure(size_t *limit_bytes, size_t *used_bytes, unsigned *stall)
{
    *limit_bytes = read_size("/sys/fs/cgroup/memory.max", SIZE_MAX);
    *used_bytes = read_size("/sys/fs/cgroup/memory.current", 0);
    if (*limit_bytes == SIZE_MAX) {
        *limit_bytes = read_size("/sys/fs/cgroup/memory/memory.limit_in_bytes", SIZE_MAX);
        *used_bytes = read_size("/sys/fs/cgroup/memory/memory.usage_in_bytes", 0);
    }
    char text[128];
    *stall = 0;
    if (ouroi_os_read_file("/sys/fs/cgroup/memory.pressure", text, sizeof text) <= 0 &&
        ouroi_os_read_file("/proc/pressure/memory", text, sizeof text) <= 0)
        return;
    const char *at = strstr(text, "avg10=");
    uint64_t whole, part;
    if (at != NULL && (at += 6, read_number(&at, &whole)) && *at++ == '.' && read_number(&at, &part))
        *stall = (unsigned)(whole * 100 + part);
}

size_t ouroi_os_resident(void)
{
    char text[128];
    if (ouroi_os_read_file("/proc/self/statm", text, sizeof text) <= 0)
        return 0;
    const char *at = text;
    uint64_t total, resident;
    if (!read_number(&at, &total) || *at++ != ' ' || !read_number(&at, &resident))
        return 0;
    return resident * ouroi_machine.page_bytes;
}
