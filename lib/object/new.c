/* object/new.c: objects are born.
 *
 * Invariants  between the moment a block is taken and the store of its shared word nothing can stop the thread: until then
 *             the block looks free.
 */
#include <errno.h>
#include <string.h>

#include "object/internal.h"

void (*ouroi_object_gc_hook)(struct ouroi_thread *thread);

/* What ouro_self_ is, as one word, for a registered thread that nobody has asked for anything; but for its number. */
#define SELF_QUIET ((uint64_t)1 << 48)
#define SELF_NUMBER ((uint64_t)0xffff << 32)
_Static_assert(offsetof(struct ouro_self_, number) == 4 && offsetof(struct ouro_self_, registered) == 6, "self_word");

OUROI_INLINE uint64_t self_word(void)
{
    uint64_t word;
    /* relaxed: the bits of request are a wish */
    uint32_t request = ouroi_atomic_load_relaxed(&ouro_self_.request);
    word = request | (uint64_t)ouro_self_.number << 32 | (uint64_t)ouro_self_.registered << 48;
    return word;
}

/* Zeroes [from, to), multiples of 16 bytes apart from both; small sizes. */
OUROI_INLINE void zero(char *from, const char *to)
{
    do {
        memset(from, 0, 16);
        from += 16;
    } while (from < to);
}

/* Writes the header of a block, which makes it an object. */
OUROI_INLINE void *be_born(ouro_object *obj, uint16_t number, uint64_t birth)
{
    bool owned = number != OUROI_NUMBER_NONE;
    obj->ouro_local_ = owned;
    obj->ouro_owner_ = owned ? number : 0;
    obj->ouro_items_ = 0;
    uint64_t merged = birth + OURO_SHARED_ONE_ + OURO_FLAG_MERGED_;
    /* relaxed: who gets to know of it is told by the program */
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, owned ? birth : merged);
    return obj;
}

/* A safepoint, and perhaps a collection. */
static int look_around(const struct ouroi_type *private)
{
    struct ouroi_thread *thread = ouroi_thread_get();
    if (thread == NULL)
        return -ENOMEM;
    ouro_safepoint();
    struct ouroi_object_thread *self = ouroi_object_thread(thread);
    if (private->tracked && self->allowance <= 0) {
        if (ouroi_object_gc_hook != NULL)
            ouroi_object_gc_hook(thread);
        else
            self->allowance = INT64_MAX;
    }
    self->allowance -= private->tracked;
    return 0;
}

static OUROI_NOINLINE void *new_slow(ouro_type *type, size_t items)
{
    size_t bytes;
    int rc = ouroi_type_ready(type);
    if (rc == 0 && items != 0 && type->item_size == 0)
        rc = -EINVAL;
    if (rc == 0 &&
        (__builtin_mul_overflow(items, type->item_size, &bytes) ||
         __builtin_add_overflow(bytes, type->size + (items >= OUROI_ITEMS_MANY ? 2 * sizeof(size_t) : 0), &bytes) ||
         bytes > PTRDIFF_MAX))
        rc = -ENOMEM;
    struct ouroi_type *private = rc == 0 ? ouroi_type_private(type) : NULL;
    if (rc == 0)
        rc = look_around(private);
    if (rc != 0) {
        errno = -rc;
        return NULL;
    }
    if (items >= OUROI_ITEMS_MANY)
        bytes = ouroi_align_up(bytes, sizeof(size_t));
    ouro_object *obj;
    if (!private->tracked) {
        obj = ouroi_heap_alloc_zero(bytes);
    } else if (bytes <= OUROI_SMALL_MAX) {
        obj = ouroi_nodes_alloc(ouroi_nodes_self, ouroi_class_of(bytes));
        if (obj != NULL)
            memset((char *)obj + sizeof *obj, 0, ouroi_class_bytes(ouroi_class_of(bytes)) - sizeof *obj);
    } else {
        obj = ouroi_nodes_alloc_large(ouroi_nodes_self, bytes);
    }
    if (obj == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    uint64_t birth = private->birth;
    be_born(obj, ouro_self_.number, birth);
    ouroi_object_set_items(obj, items);
    return obj;
}

void *ouro_new(ouro_type *type)
{
    if (OUROI_UNLIKELY(type == NULL))
        return new_slow(type, 0);
    const struct ouroi_type *private = ouroi_type_private(type);
    uint64_t word = self_word();
    /* [TYPE look] acquire, pairs with [TYPE give] */
    if (OUROI_UNLIKELY((word & ~SELF_NUMBER) != SELF_QUIET || ouroi_atomic_load_acquire(&private->index) == 0 ||
                       private->size_class == 0))
        return new_slow(type, 0);
    size_t bytes = type->size;
    ouro_object *obj;
    if (private->tracked) {
        struct ouroi_object_thread *self = ouroi_object_self;
        if (OUROI_UNLIKELY(self->allowance <= 0))
            return new_slow(type, 0);
        obj = ouroi_pool_pop(ouroi_nodes_self->bins[private->size_class].current);
        if (OUROI_UNLIKELY(obj == NULL))
            return new_slow(type, 0);
        self->allowance--;
    } else {
        obj = ouroi_heap_alloc_fast(bytes);
        if (OUROI_UNLIKELY(obj == NULL))
            return new_slow(type, 0);
    }
    if (bytes <= 256)
        zero((char *)obj + 16, (char *)obj + bytes);
    else
        memset((char *)obj + 16, 0, bytes - 16);
    return be_born(obj, (uint16_t)(word >> 32), private->birth);
}

void *ouro_new_items(ouro_type *type, size_t items)
{
    return items == 0 ? ouro_new(type) : new_slow(type, items);
}
