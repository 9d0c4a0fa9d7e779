/* object/types.c: types get numbers; sizes and items of objects.
 *
 * Owns        ouroi_types; ouro_private_ of every type.
 * Invariants  a type's number, once stored, never changes; its entry is there before the number is.
 * Sync        types_lock, rank TYPES; [TYPE].
 */
#include <errno.h>
#include <string.h>

#include "object/internal.h"

enum { TYPES_PER_PAGE = 4096, PAGES = 4096 };

ouro_type **ouroi_types[PAGES];
static struct ouroi_lock types_lock = OUROI_LOCK_INIT(OUROI_RANK_TYPES);
static uint32_t type_count = 4; /* the next number, a multiple of 4. 0 to 3 are no types */
enum { ZEROED_INLINE = 256 };   /* larger objects are made in the slow way: memset costs more than the way there */

static bool is_wrong(const ouro_type *type)
{
    if (type->size < sizeof(ouro_object) || type->size > PTRDIFF_MAX || type->flags != 0 ||
        (type->ref_count != 0 && type->refs == NULL))
        return true;
    if (type->items_are_refs && (type->item_size != sizeof(void *) || type->size % sizeof(void *) != 0))
        return true;
    for (size_t i = 0; i < type->ref_count; i++)
        if (type->refs[i] % sizeof(void *) != 0 || type->refs[i] < sizeof(ouro_object) ||
            type->refs[i] > type->size - sizeof(void *))
            return true;
    return false;
}

static int give_number(ouro_type *type, struct ouroi_type *private)
{
    OUROI_OWNED_SET(&private->tracked, type->ref_count != 0 || type->items_are_refs || type->traverse != NULL);
    bool callbacks = type->finalize != NULL || type->destroy != NULL || type->clear != NULL;
    private->plain = !private->tracked && !callbacks && !ouroi_options.secure; /* whose dead are remembered */
    private->maps_only = private->tracked && type->traverse == NULL && !callbacks && !ouroi_options.secure;
    uint32_t index = type_count + private->plain + 2u * private->maps_only;
    if (index >= TYPES_PER_PAGE * PAGES)
        return -ENOMEM;
    ouro_type ***page = &ouroi_types[index / TYPES_PER_PAGE];
    if (*page == NULL) {
        ouro_type **fresh = ouroi_meta_alloc(TYPES_PER_PAGE * sizeof *fresh);
        if (fresh == NULL)
            return -ENOMEM;
        ouroi_atomic_store_relaxed(page, fresh); /* relaxed: published with the number */
    }
    ouroi_atomic_store_relaxed(&(*page)[index % TYPES_PER_PAGE], type); /* relaxed: the same */
    OUROI_OWNED_SET(&type_count, type_count + 4);
    private->birth = OURO_SHARED_ZERO_ | (uint64_t)index << 8 | OURO_FLAG_ALIVE_;
    /* [TYPE give] release, pairs with [TYPE look]: what was written above */
    if (type->size <= ZEROED_INLINE) {
        unsigned size_class = ouroi_object_class(type->size);
        OUROI_OWNED_SET(&private->block_bytes, (uint32_t)ouroi_class_bytes(size_class));
        ouroi_atomic_store_release(&private->bin, (uint32_t)(size_class * sizeof(struct ouroi_bin)));
    }
    ouroi_atomic_store_release(&private->index, index);
    return 0;
}

int ouroi_type_ready(ouro_type *type)
{
    if (type == NULL)
        return -EINVAL;
    struct ouroi_type *private = ouroi_type_private(type);
    /* [TYPE look] acquire, pairs with [TYPE give] */
    if (OUROI_LIKELY(ouroi_atomic_load_acquire(&private->index) != 0))
        return 0;
    if (is_wrong(type))
        return -EINVAL;
    if (ouroi_heap_start() != 0)
        return -ENOMEM;
    ouroi_lock_acquire(&types_lock);
    int rc = private->index != 0 ? 0 : give_number(type, private);
    ouroi_lock_release(&types_lock);
    return rc;
}

void ouroi_types_fork_prepare(void)
{
    ouroi_lock_acquire(&types_lock);
}

void ouroi_types_fork_done(bool child)
{
    if (child)
        ouroi_lock_reset(&types_lock);
    else
        ouroi_lock_release(&types_lock);
}

const char *ouroi_type_name(const ouro_type *type)
{
    static const char prefix[] = "struct ";
    if (type == NULL || type->name == NULL)
        return "?";
    return strncmp(type->name, prefix, sizeof prefix - 1) == 0 ? type->name + sizeof prefix - 1 : type->name;
}

ouro_type *ouroi_type_numbered(uint32_t index)
{
    if (index == 0 || index >= OUROI_OWNED_GET(&type_count))
        return NULL;
    return ouroi_types[index / TYPES_PER_PAGE][index % TYPES_PER_PAGE];
}

/* Where OURO_SECURE=1 wipes freed blocks: which types the dead had, of each address class the last. */
enum { GRAVES = 1024 };
static struct {
    const ouro_object *obj;
    const ouro_type *type;
} graves[GRAVES];

static unsigned grave_of(const ouro_object *obj)
{
    return (unsigned)((uintptr_t)obj * 0x9e3779b97f4a7c15u >> 54);
}

void ouroi_object_note_grave(const ouro_object *obj)
{
    unsigned i = grave_of(obj);
    /* relaxed: a message may name a type too many */
    ouroi_atomic_store_relaxed(&graves[i].obj, obj);
    ouroi_atomic_store_relaxed(&graves[i].type, (const ouro_type *)ouroi_type_of(obj));
}

const ouro_type *ouroi_object_dead_type(const ouro_object *obj)
{
    unsigned i = grave_of(obj);
    if (ouroi_options.secure)
        /* relaxed: see above */
        return ouroi_atomic_load_relaxed(&graves[i].obj) == obj ? ouroi_atomic_load_relaxed(&graves[i].type) : NULL;
    return ouroi_type_numbered(ouroi_type_index(*(const uint64_t *)(const void *)(obj + 1)));
}

/* A count of items that the header has no room for lies at the end of the block. */
static size_t *long_count(const ouro_object *obj)
{
    char *end = (char *)(uintptr_t)obj + ouro_block_size(obj);
    return (size_t *)(void *)(end - sizeof(size_t));
}

size_t ouroi_object_items(const ouro_object *obj)
{
    return OUROI_LIKELY(obj->ouro_items_ != OUROI_ITEMS_MANY) ? obj->ouro_items_ : *long_count(obj);
}

void ouroi_object_set_items(ouro_object *obj, size_t items)
{
    obj->ouro_items_ = items < OUROI_ITEMS_MANY ? (uint16_t)items : OUROI_ITEMS_MANY;
    if (items >= OUROI_ITEMS_MANY)
        *long_count(obj) = items;
}

size_t ouro_item_count(const void *obj)
{
    ouroi_object_check_use(obj, "item_count of a freed object:");
    return ouroi_object_items(obj);
}

void *ouro_items(void *obj)
{
    ouroi_object_check_use(obj, "items of a freed object:");
    return (char *)obj + ouroi_type_of(obj)->size;
}

ouro_type *ouro_typeof(const void *obj)
{
    ouroi_object_check_use(obj, "typeof a freed object:");
    return ouroi_type_of(obj);
}

size_t ouro_sizeof(const void *obj)
{
    ouroi_object_check_use(obj, "sizeof a freed object:");
    const ouro_type *type = ouroi_type_of(obj);
    return type->size + ouroi_object_items(obj) * type->item_size +
           (type->extra_size != NULL ? type->extra_size(obj) : 0);
}

size_t ouro_block_size(const void *obj)
{
    struct ouroi_run *run = ouroi_run_find(obj);
    if (!run->nodes)
        return ouroi_heap_usable(obj);
    return run->kind == OUROI_RUN_POOL ? ouroi_pool_of(run)->block_bytes : run->bytes;
}
