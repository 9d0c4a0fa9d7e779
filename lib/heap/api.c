/* heap/api.c: ouro/alloc.h, with its errno.
 *
 * Invariants  success leaves errno alone; a NULL result has set it.
 */
#include "heap/internal.h"

#include <errno.h>
#include <ouro/alloc.h>
#include <stdint.h>

static OUROI_COLD void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

OUROI_INLINE void *or_no_memory(void *p)
{
    return OUROI_LIKELY(p != NULL) ? p : no_memory();
}

void *ouro_malloc(size_t size)
{
    return ouroi_heap_alloc_or_errno(size);
}

void *ouro_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (OUROI_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return no_memory();
    return or_no_memory(ouroi_heap_alloc_zero(bytes));
}

void *ouro_realloc(void *ptr, size_t size)
{
    return or_no_memory(ouroi_heap_realloc(ptr, size));
}

void *ouro_reallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;
    if (OUROI_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return no_memory();
    return or_no_memory(ouroi_heap_realloc(ptr, bytes));
}

void ouro_free(void *ptr)
{
    ouroi_heap_free(ptr);
}

void ouro_free_sized(void *ptr, size_t size)
{
    ouroi_heap_free_sized(ptr, size, 0);
}

void ouro_free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    ouroi_heap_free_sized(ptr, size, alignment);
}

void *ouro_aligned_alloc(size_t alignment, size_t size)
{
    if (OUROI_UNLIKELY(!ouroi_is_pow2(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    return or_no_memory(ouroi_heap_alloc_aligned(alignment, size));
}

int ouro_posix_memalign(void **out, size_t alignment, size_t size)
{
    if (!ouroi_is_pow2(alignment) || alignment < sizeof(void *))
        return EINVAL;
    void *p = ouroi_heap_alloc_aligned(alignment, size);
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

size_t ouro_usable_size(const void *ptr)
{
    return ouroi_heap_usable(ptr);
}

size_t ouro_good_size(size_t size)
{
    return ouroi_heap_start() == 0 && ouroi_options.secure ? size : ouroi_heap_good_size(size);
}

bool ouro_owns(const void *ptr)
{
    return ptr != NULL && ouroi_heap_start() == 0 && ouroi_arena_owns(ptr);
}

size_t ouro_trim(void)
{
    if (ouroi_heap_start() != 0)
        return 0;
    ouroi_heap_flush();
    return ouroi_arena_purge(true);
}

void *ouro_heap_malloc(ouro_heap *heap, size_t size)
{
    return heap == NULL ? ouro_malloc(size) : or_no_memory(ouroi_region_alloc(heap, OUROI_ALIGN, size, false));
}

void *ouro_heap_calloc(ouro_heap *heap, size_t count, size_t size)
{
    size_t bytes;
    if (heap == NULL)
        return ouro_calloc(count, size);
    if (__builtin_mul_overflow(count, size, &bytes))
        return no_memory();
    return or_no_memory(ouroi_region_alloc(heap, OUROI_ALIGN, bytes, true));
}

void *ouro_heap_realloc(ouro_heap *heap, void *ptr, size_t size)
{
    return ptr == NULL ? ouro_heap_malloc(heap, size) : ouro_realloc(ptr, size);
}

void *ouro_heap_aligned_alloc(ouro_heap *heap, size_t alignment, size_t size)
{
    if (heap == NULL)
        return ouro_aligned_alloc(alignment, size);
    if (!ouroi_is_pow2(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return or_no_memory(ouroi_region_alloc(heap, alignment < OUROI_ALIGN ? OUROI_ALIGN : alignment, size, false));
}
