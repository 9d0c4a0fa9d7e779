/* kvserver/atomic_counts.h: for -DKV_ATOMIC_COUNTS, the comparison: the same names as in ouro/object.h, counted as
 * std::shared_ptr counts, one atomic operation each, in blocks of malloc. No collector, no weak references: the server
 * cuts its cycles by hand where it matters.
 */
#ifndef KV_ATOMIC_COUNTS_H
#define KV_ATOMIC_COUNTS_H

#include <stdlib.h>
#include <string.h>

/* The header's first 8 bytes: the type; its last: the count, or the next of the dying. */
static inline const ouro_type *atomic_type_of(const void *obj)
{
    const ouro_type *type;
    memcpy(&type, obj, sizeof type);
    return type;
}
static inline void *atomic_new_items(const ouro_type *type, size_t items)
{
    size_t before = type->items_are_refs ? 16 : 0; /* where their number is kept */
    char *block = calloc(1, before + type->size + items * type->item_size);
    if (block == NULL)
        return NULL;
    if (before != 0)
        memcpy(block, &items, sizeof items);
    ouro_object *obj = (ouro_object *)(void *)(block + before);
    memcpy(obj, &type, sizeof type);
    obj->ouro_shared_ = 1;
    return obj;
}
static inline void atomic_incref(void *obj)
{
    __atomic_fetch_add(&((ouro_object *)obj)->ouro_shared_, 1, __ATOMIC_RELAXED);
}
void atomic_free(ouro_object *obj);
static inline void atomic_decref(void *obj)
{
    if (__atomic_fetch_sub(&((ouro_object *)obj)->ouro_shared_, 1, __ATOMIC_ACQ_REL) == 1)
        atomic_free(obj);
}
static inline void *atomic_newref(void *obj)
{
    atomic_incref(obj);
    return obj;
}
static inline void *atomic_xnewref(void *obj)
{
    return obj == NULL ? NULL : atomic_newref(obj);
}
static inline void atomic_xdecref(void *obj)
{
    if (obj != NULL)
        atomic_decref(obj);
}

#undef OURO_BLOCKING
#define OURO_BLOCKING
#define ouro_new(type) atomic_new_items((type), 0)
#define ouro_new_items(type, items) atomic_new_items((type), (items))
#define ouro_incref(obj) atomic_incref(obj)
#define ouro_decref(obj) atomic_decref(obj)
#define ouro_newref(obj) atomic_newref(obj)
#define ouro_xnewref(obj) atomic_xnewref(obj)
#define ouro_xdecref(obj) atomic_xdecref(obj)
#define ouro_typeof(obj) ((ouro_type *)(uintptr_t)atomic_type_of(obj))
#define ouro_block_size(obj) ((void)(obj), (size_t)64)
#define ouro_weakref_new(obj, callback, arg) ((ouro_weakref *)NULL)
#define ouro_weakref_get(ref) ((void *)(ref))
#define ouro_malloc malloc
#define ouro_realloc realloc
#define ouro_free free
#define ouro_calloc calloc

#endif
