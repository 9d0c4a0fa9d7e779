/* malloc/malloc.c: the names of libc's allocator, for the drop-in library.
 *
 * Invariants  success leaves errno alone; what fails sets it as glibc does.
 */
#include "heap/heap_inl.h"

#include <errno.h>
#include <malloc.h>
#include <ouro/alloc.h>
#include <ouro/stats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t alignment, size_t size);
void cfree(void *p);

static OUROI_COLD void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

OUROI_INLINE void *or_no_memory(void *p)
{
    return OUROI_LIKELY(p != NULL) ? p : no_memory();
}

OUROI_EXPORT void *malloc(size_t size)
{
    return ouroi_heap_alloc_or_errno(size);
}

OUROI_EXPORT void free(void *p)
{
    ouroi_heap_free(p);
}

OUROI_EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (OUROI_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return no_memory();
    return or_no_memory(ouroi_heap_alloc_zero(bytes));
}

/* realloc(p, 0) frees p, as glibc's does: programs rely on it. */
OUROI_EXPORT void *realloc(void *p, size_t size)
{
    if (OUROI_UNLIKELY(size == 0) && p != NULL) {
        ouroi_heap_free(p);
        return NULL;
    }
    return or_no_memory(ouroi_heap_realloc(p, size));
}

OUROI_EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (OUROI_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return no_memory();
    return realloc(p, bytes);
}

OUROI_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return ouro_aligned_alloc(alignment, size);
}

OUROI_EXPORT void *memalign(size_t alignment, size_t size)
{
    return ouro_aligned_alloc(alignment, size);
}

OUROI_EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    return ouro_posix_memalign(out, alignment, size);
}

OUROI_EXPORT void *valloc(size_t size)
{
    ouroi_heap_start();
    return or_no_memory(ouroi_heap_alloc_aligned(ouroi_machine.page_bytes, size));
}

OUROI_EXPORT void *pvalloc(size_t size)
{
    ouroi_heap_start();
    size_t page = ouroi_machine.page_bytes;
    if (size > PTRDIFF_MAX - page)
        return no_memory();
    return or_no_memory(ouroi_heap_alloc_aligned(page, ouroi_align_up(size + (size == 0), page)));
}

OUROI_EXPORT size_t malloc_usable_size(void *p)
{
    return ouroi_heap_usable(p);
}

OUROI_EXPORT void free_sized(void *p, size_t size)
{
    ouroi_heap_free_sized(p, size, 0);
}

OUROI_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    ouroi_heap_free_sized(p, size, alignment);
}

OUROI_EXPORT void cfree(void *p)
{
    ouroi_heap_free(p);
}

OUROI_EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    return ouro_trim() != 0;
}

/* All of glibc's parameters are accepted; none has a meaning here. */
OUROI_EXPORT int mallopt(int parameter, int value)
{
    (void)parameter;
    (void)value;
    return 1;
}

OUROI_EXPORT struct mallinfo2 mallinfo2(void)
{
    ouro_alloc_stats stats;
    struct ouroi_arena_counts arenas;
    struct mallinfo2 info;
    memset(&info, 0, sizeof info);
    ouro_stats_get(&stats);
    ouroi_arena_count(&arenas, -1);
    info.arena = stats.committed - arenas.huge_bytes;
    info.hblks = arenas.huge_blocks;
    info.hblkhd = arenas.huge_bytes;
    info.uordblks = stats.allocated > arenas.huge_bytes ? stats.allocated - arenas.huge_bytes : 0;
    info.fordblks = info.arena > info.uordblks ? info.arena - info.uordblks : 0;
    info.ordblks = stats.pools;
    info.keepcost = stats.committed > stats.resident ? stats.committed - stats.resident : 0;
    return info;
}

static int clamped(size_t value)
{
    return value > INT32_MAX ? INT32_MAX : (int)value;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
OUROI_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    struct mallinfo info;
    memset(&info, 0, sizeof info);
    info.arena = clamped(wide.arena);
    info.ordblks = clamped(wide.ordblks);
    info.hblks = clamped(wide.hblks);
    info.hblkhd = clamped(wide.hblkhd);
    info.uordblks = clamped(wide.uordblks);
    info.fordblks = clamped(wide.fordblks);
    info.keepcost = clamped(wide.keepcost);
    return info;
}
#pragma GCC diagnostic pop

OUROI_EXPORT void malloc_stats(void)
{
    ouro_alloc_stats s;
    ouro_stats_get(&s);
    ouroi_warn("%zu bytes allocated (peak %zu), %zu resident, %zu committed, %zu reserved; "
               "%zu mallocs, %zu frees, %zu of them remote; %zu threads, %zu pools",
               s.allocated, s.peak_allocated, s.resident, s.committed, s.reserved, (size_t)s.mallocs, (size_t)s.frees,
               (size_t)s.remote_frees, s.threads, s.pools);
}

OUROI_EXPORT int malloc_info(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    ouro_alloc_stats s;
    ouro_stats_get(&s);
    int rc = fprintf(stream,
                     "<malloc version=\"1\">\n"
                     "<heap nr=\"0\">\n"
                     "<sizes>\n</sizes>\n"
                     "<system type=\"current\" size=\"%zu\"/>\n"
                     "<aspace type=\"total\" size=\"%zu\"/>\n"
                     "</heap>\n"
                     "<total type=\"fast\" count=\"0\" size=\"0\"/>\n"
                     "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
                     "<system type=\"current\" size=\"%zu\"/>\n"
                     "<system type=\"max\" size=\"%zu\"/>\n"
                     "<aspace type=\"total\" size=\"%zu\"/>\n"
                     "</malloc>\n",
                     s.committed, s.reserved, s.pools, s.resident > s.allocated ? s.resident - s.allocated : 0,
                     s.committed, s.committed, s.reserved);
    return rc < 0 ? -1 : 0;
}

/* glibc's own names, for programs that call past the public ones. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmissing-attributes" /* what libc's header says of malloc need not be said twice */
#endif
#define ALIAS(name) __attribute__((alias(name))) OUROI_EXPORT
ALIAS("malloc") void *__libc_malloc(size_t size);
ALIAS("calloc") void *__libc_calloc(size_t count, size_t size);
ALIAS("realloc") void *__libc_realloc(void *p, size_t size);
ALIAS("reallocarray") void *__libc_reallocarray(void *p, size_t count, size_t size);
ALIAS("free") void __libc_free(void *p);
ALIAS("cfree") void __libc_cfree(void *p);
ALIAS("memalign") void *__libc_memalign(size_t alignment, size_t size);
ALIAS("valloc") void *__libc_valloc(size_t size);
ALIAS("pvalloc") void *__libc_pvalloc(size_t size);
ALIAS("mallinfo") struct mallinfo __libc_mallinfo(void);
ALIAS("mallopt") int __libc_mallopt(int parameter, int value);
ALIAS("posix_memalign") int __posix_memalign(void **out, size_t alignment, size_t size);
