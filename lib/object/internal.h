/* object/internal.h: what the files of this layer share. */
#ifndef OUROI_OBJECT_INTERNAL_H
#define OUROI_OBJECT_INTERNAL_H

#include "heap/heap_inl.h"
#include "object/object.h"

#define OUROI_ITEMS_MANY 0xffffu

/* The calling thread's thread->object, NULL before it registers. */
extern OUROI_HIDDEN __thread struct ouroi_object_thread *ouroi_object_self __attribute__((tls_model("initial-exec")));

/* The size class of an object: none is smaller than what leaves a word behind the header. */
OUROI_INLINE unsigned ouroi_object_class(size_t bytes)
{
    return ouroi_class_of(bytes < 2 * sizeof(ouro_object) ? 2 * sizeof(ouro_object) : bytes);
}

/* types.c */
ouro_type *ouroi_type_numbered(uint32_t index); /* any number; NULL: none has it */
void ouroi_object_note_grave(const ouro_object *obj);
const ouro_type *ouroi_object_dead_type(const ouro_object *obj); /* of a freed block; NULL: not known */
void ouroi_object_set_items(ouro_object *obj, size_t items);
void ouroi_types_fork_prepare(void);
void ouroi_types_fork_done(bool child);

/* The count in a shared word. */
OUROI_INLINE int64_t ouroi_shared_count(uint64_t shared)
{
    return (int64_t)(shared >> 32) - (int64_t)(OURO_SHARED_ZERO_ >> 32);
}
/* The word without its count and flags but ALIVE. */
OUROI_INLINE uint64_t ouroi_shared_type(uint64_t shared)
{
    return (shared & 0xffffff00u) | OURO_FLAG_ALIVE_;
}

/* Stops the process; what: "count below zero" and the like. */
_Noreturn void ouroi_object_misuse(const ouro_object *obj, const char *what);
/* Debug builds: obj is no freed object. */
OUROI_INLINE void ouroi_object_check_use(const void *obj, const char *what)
{
    /* relaxed: a freed one has lost the flag long ago */
    if (OURO_DEBUG && (ouroi_atomic_load_relaxed(&((const ouro_object *)obj)->ouro_shared_) & OURO_FLAG_ALIVE_) == 0)
        ouroi_object_misuse(obj, what);
}

/* Left in the block for who uses it after: the word that has the number of its type. */
OUROI_INLINE void ouroi_object_leave_type(ouro_object *obj, uint64_t shared)
{
    *(uint64_t *)(void *)(obj + 1) = shared;
}

/* The end of a plain object that nobody can be looking at. */
OUROI_INLINE void ouroi_object_free_plain(ouro_object *obj, uint64_t shared)
{
    ouroi_object_leave_type(obj, shared);
    ouroi_heap_free(obj);
}

/* death.c: the count of obj is zero, and nobody else has a reference: frees it, or puts it on the thread's list if something
 * is being freed. The caller is registered. */
void ouroi_object_die(struct ouroi_object_thread *self, ouro_object *obj);
/* The same, of an object of a type with maps_only that nobody ever saw. */
void ouroi_object_die_mapped(struct ouroi_object_thread *self, ouro_object *obj, uint64_t shared);
/* For a thread that cannot register: whoever comes next frees it. */
void ouroi_object_leave_orphan(ouro_object *obj);
bool ouroi_object_has_orphans(void);
void ouroi_object_leave_dying(struct ouroi_object_thread *self); /* the whole list */
void ouroi_limbo_leave(struct ouroi_object_thread *self);
void ouroi_limbo_look(struct ouroi_object_thread *self);

/* check.c: stops the world, checks, starts it. */
unsigned ouroi_object_check_stopped(void);

/* distribute.c */
void ouroi_distributed_add(ouro_object *obj, int64_t n);
int64_t ouroi_distributed_sum(const ouro_object *obj);
void ouroi_distributed_leave(struct ouroi_object_thread *self);

#endif
