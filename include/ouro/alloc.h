/* ouro/alloc.h: memory blocks.
 *
 * Every function may be called from any thread, as the first call of the process, in constructors, destructors, TLS
 * destructors and atexit handlers, and in the child of a fork. Blocks are aligned to 16 bytes at least. None of these
 * functions is async-signal-safe. errno is left alone by success.
 *
 * Errors: a function that cannot have its memory returns NULL and sets errno to ENOMEM; so does one that is asked for
 * more than PTRDIFF_MAX bytes. A free of what is no living block, where it is detected, ends the process with one line
 * on stderr.
 */
#ifndef OURO_ALLOC_H
#define OURO_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include <ouro/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OURO_ATTR_MALLOC __attribute__((malloc))
#define OURO_ATTR_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define OURO_ATTR_ALIGN(arg) __attribute__((alloc_align(arg)))
#define OURO_ATTR_EXPORT __attribute__((visibility("default")))
#else
#define OURO_ATTR_MALLOC
#define OURO_ATTR_SIZE(...)
#define OURO_ATTR_ALIGN(arg)
#define OURO_ATTR_EXPORT
#endif

/* A block of at least `size` bytes, its content undefined. size 0: a block of its own. O(1), amortized.
 * Errors: NULL and ENOMEM. */
OURO_ATTR_EXPORT void *ouro_malloc(size_t size) OURO_ATTR_MALLOC OURO_ATTR_SIZE(1);

/* A block of `count * size` bytes, all zero. Pages that the OS has just zeroed are not touched.
 * Errors: NULL and ENOMEM, also where the product overflows. */
OURO_ATTR_EXPORT void *ouro_calloc(size_t count, size_t size) OURO_ATTR_MALLOC OURO_ATTR_SIZE(1, 2);

/* The block with its size changed, moved if need be; `ptr` is freed if and only if the result is not NULL.
 * ptr NULL: ouro_malloc(size). size 0: a block of size 0. Large blocks grow and shrink in place, or by mremap.
 * Errors: NULL and ENOMEM, `ptr` untouched. */
OURO_ATTR_EXPORT void *ouro_realloc(void *ptr, size_t size) OURO_ATTR_SIZE(2);

/* ouro_realloc(ptr, count * size), checked for overflow. */
OURO_ATTR_EXPORT void *ouro_reallocarray(void *ptr, size_t count, size_t size) OURO_ATTR_SIZE(2, 3);

/* Frees a block from any function of this header, by any thread. NULL does nothing. O(1), amortized. */
OURO_ATTR_EXPORT void ouro_free(void *ptr);

/* ouro_free for a caller that knows the size, as asked for (C23). A size that cannot be the block's ends the process. */
OURO_ATTR_EXPORT void ouro_free_sized(void *ptr, size_t size);

/* ouro_free for a caller that knows alignment and size, as asked for (C23). */
OURO_ATTR_EXPORT void ouro_free_aligned_sized(void *ptr, size_t alignment, size_t size);

/* A block of `size` bytes at a multiple of `alignment`, a power of two; `size` need be no multiple of it.
 * Errors: NULL with EINVAL for another alignment, ENOMEM. */
OURO_ATTR_EXPORT void *ouro_aligned_alloc(size_t alignment, size_t size) OURO_ATTR_MALLOC OURO_ATTR_ALIGN(1)
    OURO_ATTR_SIZE(2);

/* The same, the result in *out. Returns 0, EINVAL (alignment no power of two or no multiple of sizeof(void *)) or
 * ENOMEM; neither errno nor, on failure, *out is changed. */
OURO_ATTR_EXPORT int ouro_posix_memalign(void **out, size_t alignment, size_t size);

/* Bytes of the block that may be used, at least what was asked for. NULL: 0. */
OURO_ATTR_EXPORT size_t ouro_usable_size(const void *ptr);

/* What ouro_usable_size(ouro_malloc(size)) would say. Idempotent. A size that can never be had: that size. */
OURO_ATTR_EXPORT size_t ouro_good_size(size_t size);

/* Whether `ptr` points to or into memory of a living block or pool of this library. Any value, never faults. */
OURO_ATTR_EXPORT bool ouro_owns(const void *ptr);

/* Gives unused memory back to the OS now, and flushes what this thread has cached. Returns bytes given back.
 * O(address space in use); takes the arenas' locks by turns. */
OURO_ATTR_EXPORT size_t ouro_trim(void);

/* A heap: blocks that can be freed one by one, or all at once. Any thread may allocate from it; a lock of its own
 * orders them. */
typedef struct ouro_heap ouro_heap;

/* A new heap, empty. Errors: NULL and ENOMEM. */
OURO_ATTR_EXPORT ouro_heap *ouro_heap_new(void);

/* As their namesakes above, from `heap`; heap NULL: the default heap. The blocks are freed by ouro_free, or by
 * ouro_heap_destroy. realloc keeps a block in the heap that it is from. */
OURO_ATTR_EXPORT void *ouro_heap_malloc(ouro_heap *heap, size_t size) OURO_ATTR_MALLOC OURO_ATTR_SIZE(2);
OURO_ATTR_EXPORT void *ouro_heap_calloc(ouro_heap *heap, size_t count, size_t size)
    OURO_ATTR_MALLOC OURO_ATTR_SIZE(2, 3);
OURO_ATTR_EXPORT void *ouro_heap_realloc(ouro_heap *heap, void *ptr, size_t size) OURO_ATTR_SIZE(3);
OURO_ATTR_EXPORT void *ouro_heap_aligned_alloc(ouro_heap *heap, size_t alignment, size_t size)
    OURO_ATTR_MALLOC OURO_ATTR_ALIGN(2) OURO_ATTR_SIZE(3);

/* Frees every block still in `heap`, then the heap. O(pools), not O(blocks).
 * Blocks of it that other threads use or free at this moment are the caller's error. NULL does nothing. */
OURO_ATTR_EXPORT void ouro_heap_destroy(ouro_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
