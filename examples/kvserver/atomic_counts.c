/* kvserver/atomic_counts.c: how objects end in the comparison: in constant stack, as in the library. */
#include "kv.h"

void atomic_free(ouro_object *obj)
{
    static _Thread_local ouro_object *dying;
    static _Thread_local bool busy;
    obj->ouro_shared_ = (uint64_t)(uintptr_t)dying;
    dying = obj;
    if (busy)
        return;
    busy = true;
    while ((obj = dying) != NULL) {
        dying = (ouro_object *)(uintptr_t)obj->ouro_shared_;
        const ouro_type *type = atomic_type_of(obj);
        for (size_t i = 0; i < type->ref_count; i++)
            ouro_xdecref(*(ouro_object **)(void *)((char *)obj + type->refs[i]));
        char *block = (char *)obj - (type->items_are_refs ? 16 : 0);
        if (type->items_are_refs) {
            ouro_object **at = (ouro_object **)(void *)((char *)obj + type->size);
            size_t items;
            memcpy(&items, block, sizeof items);
            for (size_t i = 0; i < items; i++)
                ouro_xdecref(at[i]);
        }
        if (type->destroy != NULL)
            type->destroy(obj);
        free(block);
    }
    busy = false;
}
