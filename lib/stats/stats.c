/* stats/stats.c: ouro/stats.h: what is counted, and the report at the end of the process.
 *
 * Owns        the peak that was seen; the list of sections; the report's descriptor.
 * Sync        the peak: a maximum. The rest is set up by constructors.
 */
#include "stats/internal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static size_t peak_allocated;
struct ouroi_stats_section *ouroi_stats_sections;

void ouroi_stats_add_section(struct ouroi_stats_section *section)
{
    struct ouroi_stats_section **last = &ouroi_stats_sections;
    while (*last != NULL)
        last = &(*last)->next;
    *last = section;
}

static size_t peak_with(size_t allocated)
{
    size_t peak = ouroi_arena_peak();
    peak = peak > allocated ? peak : allocated;
    size_t seen = ouroi_atomic_load_relaxed(&peak_allocated); /* relaxed: a maximum on its own */
    while (seen < peak && !ouroi_atomic_cas_relaxed(&peak_allocated, &seen, peak)) {
        /* relaxed: see above */
    }
    return seen > peak ? seen : peak;
}

bool ouroi_figures_gather(struct ouroi_figures *figures)
{
    memset(figures, 0, sizeof *figures);
    if (ouroi_heap_start() != 0)
        return false;
    ouro_alloc_stats *totals = &figures->totals;
    struct ouroi_heap_counts *heap = &figures->heap;
    ouroi_heap_count(heap);
    ouroi_arena_count(&figures->arena, -1);
    totals->reserved = figures->arena.reserved_bytes;
    totals->committed = figures->arena.committed_bytes;
    totals->resident = figures->arena.resident_bytes;
    totals->allocated = heap->small_bytes + heap->large_bytes;
    for (unsigned c = 1; c < OUROI_CLASSES; c++) {
        totals->mallocs += heap->allocs[c];
        totals->frees += heap->frees[c];
        totals->pools += heap->pools[c];
    }
    totals->mallocs += figures->arena.large_allocs;
    totals->frees += figures->arena.large_frees + heap->large_waiting;
    totals->remote_frees = heap->remote_frees;
    totals->threads = heap->threads;
    totals->arenas = ouroi_machine.nodes;
    totals->peak_allocated = peak_with(totals->allocated);
    return true;
}

void ouro_stats_get(ouro_alloc_stats *stats)
{
    struct ouroi_figures figures;
    ouroi_figures_gather(&figures);
    *stats = figures.totals;
}

static int report_fd = STDERR_FILENO;

/* Programs close stderr on their way out: the report has its own, made only where one was asked for. */
__attribute__((constructor)) static void prepare_report(void)
{
    if (ouroi_heap_start() != 0 || ouroi_options.stats_at_exit == OUROI_REPORT_NONE ||
        ouroi_options.stats_file[0] != '\0')
        return;
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    report_fd = fd >= 0 ? fd : STDERR_FILENO;
}

static void write_text(struct ouroi_writer *writer)
{
    ouro_alloc_stats s;
    ouro_stats_get(&s);
    ouroi_writer_put(writer,
                     "ouro: allocated %zu bytes, peak %zu, resident %zu, committed %zu, reserved %zu; "
                     "mallocs %zu, frees %zu, remote %zu; threads %zu, pools %zu\n",
                     s.allocated, s.peak_allocated, s.resident, s.committed, s.reserved, (size_t)s.mallocs,
                     (size_t)s.frees, (size_t)s.remote_frees, s.threads, s.pools);
}

static int open_report(void)
{
    char path[sizeof ouroi_options.stats_file + 16];
    const char *file = ouroi_options.stats_file, *number = strstr(file, "%p");
    size_t used = number != NULL ? (size_t)(number - file) : strlen(file);
    memcpy(path, file, used);
    path[used] = '\0';
    if (number != NULL)
        ouroi_format(path + used, sizeof path - used, "%d%s", (int)getpid(), number + 2);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        ouroi_warn("OURO_STATS_FILE: cannot open %s", path);
    return fd;
}

/* OURO_STATS_AT_EXIT: at exit() and return from main, to stderr or OURO_STATS_FILE, in one write. */
__attribute__((destructor)) static void report_at_exit(void)
{
    if (ouroi_options.stats_at_exit == OUROI_REPORT_NONE)
        return;
    int fd = ouroi_options.stats_file[0] != '\0' ? open_report() : report_fd;
    if (fd < 0)
        return;
    ouroi_stats_write(fd, ouroi_options.stats_at_exit == OUROI_REPORT_JSON ? ouroi_stats_write_json_all : write_text);
    if (fd != report_fd)
        close(fd);
}

int ouro_debug_check(void)
{
    if (ouroi_heap_start() != 0)
        return 0;
    return (int)(ouroi_arena_check() + ouroi_heap_check());
}
