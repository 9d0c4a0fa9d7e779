/* object/new.c: objects are born.
 *
 * Invariants  between the moment a block is taken and the store of its shared word nothing can stop the thread: until then
 *             the block looks free.
 */
#include <errno.h>
#include <string.h>

#include "object/internal.h"

void (*ouroi_object_gc_hook)(struct ouroi_thread *thread);

/* ouro_self_'s first words: request in bits 31..0, the number in 47..32. Of a thread that has a number, and that nobody asks
 * for anything, this and 1 is the first word of an object that it makes. */
_Static_assert(offsetof(struct ouro_self_, number) == 4 && offsetof(struct ouro_self_, zero) == 6, "self_word");
_Static_assert(offsetof(ouro_object, ouro_owner_) == 4 && offsetof(ouro_object, ouro_items_) == 6, "self_word");
#define SELF_NONE ((uint64_t)OUROI_NUMBER_NONE << 32)

OUROI_INLINE uint64_t self_word(void)
{
    /* relaxed: the bits of request are a wish; the number is the thread's own */
    return ouroi_atomic_load_relaxed((uint64_t *)(void *)&ouro_self_);
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

enum { ZEROED_INLINE = 256 }; /* larger ones are left to memset, which costs more than the way there */

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
            OUROI_OWNED_SET(&self->allowance, INT64_MAX);
    }
    OUROI_OWNED_ADD(&self->allowance, -(int64_t) private->tracked);
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
    size_t asked = type->size + items * type->item_size;
    if (!private->tracked) {
        obj = ouroi_heap_alloc_object(bytes < 2 * sizeof *obj ? 2 * sizeof *obj : bytes, asked, type->name);
    } else if (bytes <= OUROI_SMALL_MAX) {
        unsigned size_class = ouroi_object_class(bytes);
        obj = ouroi_nodes_alloc(ouroi_nodes_self, size_class, asked, type->name);
        if (obj != NULL)
            memset((char *)obj + sizeof *obj, 0, ouroi_class_bytes(size_class) - sizeof *obj);
    } else {
        obj = ouroi_nodes_alloc_large(ouroi_nodes_self, bytes, asked, type->name);
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
    size_t size = type->size;
    if (OUROI_UNLIKELY((uint32_t)word != 0 || word == SELF_NONE || size > ZEROED_INLINE))
        return new_slow(type, 0);
    /* [TYPE look] acquire, pairs with [TYPE give]. A type that has no place yet leads to class 0, which never has a block. */
    size_t bin = offsetof(struct ouroi_heap, bins[0].current) + ouroi_atomic_load_acquire(&private->bin);
    struct ouroi_heap *heap = ouroi_heap_self;
    struct ouroi_object_thread *self = NULL;
    /* Where the type has no place yet, either will do: neither heap has a block of class 0. */
    if (OUROI_OWNED_GET_PLAIN(&private->tracked)) {
        heap = ouroi_nodes_self;
        self = ouroi_object_self;
        if (OUROI_UNLIKELY(self->allowance <= 0))
            return new_slow(type, 0);
    }
    /* relaxed: see [TRACE-FACE] in heap/traced.c */
    struct ouroi_pool *pool = ouroi_atomic_load_relaxed((struct ouroi_pool **)(void *)((char *)heap + bin));
    struct ouroi_block *block = pool->free;
    if (OUROI_UNLIKELY(block == NULL))
        return new_slow(type, 0);
    OUROI_SEEN_ADD(&pool->seen_allocs, 1);
    OUROI_OWNED_SET(&pool->free, block->next);
    OURO_ASSERT(ouroi_pool_mark(pool, block, true));
    if (self != NULL)
        OUROI_OWNED_ADD(&self->allowance, -1);
    char *at = (char *)block + sizeof(ouro_object), *end = (char *)block + size;
    do {
        memset(at, 0, 16);
        at += 16;
    } while (at < end);
    ouro_object *obj = (ouro_object *)(void *)block;
    word++;
    memcpy(obj, &word, sizeof word);
    /* relaxed: who gets to know of it is told by the program */
    ouroi_atomic_store_relaxed(&obj->ouro_shared_, private->birth);
    return obj;
}

void *ouro_new_items(ouro_type *type, size_t items)
{
    return items == 0 ? ouro_new(type) : new_slow(type, items);
}
