/* os/os.h: all that the library asks of the operating system, through one struct of function pointers, so that tests can
 * make the n-th call fail and move time by hand.
 *
 * Owns        the page size, the environment as it was read, the topology (CPUs, NUMA nodes, cgroup limits).
 * Sync        set up once by ouroi_os_init, read-only after; tests change ouroi_os only while no other thread runs.
 * errors      0 or -errno; map returns NULL. errno itself is never changed.
 */
#ifndef OUROI_OS_H
#define OUROI_OS_H

#include "base/base.h"

#define OUROI_NODES_MAX 64

enum ouroi_map_flags {
    OUROI_MAP_ANYWHERE = 0, /* `at` is a wish */
    OUROI_MAP_EXACT = 1,    /* at `at` or not at all; never over what is there */
    OUROI_MAP_READ = 2,     /* zeroes that can be read only */
};

struct ouroi_os {
    /* Fresh zero memory that can be read and written, not counted before it is touched. NULL: *error says -ENOMEM, or
     * -EEXIST where OUROI_MAP_EXACT found the place taken. */
    void *(*map)(void *at, size_t bytes, unsigned flags, int *error);
    int (*unmap)(void *at, size_t bytes);
    /* Gives the pages back; they read as zero after. -errno where the kernel refuses (locked memory). */
    int (*purge)(void *at, size_t bytes);
    /* Changes the length of a mapping where it is: 0 or -errno. */
    int (*resize)(void *at, size_t old_bytes, size_t new_bytes);
    /* Moves the pages of [from, from + bytes) over the mapping at `to`, whose length becomes to_bytes. */
    int (*move)(void *from, size_t bytes, void *to, size_t to_bytes);
    /* Touches the pages in one call. A hint: errors do not matter. */
    void (*populate)(void *at, size_t bytes);
    /* No access any more (guard pages), or reads and writes (again). */
    int (*protect)(void *at, size_t bytes, bool access);
    /* The pages of [at, at + bytes) come from `node`, where it has some; or in turns from all nodes (node < 0). */
    int (*bind)(void *at, size_t bytes, int node);
    int (*advise_huge)(void *at, size_t bytes, bool on);
    /* Monotonic time. */
    uint64_t (*now_ns)(void);
    /* Sleeps while *word is `value`, for at most timeout_ns (0: no limit). */
    void (*futex_wait)(uint32_t *word, uint32_t value, uint64_t timeout_ns);
    void (*futex_wake)(uint32_t *word, unsigned count);
    /* The NUMA node that the caller runs on. */
    unsigned (*node)(void);
};
extern OUROI_HIDDEN struct ouroi_os ouroi_os;

enum ouroi_numa { OUROI_NUMA_AUTO, OUROI_NUMA_OFF, OUROI_NUMA_INTERLEAVE };
enum ouroi_thp { OUROI_THP_AUTO, OUROI_THP_NEVER, OUROI_THP_ALWAYS };
enum ouroi_report { OUROI_REPORT_NONE, OUROI_REPORT_TEXT, OUROI_REPORT_JSON };

/* What the environment asked for; read once, at the first call of the process. */
struct ouroi_options {
    enum ouroi_numa numa;
    enum ouroi_thp thp;
    enum ouroi_report stats_at_exit;
    uint64_t purge_delay_ns;
    bool secure;
    char stats_file[512]; /* where that report goes, %p for the process's number; empty: stderr */
};
extern OUROI_HIDDEN struct ouroi_options ouroi_options;

/* What the machine is. */
struct ouroi_machine {
    size_t page_bytes;
    unsigned cpus;              /* that this process may use: affinity and cgroup quota */
    unsigned nodes;             /* 1 where there is no NUMA */
    size_t address_limit_bytes; /* RLIMIT_AS at the start, SIZE_MAX: none */
    bool thp_always;            /* the kernel makes huge pages unasked */
};
extern OUROI_HIDDEN struct ouroi_machine ouroi_machine;

/* Reads page size, environment, limits. Idempotent; called with the start-up lock held. Allocates nothing. */
void ouroi_os_init(void);

/* The cgroup's memory limit and use (v2, then v1), and the 10-second average of memory stall in 1/100 percent.
 * SIZE_MAX or 0 where there is none. Opens files: for the background thread. */
void ouroi_os_pressure(size_t *limit_bytes, size_t *used_bytes, unsigned *stall);

/* An environment variable as it is in `environ`, or NULL. */
const char *ouroi_os_getenv(const char *name);

/* Reads at most size - 1 bytes of a small file into `text`; bytes read or -errno. */
long ouroi_os_read_file(const char *path, char *text, size_t size);

/* Requests for memory that fail on purpose (inject.c). */
/* Makes the requests numbered first to last, counted from 1 at this call, fail. first 0: none. */
void ouroi_os_inject(uint64_t first, uint64_t last);

/* Requests since then. */
uint64_t ouroi_os_inject_requests(void);

/* As OURO_FAIL_NTH says; debug builds only. */
void ouroi_os_inject_from_environment(void);

/* Bytes of this process in RAM, from /proc. 0: unknown. */
size_t ouroi_os_resident(void);

#endif
