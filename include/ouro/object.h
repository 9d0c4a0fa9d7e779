/* ouro/object.h: objects with counted references.
 *
 * A struct whose first member is an ouro_object is an object of the ouro_type that describes it. Who holds a reference
 * may use it; dropping the last frees the object at once: finalize, weak references and their callbacks, clear, the
 * references dropped, destroy, the memory. Any thread may count any object that it holds a reference to. Counts are biased
 * (Choi, Shull, Torrellas 2018): the thread that made an object counts it with plain arithmetic, others with one atomic
 * operation.
 *
 * Errors: NULL, false or -1, and errno. A count below zero, or use of a freed object, where it is detected, ends the
 * process with one line on stderr that names the type.
 */
#ifndef OURO_OBJECT_H
#define OURO_OBJECT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ouro/alloc.h>
#include <ouro/thread.h>

#ifdef __cplusplus
#include <atomic>
#else
#include <stdatomic.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The header: 16 bytes, the first member of every object. Its members are the library's. */
typedef struct ouro_object {
    int32_t ouro_local_;  /* the owner's count */
    uint16_t ouro_owner_; /* the thread that may change it; 0: nobody */
    uint16_t ouro_items_; /* trailing items; 0xffff: that many or more, see the end of the block. Without: ouro.hpp's */
    uint64_t ouro_shared_; /* everybody's count, the type's number, flags */
} ouro_object;

typedef void (*ouro_visit)(ouro_object *referent, void *arg);

#ifdef __cplusplus
#define OURO_ZERO_ = {}
#else
#define OURO_ZERO_
#endif

/* Describes objects. Lives as long as they and snapshots do; not changed after the first ouro_new. */
typedef struct ouro_type ouro_type;
struct ouro_type {
    const char *name OURO_ZERO_;
    size_t size OURO_ZERO_;          /* bytes of one instance, header included */
    size_t item_size OURO_ZERO_;     /* bytes of one trailing item; 0: fixed size */
    uint32_t flags OURO_ZERO_;       /* 0 */
    const uint16_t *refs OURO_ZERO_; /* byte offsets of the ouro_object * and ouro_slot members, */
    size_t ref_count OURO_ZERO_;     /* that many */
    bool items_are_refs OURO_ZERO_;  /* every trailing item is a reference */
    void (*traverse)(ouro_object *self, ouro_visit visit,
                     void *arg) OURO_ZERO_;                   /* references that `refs` cannot name, but NULL */
    void (*clear)(ouro_object *self) OURO_ZERO_;              /* drop those; may be called more than once */
    void (*finalize)(ouro_object *self) OURO_ZERO_;           /* runs once, object whole; may resurrect */
    void (*destroy)(ouro_object *self) OURO_ZERO_;            /* release what is not an object; last */
    size_t (*extra_size)(const ouro_object *self) OURO_ZERO_; /* bytes owned beyond the instance */
    uint64_t ouro_private_[6] OURO_ZERO_;
};

/* A new object with one reference, zero but for the header. A safepoint; a collection may run before.
 * Errors: NULL; ENOMEM; EINVAL: the type is wrong (size under 16, flags, an offset outside or misaligned, items_are_refs
 * with items of another size). O(1), amortized. */
OURO_ATTR_EXPORT void *ouro_new(ouro_type *type);

/* The same with `items` trailing items, zero. EINVAL also for items of a type that has none. */
OURO_ATTR_EXPORT void *ouro_new_items(ouro_type *type, size_t items);

OURO_ATTR_EXPORT size_t ouro_item_count(const void *obj);

/* Where the items begin: type->size bytes after the object. */
OURO_ATTR_EXPORT void *ouro_items(void *obj);

/* The number of references; exact while no other thread changes it. An immortal object's: a constant over 2^30. */
OURO_ATTR_EXPORT size_t ouro_refcount(const void *obj);

/* Bytes of the instance, its items and what extra_size says. */
OURO_ATTR_EXPORT size_t ouro_sizeof(const void *obj);

/* Bytes that it costs the heap. */
OURO_ATTR_EXPORT size_t ouro_block_size(const void *obj);

OURO_ATTR_EXPORT ouro_type *ouro_typeof(const void *obj);

/* The count is frozen, the object never freed; what it refers to lives. */
OURO_ATTR_EXPORT void ouro_immortalize(void *obj);
OURO_ATTR_EXPORT bool ouro_is_immortal(const void *obj);

/* For an object that many threads share and count all the time: from now on each thread counts for itself, with no
 * contention; the object is freed by a collection that finds the sum zero. Idempotent. A safepoint; stops the world.
 * Returns 0; or -1 and ENOMEM, or EINVAL for an immortal object. */
OURO_ATTR_EXPORT int ouro_distribute(void *obj);

/* What follows is for the inline functions.
 *
 * The shared word: bits 63..32 the count plus 2^30; 31..8 the type's number; 7..0 flags. Bit 63 is set in a count that has
 * reached the ceiling. A free block has a pointer there, whose bit 0 is clear. */
#define OURO_SHARED_ONE_ ((uint64_t)1 << 32)
#define OURO_SHARED_ZERO_ ((uint64_t)1 << 62)
enum {
    OURO_FLAG_ALIVE_ = 1,  /* always */
    OURO_FLAG_MERGED_ = 2, /* the shared count is the whole count */
    OURO_FLAG_IMMORTAL_ = 4,
    OURO_FLAG_DISTRIBUTED_ = 8,
    OURO_FLAG_QUEUED_ = 16, /* its owner has been asked to merge it */
    OURO_FLAG_SEEN_ = 32, /* in a slot, or weakly referenced, at some time: others may take references out of nothing */
    OURO_FLAG_FINALIZED_ = 64,
    OURO_FLAG_DYING_ = 128, /* its references are being dropped */
};
#define OURO_SHARED_SPECIAL_ ((uint64_t)1 << 63 | OURO_FLAG_ALIVE_ | OURO_FLAG_IMMORTAL_ | OURO_FLAG_DISTRIBUTED_)

/* A distributed object has no owner, and its number in the place of the owner's count. */
static inline bool ouro_count_distributed_(ouro_object *self, uint64_t shared, int64_t n)
{
    uint32_t number = (uint32_t)__atomic_load_n(&self->ouro_local_, __ATOMIC_RELAXED);
    if ((shared & OURO_SHARED_SPECIAL_) != (OURO_FLAG_ALIVE_ | OURO_FLAG_DISTRIBUTED_) || number >= ouro_self_.room)
        return false;
    int64_t *count = &ouro_self_.counts[number];
    OURO_POINT_(count);
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
    return true;
}

OURO_ATTR_EXPORT void ouro_incref_slow_(ouro_object *obj);
OURO_ATTR_EXPORT void ouro_incref_ceiling_(ouro_object *obj);
OURO_ATTR_EXPORT void ouro_decref_slow_(ouro_object *obj);
OURO_ATTR_EXPORT void ouro_decref_last_(ouro_object *obj);

/* A thread that is not registered has that: it registers first. */
#define OURO_NUMBER_NONE_ 0xffffu

/* The owner's count is read by statistics and debuggers while its owner changes it: ThreadSanitizer is to know. */
#if defined(__SANITIZE_THREAD__)
#define OURO_RACES_SEEN_ 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OURO_RACES_SEEN_ 1
#endif
#endif
#if defined(OURO_SCHED) && OURO_SCHED
#define OURO_RACES_SEEN_ 1
#endif
#ifdef OURO_RACES_SEEN_
#define OURO_LOCAL_GET_(obj) (OURO_POINT_(&(obj)->ouro_local_), __atomic_load_n(&(obj)->ouro_local_, __ATOMIC_RELAXED))
#define OURO_LOCAL_SET_(obj, count) \
    (OURO_POINT_(&(obj)->ouro_local_), __atomic_store_n(&(obj)->ouro_local_, count, __ATOMIC_RELAXED))
#else
#define OURO_LOCAL_GET_(obj) ((obj)->ouro_local_)
#define OURO_LOCAL_SET_(obj, count) ((void)((obj)->ouro_local_ = (count)))
#endif

/* Takes one more reference. obj: not NULL, and the caller holds a reference. O(1): the owner a plain increment, others one
 * atomic addition. */
static inline void ouro_incref(void *obj)
{
    ouro_object *self = (ouro_object *)obj;
    assert(self != NULL);
    OURO_POINT_(&self->ouro_owner_);
    if (__builtin_expect(__atomic_load_n(&self->ouro_owner_, __ATOMIC_RELAXED) == ouro_self_.number, 1)) {
        int32_t count = (int32_t)((uint32_t)OURO_LOCAL_GET_(self) + 1);
        OURO_LOCAL_SET_(self, count);
        if (__builtin_expect(count < 0, 0))
            ouro_incref_ceiling_(self);
        return;
    }
    OURO_POINT_(&self->ouro_shared_);
    uint64_t shared = __atomic_load_n(&self->ouro_shared_, __ATOMIC_RELAXED);
    OURO_POINT_(&self->ouro_shared_);
    if (__builtin_expect((shared & OURO_SHARED_SPECIAL_) == OURO_FLAG_ALIVE_ && ouro_self_.number != OURO_NUMBER_NONE_,
                         1))
        __atomic_fetch_add(&self->ouro_shared_, OURO_SHARED_ONE_, __ATOMIC_RELAXED); /* model: count.take.1 */
    else if (!ouro_count_distributed_(self, shared, 1))
        ouro_incref_slow_(self);
}

/* Drops a reference; the last one frees the object before it returns, unless this runs inside such a freeing, or the
 * object's owner has to be asked first (see thread.h): then at its next safepoint. obj: not NULL. */
static inline void ouro_decref(void *obj)
{
    ouro_object *self = (ouro_object *)obj;
    assert(self != NULL);
    OURO_POINT_(&self->ouro_owner_);
    if (__builtin_expect(__atomic_load_n(&self->ouro_owner_, __ATOMIC_RELAXED) == ouro_self_.number, 1)) {
        int32_t count = OURO_LOCAL_GET_(self) - 1; /* model: count.own.1 */
        OURO_LOCAL_SET_(self, count);
        if (__builtin_expect(count == 0, 0))
            ouro_decref_last_(self);
        return;
    }
    /* Where references are left, this thread's or, of a count that is not merged, possibly the owner's. */
    OURO_POINT_(&self->ouro_shared_);
    uint64_t shared = __atomic_load_n(&self->ouro_shared_, __ATOMIC_RELAXED);
    OURO_POINT_(&self->ouro_shared_);
    if (__builtin_expect((shared & OURO_SHARED_SPECIAL_) == OURO_FLAG_ALIVE_ &&
                             ouro_self_.number != OURO_NUMBER_NONE_ &&
                             (shared >> 32) > (OURO_SHARED_ZERO_ >> 32) + (shared >> 1 & 1),
                         1) &&
        __builtin_expect(__atomic_compare_exchange_n(&self->ouro_shared_, &shared, shared - OURO_SHARED_ONE_, false,
                                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED),
                         1))
        return;
    if (!ouro_count_distributed_(self, shared, -1))
        ouro_decref_slow_(self);
}

static inline void *ouro_newref(void *obj)
{
    ouro_incref(obj);
    return obj;
}
static inline void ouro_xincref(void *obj)
{
    if (obj != NULL)
        ouro_incref(obj);
}
static inline void ouro_xdecref(void *obj)
{
    if (obj != NULL)
        ouro_decref(obj);
}
static inline void *ouro_xnewref(void *obj)
{
    ouro_xincref(obj);
    return obj;
}
static inline void ouro_auto_drop_(void *variable)
{
    void *obj;
    __builtin_memcpy(&obj, variable, sizeof obj);
    ouro_xdecref(obj);
}

/* lvalue = NULL, then decref of what it was, unless that was NULL. lvalue: evaluated once. */
#define OURO_CLEAR(lvalue)                                  \
    do {                                                    \
        __typeof__(lvalue) *ouro_clear_at_ = &(lvalue);     \
        __typeof__(lvalue) ouro_cleared_ = *ouro_clear_at_; \
        *ouro_clear_at_ = NULL;                             \
        ouro_xdecref((void *)ouro_cleared_);                \
    } while (0)

/* lvalue = value, a reference given away or NULL; then decref of what lvalue was when value had been evaluated. */
#define OURO_SETREF(lvalue, value)                         \
    do {                                                   \
        __typeof__(lvalue) *ouro_set_at_ = &(lvalue);      \
        __typeof__(lvalue) ouro_set_to_ = (value);         \
        __typeof__(lvalue) ouro_set_from_ = *ouro_set_at_; \
        *ouro_set_at_ = ouro_set_to_;                      \
        ouro_xdecref((void *)ouro_set_from_);              \
    } while (0)

/* The value of lvalue, which is NULL after. */
#define OURO_MOVE(lvalue)                                \
    __extension__({                                      \
        __typeof__(lvalue) *ouro_move_at_ = &(lvalue);   \
        __typeof__(lvalue) ouro_moved_ = *ouro_move_at_; \
        *ouro_move_at_ = NULL;                           \
        ouro_moved_;                                     \
    })

/* OURO_AUTO struct node *n = ouro_new(&node_type);  drops the reference, or NULL, when n goes out of scope. */
#define OURO_AUTO __attribute__((cleanup(ouro_auto_drop_)))

/* Initialisers. ouro_type node_type = OURO_TYPE(struct node, OURO_REFS(struct node, next, value), .finalize = f);
 * In C++ members stand in the order of struct ouro_type. */
#define OURO_TYPE(...) OURO_PICK_TYPE_(__VA_ARGS__)(__VA_ARGS__)
#define OURO_TYPE_SIZED(struct_type, ...) OURO_PICK_SIZED_(__VA_ARGS__)(struct_type, __VA_ARGS__)
#define OURO_TYPE_ONE_(struct_type)                       \
    {                                                     \
        .name = #struct_type, .size = sizeof(struct_type) \
    }
#define OURO_TYPE_MORE_(struct_type, ...)                              \
    {                                                                  \
        .name = #struct_type, .size = sizeof(struct_type), __VA_ARGS__ \
    }
#define OURO_SIZED_ONE_(struct_type, size_)   \
    {                                         \
        .name = #struct_type, .size = (size_) \
    }
#define OURO_SIZED_MORE_(struct_type, size_, ...)          \
    {                                                      \
        .name = #struct_type, .size = (size_), __VA_ARGS__ \
    }

/* .refs and .ref_count out of 1 to 32 members: any designators that offsetof takes. */
#define OURO_REFS(struct_type, ...) \
    .refs = OURO_OFFSETS_(OURO_PICK_MAP_(__VA_ARGS__)(struct_type, __VA_ARGS__)), .ref_count = OURO_COUNT_(__VA_ARGS__)
#define OURO_PICK_N_(a1_, a2_, a3_, a4_, a5_, a6_, a7_, a8_, a9_, a10_, a11_, a12_, a13_, a14_, a15_, a16_, a17_,  \
                     a18_, a19_, a20_, a21_, a22_, a23_, a24_, a25_, a26_, a27_, a28_, a29_, a30_, a31_, a32_, n_, \
                     ...)                                                                                          \
    n_
#define OURO_COUNT_(...)                                                                                              \
    OURO_PICK_N_(__VA_ARGS__, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, \
                 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, )
#define OURO_PICK_MAP_(...)                                                                                        \
    OURO_PICK_N_(__VA_ARGS__, OURO_MAP_32_, OURO_MAP_31_, OURO_MAP_30_, OURO_MAP_29_, OURO_MAP_28_, OURO_MAP_27_,  \
                 OURO_MAP_26_, OURO_MAP_25_, OURO_MAP_24_, OURO_MAP_23_, OURO_MAP_22_, OURO_MAP_21_, OURO_MAP_20_, \
                 OURO_MAP_19_, OURO_MAP_18_, OURO_MAP_17_, OURO_MAP_16_, OURO_MAP_15_, OURO_MAP_14_, OURO_MAP_13_, \
                 OURO_MAP_12_, OURO_MAP_11_, OURO_MAP_10_, OURO_MAP_9_, OURO_MAP_8_, OURO_MAP_7_, OURO_MAP_6_,     \
                 OURO_MAP_5_, OURO_MAP_4_, OURO_MAP_3_, OURO_MAP_2_, OURO_MAP_1_, )
#define OURO_MAP_1_(s_, m_) (uint16_t) offsetof(s_, m_)
#define OURO_MAP_2_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_1_(s_, __VA_ARGS__)
#define OURO_MAP_3_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_2_(s_, __VA_ARGS__)
#define OURO_MAP_4_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_3_(s_, __VA_ARGS__)
#define OURO_MAP_5_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_4_(s_, __VA_ARGS__)
#define OURO_MAP_6_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_5_(s_, __VA_ARGS__)
#define OURO_MAP_7_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_6_(s_, __VA_ARGS__)
#define OURO_MAP_8_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_7_(s_, __VA_ARGS__)
#define OURO_MAP_9_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_8_(s_, __VA_ARGS__)
#define OURO_MAP_10_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_9_(s_, __VA_ARGS__)
#define OURO_MAP_11_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_10_(s_, __VA_ARGS__)
#define OURO_MAP_12_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_11_(s_, __VA_ARGS__)
#define OURO_MAP_13_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_12_(s_, __VA_ARGS__)
#define OURO_MAP_14_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_13_(s_, __VA_ARGS__)
#define OURO_MAP_15_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_14_(s_, __VA_ARGS__)
#define OURO_MAP_16_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_15_(s_, __VA_ARGS__)
#define OURO_MAP_17_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_16_(s_, __VA_ARGS__)
#define OURO_MAP_18_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_17_(s_, __VA_ARGS__)
#define OURO_MAP_19_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_18_(s_, __VA_ARGS__)
#define OURO_MAP_20_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_19_(s_, __VA_ARGS__)
#define OURO_MAP_21_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_20_(s_, __VA_ARGS__)
#define OURO_MAP_22_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_21_(s_, __VA_ARGS__)
#define OURO_MAP_23_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_22_(s_, __VA_ARGS__)
#define OURO_MAP_24_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_23_(s_, __VA_ARGS__)
#define OURO_MAP_25_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_24_(s_, __VA_ARGS__)
#define OURO_MAP_26_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_25_(s_, __VA_ARGS__)
#define OURO_MAP_27_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_26_(s_, __VA_ARGS__)
#define OURO_MAP_28_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_27_(s_, __VA_ARGS__)
#define OURO_MAP_29_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_28_(s_, __VA_ARGS__)
#define OURO_MAP_30_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_29_(s_, __VA_ARGS__)
#define OURO_MAP_31_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_30_(s_, __VA_ARGS__)
#define OURO_MAP_32_(s_, m_, ...) (uint16_t) offsetof(s_, m_), OURO_MAP_31_(s_, __VA_ARGS__)
#define OURO_PICK_TYPE_(...)                                                                                           \
    OURO_PICK_N_(__VA_ARGS__, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_,     \
                 OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, \
                 OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, \
                 OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, \
                 OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_MORE_, \
                 OURO_TYPE_MORE_, OURO_TYPE_MORE_, OURO_TYPE_ONE_, )
#define OURO_PICK_SIZED_(...)                                                                              \
    OURO_PICK_N_(__VA_ARGS__, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_,      \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_MORE_, \
                 OURO_SIZED_MORE_, OURO_SIZED_MORE_, OURO_SIZED_ONE_, )

#ifdef __cplusplus
} /* extern "C" */
template <uint16_t... offset>
struct ouro_offsets_ {
    static constexpr uint16_t value[] = { offset... };
};
#define OURO_OFFSETS_(...) ouro_offsets_<__VA_ARGS__>::value
extern "C" {
typedef struct {
    std::atomic<ouro_object *> ptr;
} ouro_slot;
#else
#define OURO_OFFSETS_(...) ((const uint16_t[]){ __VA_ARGS__ })
typedef struct {
    _Atomic(ouro_object *) ptr;
} ouro_slot;
#endif

/* ouro_slot: a strong reference that several threads read and write with no lock. Zero is an empty slot. The object it is
 * a member of lists it among `refs`, or drops it in destroy.
 *
 * A new reference to what the slot holds, or NULL; never a freed object. */
OURO_ATTR_EXPORT void *ouro_slot_load(ouro_slot *slot);
static inline void *ouro_slot_load_(ouro_slot *slot)
{
    /* The owner's object cannot die while the owner looks at it. A thread must be known before it looks at a slot: nobody
     * waits for one that is not. */
    if (__builtin_expect(ouro_self_.number == OURO_NUMBER_NONE_, 0))
        return ouro_slot_load(slot);
    OURO_POINT_(slot);
    ouro_object *obj = __atomic_load_n((ouro_object **)(void *)slot, __ATOMIC_ACQUIRE);
    OURO_POINT_(obj);
    if (__builtin_expect(obj == NULL || __atomic_load_n(&obj->ouro_owner_, __ATOMIC_RELAXED) != ouro_self_.number, 0))
        return ouro_slot_load(slot);
    ouro_incref(obj);
    return obj;
}
#define ouro_slot_load(slot) ouro_slot_load_(slot)
/* Stores obj (or NULL), taking a reference of its own; drops what the slot held. */
OURO_ATTR_EXPORT void ouro_slot_store(ouro_slot *slot, void *obj);
/* obj's reference moves in, that of what the slot held moves out. */
OURO_ATTR_EXPORT void *ouro_slot_exchange(ouro_slot *slot, void *obj);
/* If the slot holds `expected`, stores obj, taking a reference of its own, drops the old one and returns true. */
OURO_ATTR_EXPORT bool ouro_slot_compare_exchange(ouro_slot *slot, void *expected, void *obj);

#ifdef __cplusplus
}
#endif

#endif
