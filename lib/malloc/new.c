/* malloc/new.c: C++'s operator new and delete, by their mangled names (Itanium ABI), so that the library needs no C++
 * runtime of its own.
 *
 * Invariants  as the standard says ([new.delete]): a new that finds no memory calls the new_handler, if there is one, and
 *             tries again; without one it throws bad_alloc, or returns NULL if it is a nothrow one. What a handler of a
 *             nothrow new throws is caught by the C++ runtime's own nothrow new, which is called for that and calls us.
 */
#include "heap/heap_inl.h"

#include <dlfcn.h>

/* The runtime's, if the process has one. */
typedef void (*new_handler)(void);
extern new_handler get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern _Noreturn void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));

/* A name of a runtime that came after us, with a library that the program loaded; perhaps out of everybody else's sight.
 * dlopen is looked up too: who links us into a static program shall not be warned of it. */
static void *late_symbol(const char *name)
{
    static const char *const runtimes[] = { "libstdc++.so.6", "libc++.so.1" };
    void *(*open)(const char *, int) = (void *(*)(const char *, int))(uintptr_t)dlsym(RTLD_DEFAULT, "dlopen");
    int (*close)(void *) = (int (*)(void *))(uintptr_t)dlsym(RTLD_DEFAULT, "dlclose");
    void *symbol = NULL;
    for (size_t i = 0; symbol == NULL && open != NULL && close != NULL && i < sizeof runtimes / sizeof runtimes[0];
         i++) {
        void *handle = open(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);
        if (handle == NULL)
            continue;
        symbol = dlsym(handle, name);
        close(handle); /* who called new keeps it */
    }
    return symbol;
}

static new_handler find_handler(void)
{
    new_handler (*get)(void) = get_new_handler;
    if (get == NULL)
        get = (new_handler(*)(void))(uintptr_t)late_symbol("_ZSt15get_new_handlerv");
    return get != NULL ? get() : NULL;
}

static _Noreturn void throw_no_memory(void)
{
    void (*throw)(void) = throw_bad_alloc;
    if (throw == NULL)
        throw = (void (*)(void))(uintptr_t)late_symbol("_ZSt17__throw_bad_allocv");
    if (throw != NULL)
        throw();
    ouroi_fail("operator new: out of memory, and no C++ runtime to throw bad_alloc");
}

/* Calls the new_handler; without one, throws, or returns false if it may not. */
static bool handle_no_memory(bool throws)
{
    new_handler handler = find_handler();
    if (handler != NULL) {
        handler();
        return true;
    }
    if (throws)
        throw_no_memory();
    return false;
}

static OUROI_COLD void *new_slow(size_t size, size_t alignment, bool throws)
{
    void *p;
    do {
        if (!handle_no_memory(throws))
            return NULL;
        p = alignment == 0             ? ouroi_heap_alloc(size)
            : ouroi_is_pow2(alignment) ? ouroi_heap_alloc_aligned(alignment, size)
                                       : NULL;
    } while (p == NULL);
    return p;
}

OUROI_INLINE void *new_plain(size_t size)
{
    void *p = ouroi_heap_alloc(size);
    return OUROI_LIKELY(p != NULL) ? p : new_slow(size, 0, true);
}

OUROI_INLINE void *new_aligned(size_t size, size_t alignment)
{
    void *p = ouroi_is_pow2(alignment) ? ouroi_heap_alloc_aligned(alignment, size) : NULL;
    return OUROI_LIKELY(p != NULL) ? p : new_slow(size, alignment, true);
}

typedef void *(*nothrow_new)(size_t size, const void *tag);
typedef void *(*nothrow_new_aligned)(size_t size, size_t alignment, const void *tag);

static OUROI_COLD void *nothrow_slow(size_t size, size_t alignment, const void *tag)
{
    if (find_handler() == NULL)
        return NULL;
    const char *name = alignment == 0 ? "_ZnwmRKSt9nothrow_t" : "_ZnwmSt11align_val_tRKSt9nothrow_t";
    void *next = dlsym(RTLD_NEXT, name);
    if (next == NULL)
        next = late_symbol(name);
    if (next == NULL)
        return new_slow(size, alignment, false);
    if (alignment == 0)
        return ((nothrow_new)(uintptr_t)next)(size, tag);
    return ((nothrow_new_aligned)(uintptr_t)next)(size, alignment, tag);
}

OUROI_INLINE void *new_nothrow(size_t size, size_t alignment, const void *tag)
{
    void *p = alignment == 0             ? ouroi_heap_alloc(size)
              : ouroi_is_pow2(alignment) ? ouroi_heap_alloc_aligned(alignment, size)
                                         : NULL;
    return OUROI_LIKELY(p != NULL) ? p : nothrow_slow(size, alignment, tag);
}

/* clang-format off */
OUROI_EXPORT void * _Znwm(size_t size);
OUROI_EXPORT void * _Znwm(size_t size) { return new_plain(size); }
OUROI_EXPORT void * _ZnwmRKSt9nothrow_t(size_t size, const void *tag);
OUROI_EXPORT void * _ZnwmRKSt9nothrow_t(size_t size, const void *tag) { return new_nothrow(size, 0, tag); }
OUROI_EXPORT void * _ZnwmSt11align_val_t(size_t size, size_t alignment);
OUROI_EXPORT void * _ZnwmSt11align_val_t(size_t size, size_t alignment) { return new_aligned(size, alignment); }
OUROI_EXPORT void * _ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag);
OUROI_EXPORT void * _ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) { return new_nothrow(size, alignment, tag); }
OUROI_EXPORT void * _Znam(size_t size);
OUROI_EXPORT void * _Znam(size_t size) { return new_plain(size); }
OUROI_EXPORT void * _ZnamRKSt9nothrow_t(size_t size, const void *tag);
OUROI_EXPORT void * _ZnamRKSt9nothrow_t(size_t size, const void *tag) { return new_nothrow(size, 0, tag); }
OUROI_EXPORT void * _ZnamSt11align_val_t(size_t size, size_t alignment);
OUROI_EXPORT void * _ZnamSt11align_val_t(size_t size, size_t alignment) { return new_aligned(size, alignment); }
OUROI_EXPORT void * _ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag);
OUROI_EXPORT void * _ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag) { return new_nothrow(size, alignment, tag); }
OUROI_EXPORT void _ZdlPv(void *p);
OUROI_EXPORT void _ZdlPv(void *p) { ouroi_heap_free(p); }
OUROI_EXPORT void _ZdlPvRKSt9nothrow_t(void *p, const void *tag);
OUROI_EXPORT void _ZdlPvRKSt9nothrow_t(void *p, const void *tag) { (void)tag; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdlPvm(void *p, size_t size);
OUROI_EXPORT void _ZdlPvm(void *p, size_t size) { ouroi_heap_free_sized(p, size, 0); }
OUROI_EXPORT void _ZdlPvSt11align_val_t(void *p, size_t alignment);
OUROI_EXPORT void _ZdlPvSt11align_val_t(void *p, size_t alignment) { (void)alignment; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment, const void *tag);
OUROI_EXPORT void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment, const void *tag) { (void)alignment; (void)tag; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdlPvmSt11align_val_t(void *p, size_t size, size_t alignment);
OUROI_EXPORT void _ZdlPvmSt11align_val_t(void *p, size_t size, size_t alignment) { ouroi_heap_free_sized(p, size, alignment); }
OUROI_EXPORT void _ZdaPv(void *p);
OUROI_EXPORT void _ZdaPv(void *p) { ouroi_heap_free(p); }
OUROI_EXPORT void _ZdaPvRKSt9nothrow_t(void *p, const void *tag);
OUROI_EXPORT void _ZdaPvRKSt9nothrow_t(void *p, const void *tag) { (void)tag; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdaPvm(void *p, size_t size);
OUROI_EXPORT void _ZdaPvm(void *p, size_t size) { ouroi_heap_free_sized(p, size, 0); }
OUROI_EXPORT void _ZdaPvSt11align_val_t(void *p, size_t alignment);
OUROI_EXPORT void _ZdaPvSt11align_val_t(void *p, size_t alignment) { (void)alignment; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment, const void *tag);
OUROI_EXPORT void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment, const void *tag) { (void)alignment; (void)tag; ouroi_heap_free(p); }
OUROI_EXPORT void _ZdaPvmSt11align_val_t(void *p, size_t size, size_t alignment);
OUROI_EXPORT void _ZdaPvmSt11align_val_t(void *p, size_t size, size_t alignment) { ouroi_heap_free_sized(p, size, alignment); }
/* clang-format on */
