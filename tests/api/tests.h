/* api/tests.h: cmocka, and what the tests of the public interface share. */
#ifndef API_TESTS_H
#define API_TESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ouro/ouro.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define ERRNO_MARK 7777 /* no system call sets it */

/* Sizes of each kind: small, medium, large, huge; class boundaries and their neighbours. */
extern const size_t test_sizes[];
extern const size_t test_size_count;

static inline size_t opaque(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

static inline void *keep(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

/* Content that depends on the seed. */
void pattern_write(void *ptr, size_t size, unsigned seed);
bool pattern_holds(const void *ptr, size_t size, unsigned seed);

/* With a sanitizer much of it is the sanitizer's: nothing can be said of ours then. */
size_t resident_bytes(void);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RESIDENT_IS_OURS false
#elif defined(__has_feature)
#define RESIDENT_IS_OURS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define RESIDENT_IS_OURS true
#endif

/* Teardown of every test: the heap is sound. */
int heap_is_sound(void **state);

#define API_TEST(function) cmocka_unit_test_teardown(function, heap_is_sound)

#endif
