/* api/test_object.c: types, their macros, making objects, what objects say of themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "objects.h"

_Static_assert(sizeof(ouro_object) == 16, "the header");
_Static_assert(_Alignof(ouro_object) <= 8, "the header");
_Static_assert(sizeof(ouro_slot) == sizeof(void *), "a slot is a pointer");

/* Types by the macros. */

struct bare {
    ouro_object base;
};

struct wide { /* 32 references */
    ouro_object base;
    ouro_object *r[32];
};

struct inner {
    char pad[4];
    struct {
        ouro_object *ref;
        int number;
    } cell[3];
};

struct nested {
    ouro_object base;
    struct inner inner;
    union {
        ouro_object *ref;
        uint64_t bits;
    } either;
    struct inner array[2];
    ouro_slot slot;
};

typedef struct {
    ouro_object base;
    ouro_object *only;
    char tail;
} unnamed;

static ouro_type bare_type = OURO_TYPE(struct bare);
static ouro_type unnamed_type = OURO_TYPE(unnamed, OURO_REFS(unnamed, only));
static ouro_type nested_type = OURO_TYPE(struct nested, OURO_REFS(struct nested, inner.cell[0].ref, inner.cell[2].ref,
                                                                  either.ref, array[1].cell[1].ref, slot));

#define R1 r[0]
#define R2 R1, r[1]
#define R3 R2, r[2]
#define R4 R3, r[3]
#define R5 R4, r[4]
#define R6 R5, r[5]
#define R7 R6, r[6]
#define R8 R7, r[7]
#define R9 R8, r[8]
#define R10 R9, r[9]
#define R11 R10, r[10]
#define R12 R11, r[11]
#define R13 R12, r[12]
#define R14 R13, r[13]
#define R15 R14, r[14]
#define R16 R15, r[15]
#define R17 R16, r[16]
#define R18 R17, r[17]
#define R19 R18, r[18]
#define R20 R19, r[19]
#define R21 R20, r[20]
#define R22 R21, r[21]
#define R23 R22, r[22]
#define R24 R23, r[23]
#define R25 R24, r[24]
#define R26 R25, r[25]
#define R27 R26, r[26]
#define R28 R27, r[27]
#define R29 R28, r[28]
#define R30 R29, r[29]
#define R31 R30, r[30]
#define R32 R31, r[31]
#define WIDE(...) OURO_TYPE(struct wide, OURO_REFS(struct wide, __VA_ARGS__))
static ouro_type wide_types[] = {
    WIDE(R1),  WIDE(R2),  WIDE(R3),  WIDE(R4),  WIDE(R5),  WIDE(R6),  WIDE(R7),  WIDE(R8),
    WIDE(R9),  WIDE(R10), WIDE(R11), WIDE(R12), WIDE(R13), WIDE(R14), WIDE(R15), WIDE(R16),
    WIDE(R17), WIDE(R18), WIDE(R19), WIDE(R20), WIDE(R21), WIDE(R22), WIDE(R23), WIDE(R24),
    WIDE(R25), WIDE(R26), WIDE(R27), WIDE(R28), WIDE(R29), WIDE(R30), WIDE(R31), WIDE(R32),
};

static void test_type_macro(void **state)
{
    (void)state;
    assert_int_equal(bare_type.size, sizeof(struct bare));
    assert_non_null(strstr(bare_type.name, "bare"));
    assert_int_equal(bare_type.ref_count, 0);
    assert_null(bare_type.refs);
    assert_string_equal(unnamed_type.name, "unnamed");
    assert_int_equal(unnamed_type.ref_count, 1);
    assert_int_equal(unnamed_type.refs[0], offsetof(unnamed, only));
    static const size_t expected[] = {
        offsetof(struct nested, inner.cell[0].ref),
        offsetof(struct nested, inner.cell[2].ref),
        offsetof(struct nested, either.ref),
        offsetof(struct nested, array[1].cell[1].ref),
        offsetof(struct nested, slot),
    };
    assert_int_equal(nested_type.ref_count, COUNT_OF(expected));
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(nested_type.refs[i], expected[i]);
}

/* Each number of members: the offsets in their order, and each reference is dropped when the object dies. */
static void test_refs_1_to_32(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 32; n++) {
        _Atomic size_t deaths = 0;
        ouro_type *type = &wide_types[n - 1];
        assert_int_equal(type->ref_count, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(type->refs[i], offsetof(struct wide, r) + i * sizeof(void *));
        struct wide *wide = ouro_new(type), *empty = ouro_new(type);
        assert_non_null(wide);
        for (size_t i = 0; i < 32; i++) {
            assert_null(wide->r[i]);
            wide->r[i] = &probe_new(&deaths)->base;
        }
        ouro_object *outside[32];
        for (size_t i = n; i < 32; i++) /* what the type does not name is not its business */
            outside[i] = wide->r[i];
        ouro_decref(wide);
        assert_int_equal(deaths, n);
        for (size_t i = n; i < 32; i++)
            ouro_decref(outside[i]);
        assert_int_equal(deaths, 32);
        ouro_decref(empty);
    }
}

static void test_refs_nested(void **state)
{
    (void)state;
    _Atomic size_t deaths = 0;
    struct nested *n = ouro_new(&nested_type);
    n->inner.cell[0].ref = &probe_new(&deaths)->base;
    n->inner.cell[2].ref = &probe_new(&deaths)->base;
    n->either.ref = &probe_new(&deaths)->base;
    n->array[1].cell[1].ref = &probe_new(&deaths)->base;
    struct probe *in_slot = probe_new(&deaths);
    ouro_slot_store(&n->slot, in_slot);
    assert_int_equal(ouro_refcount(in_slot), 2);
    ouro_decref(in_slot);
    assert_int_equal(deaths, 0);
    ouro_decref(n);
    assert_int_equal(deaths, 5);
}

/* Types that are wrong. */

static const uint16_t offset_ok[] = { 16, 24 };
static const uint16_t offset_odd[] = { 16, 20 };
static const uint16_t offset_byte[] = { 17 };
static const uint16_t offset_cut[] = { 16, 28 };
static const uint16_t offset_end[] = { 16, 32 };
static const uint16_t offset_far[] = { 65528 };
static const uint16_t offset_header[] = { 8 };
static const uint16_t offset_zero[] = { 0 };

static void test_wrong_types(void **state)
{
    (void)state;
    static ouro_type wrong[] = {
        { .name = "flags", .size = 32, .flags = 1 },
        { .name = "flags, all", .size = 32, .flags = UINT32_MAX },
        { .name = "size 0", .size = 0 },
        { .name = "size 8", .size = 8 },
        { .name = "size 15", .size = 15 },
        { .name = "misaligned by 4", .size = 32, .refs = offset_odd, .ref_count = 2 },
        { .name = "misaligned by 1", .size = 32, .refs = offset_byte, .ref_count = 1 },
        { .name = "half outside", .size = 32, .refs = offset_cut, .ref_count = 2 },
        { .name = "right behind", .size = 32, .refs = offset_end, .ref_count = 2 },
        { .name = "the last one", .size = 31, .refs = offset_ok, .ref_count = 2 },
        { .name = "far outside", .size = 32, .refs = offset_far, .ref_count = 1 },
        { .name = "in the header", .size = 32, .refs = offset_header, .ref_count = 1 },
        { .name = "the header", .size = 32, .refs = offset_zero, .ref_count = 1 },
        { .name = "no list", .size = 32, .ref_count = 1 },
        { .name = "items of 4", .size = 32, .item_size = 4, .items_are_refs = true },
        { .name = "items of 16", .size = 32, .item_size = 16, .items_are_refs = true },
        { .name = "items of 0", .size = 32, .item_size = 0, .items_are_refs = true },
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        for (unsigned again = 0; again < 2; again++) {
            errno = 0;
            void *obj = ouro_new(&wrong[i]);
            if (obj != NULL || errno != EINVAL)
                fail_msg("%s: %p, errno %d", wrong[i].name, obj, errno);
            errno = 0;
            obj = ouro_new_items(&wrong[i], 1);
            if (obj != NULL || errno != EINVAL)
                fail_msg("%s, with an item: %p, errno %d", wrong[i].name, obj, errno);
        }
    }
    static ouro_type right[] = {
        { .name = "the smallest", .size = 16 },
        { .name = "odd size", .size = 17 },
        { .name = "to the end", .size = 32, .refs = offset_ok, .ref_count = 2 },
        { .name = "refs that are not counted", .size = 32, .refs = offset_odd, .ref_count = 1 },
        { .name = "items of 8", .size = 32, .item_size = 8, .items_are_refs = true },
    };
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        void *obj = ouro_new(&right[i]);
        if (obj == NULL)
            fail_msg("%s: errno %d", right[i].name, errno);
        assert_ptr_equal(ouro_typeof(obj), &right[i]);
        ouro_decref(obj);
    }
}

static void test_nameless_type(void **state)
{
    (void)state;
    static ouro_type type = { .size = 24 };
    void *obj = ouro_new(&type);
    assert_true(obj != NULL || errno == EINVAL); /* not said; but no crash */
    ouro_xdecref(obj);
}

struct bytes {
    ouro_object base;
    uint32_t length;
    char data[]; /* begins before sizeof(struct bytes) may end */
};
static ouro_type bytes_type = OURO_TYPE_SIZED(struct bytes, offsetof(struct bytes, data), .item_size = 1);
static ouro_type triple_type = OURO_TYPE_SIZED(struct bytes, sizeof(struct bytes), .item_size = 3);
static ouro_type words_type = OURO_TYPE(struct bare, .item_size = 8);
static ouro_type fat_type = OURO_TYPE(struct bare, .item_size = 100000);
struct list {
    ouro_object base;
    size_t length;
    ouro_object *items[];
};
static ouro_type list_type =
    OURO_TYPE_SIZED(struct list, offsetof(struct list, items), .item_size = sizeof(void *), .items_are_refs = true);

static void test_too_much(void **state)
{
    (void)state;
    static const size_t counts[] = {
        SIZE_MAX,         SIZE_MAX - 1,      SIZE_MAX - 15,    SIZE_MAX - 16,        SIZE_MAX / 2,
        SIZE_MAX / 2 + 1, SIZE_MAX / 2 - 16, SIZE_MAX / 8 * 7, (SIZE_MAX / 8) * 5,   SIZE_MAX / 3 * 2,
        SIZE_MAX - 31,    SIZE_MAX / 8 * 4,  (SIZE_MAX >> 1),  SIZE_MAX - 4096 - 16,
    };
    ouro_type *types[] = { &bytes_type, &triple_type, &words_type, &fat_type, &list_type };
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        for (size_t t = 0; t < COUNT_OF(types); t++) {
            errno = 0;
            assert_null(ouro_new_items(types[t], opaque(counts[i])));
            assert_int_equal(errno, ENOMEM);
        }
    }
    /* products that wrap around to something small */
    static const struct {
        ouro_type *type;
        size_t count;
    } wraps[] = {
        { &words_type, SIZE_MAX / 8 + 1 },     { &words_type, SIZE_MAX / 8 + 2 },
        { &list_type, (size_t)1 << 61 },       { &list_type, ((size_t)1 << 61) - 2 },
        { &list_type, ((size_t)1 << 61) - 3 }, { &triple_type, SIZE_MAX / 3 + 1 },
        { &triple_type, SIZE_MAX / 3 },        { &fat_type, SIZE_MAX / 100000 },
        { &fat_type, SIZE_MAX / 100000 + 1 },
    };
    for (size_t i = 0; i < COUNT_OF(wraps); i++) {
        errno = 0;
        assert_null(ouro_new_items(wraps[i].type, opaque(wraps[i].count)));
        assert_int_equal(errno, ENOMEM);
    }
    static ouro_type huge[] = {
        { .name = "huge", .size = SIZE_MAX },
        { .name = "huge", .size = SIZE_MAX / 2 + 1 },
        { .name = "huge", .size = SIZE_MAX - 20 },
    };
    for (size_t i = 0; i < COUNT_OF(huge); i++) {
        errno = 0;
        assert_null(ouro_new(&huge[i]));
        assert_true(errno == ENOMEM || errno == EINVAL); /* too much, or wrong: not said */
    }
    errno = 0;
    assert_null(ouro_new_items(&bare_type, 1)); /* has none */
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(ouro_new_items(&bare_type, opaque(SIZE_MAX)));
    assert_int_equal(errno, EINVAL);
}

/* What a new object is. */

static bool all_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Each size, before and after blocks of that size were used: zero, aligned, its own. */
static void test_new_is_zero(void **state)
{
    (void)state;
    static ouro_type types[200];
    unsigned char *objs[8];
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        size_t size = 16 + (i < 120 ? i : (i - 119) * (i - 119) * 13);
        types[i] = (ouro_type){ .name = "sized", .size = size };
        for (unsigned round = 0; round < 2; round++) {
            for (size_t k = 0; k < COUNT_OF(objs); k++) {
                objs[k] = ouro_new(&types[i]);
                assert_non_null(objs[k]);
                assert_int_equal((uintptr_t)objs[k] % 16, 0);
                assert_true(all_zero(objs[k] + 16, size - 16));
                assert_int_equal(ouro_refcount(objs[k]), 1);
                assert_int_equal(ouro_sizeof(objs[k]), size);
                assert_true(ouro_block_size(objs[k]) >= size);
                assert_ptr_equal(ouro_typeof(objs[k]), &types[i]);
                assert_int_equal(ouro_item_count(objs[k]), 0);
                assert_false(ouro_is_immortal(objs[k]));
                memset(objs[k] + 16, 0xff, size - 16);
            }
            for (size_t k = 0; k < COUNT_OF(objs); k++)
                ouro_decref(objs[k]);
        }
    }
}

static const size_t item_counts[] = { 0,     1,     2,     3,     7,     100,   254,   255,   256,    1000,   32767,
                                      32768, 65533, 65534, 65535, 65536, 65537, 70000, 99999, 131072, 262143, 1000003 };

static void check_items(ouro_type *type, size_t count)
{
    unsigned char *obj = ouro_new_items(type, count);
    assert_non_null(obj);
    unsigned char *items = ouro_items(obj);
    size_t bytes = count * type->item_size;
    assert_ptr_equal(items, obj + type->size);
    assert_int_equal(ouro_item_count(obj), count);
    assert_int_equal(ouro_sizeof(obj), type->size + bytes);
    assert_true(ouro_block_size(obj) >= type->size + bytes);
    assert_true(all_zero(obj + 16, type->size - 16 + bytes));
    if (!type->items_are_refs)
        memset(items, 0xff, bytes); /* the number of items is not among them */
    assert_int_equal(ouro_item_count(obj), count);
    assert_int_equal(ouro_sizeof(obj), type->size + bytes);
    assert_int_equal(ouro_refcount(obj), 1);
    ouro_incref(obj);
    assert_int_equal(ouro_refcount(obj), 2);
    ouro_decref(obj);
    ouro_decref(obj);
}

static void test_items(void **state)
{
    (void)state;
    ouro_type *types[] = { &bytes_type, &triple_type, &words_type, &list_type };
    for (unsigned round = 0; round < 2; round++)
        for (size_t t = 0; t < COUNT_OF(types); t++)
            for (size_t i = 0; i < COUNT_OF(item_counts); i++)
                check_items(types[t], item_counts[i]);
    check_items(&fat_type, 0);
    check_items(&fat_type, 1);
    check_items(&fat_type, 300);
}

/* Every item is a reference: dropped from the first to the last, NULLs passed over. */
static void test_items_are_refs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(item_counts); i++) {
        _Atomic size_t deaths = 0;
        struct list *list = ouro_new_items(&list_type, item_counts[i]);
        struct probe *shared = probe_new(&deaths);
        size_t own = 0, count = item_counts[i];
        for (size_t k = 0; k < count; k++) {
            if (k % 3 == 0 || k + 1 == count) {
                list->items[k] = &probe_new(&deaths)->base;
                own++;
            } else if (k % 3 == 1) {
                list->items[k] = ouro_newref(shared);
            }
        }
        ouro_decref(list);
        assert_int_equal(deaths, own);
        assert_int_equal(ouro_refcount(shared), 1);
        ouro_decref(shared);
        assert_int_equal(deaths, own + 1);
    }
}

static size_t extra_5000(const ouro_object *self)
{
    return 5000 + ouro_item_count(self);
}
static ouro_type extra_type = OURO_TYPE(struct probe, .item_size = 2, .extra_size = extra_5000);

static void test_size_answers(void **state)
{
    (void)state;
    struct probe *obj = ouro_new_items(&extra_type, 10);
    assert_int_equal(ouro_sizeof(obj), sizeof(struct probe) + 20 + 5010);
    assert_true(ouro_block_size(obj) >= sizeof(struct probe) + 20);
    assert_true(ouro_block_size(obj) < 200);
    assert_int_equal(ouro_item_count(obj), 10);
    ouro_decref(obj);
    static ouro_type of_48 = { .name = "48", .size = 48 };
    void *plain = ouro_new(&of_48);
    assert_int_equal(ouro_block_size(plain), 48); /* what it says, and no more */
    ouro_decref(plain);
    obj = ouro_new_items(&extra_type, 5 * MIB);
    assert_int_equal(ouro_sizeof(obj), sizeof(struct probe) + 10 * MIB + 5000 + 5 * MIB);
    assert_true(ouro_block_size(obj) >= sizeof(struct probe) + 10 * MIB);
    ouro_decref(obj);
}

/* A tracked 48-byte object costs 48 bytes and at most 4%. */
static void test_memory_of_many(void **state)
{
    (void)state;
    if (getenv("OURO_SECURE") != NULL)
        skip(); /* the hardened heap spends memory on its checks */
    enum { COUNT = 400000 };
    static ouro_type types[2];
    static const uint16_t refs[] = { 16, 24 };
    static void *objs[COUNT];
    types[0] = (ouro_type){ .name = "tracked 48", .size = 48, .refs = refs, .ref_count = 2 };
    types[1] = (ouro_type){ .name = "plain 48", .size = 48 };
    for (size_t t = 0; t < 2; t++) {
        size_t before = resident_bytes();
        for (size_t i = 0; i < COUNT; i++)
            assert_non_null(objs[i] = ouro_new(&types[t]));
        size_t grown = resident_bytes() - before;
        assert_int_equal(ouro_block_size(objs[0]), 48);
        if (RESIDENT_IS_OURS)
            assert_true((double)grown <= COUNT * 48 * 1.04 + 512 * KIB);
        for (size_t i = 0; i < COUNT; i++)
            ouro_decref(objs[i]);
        ouro_trim();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(test_type_macro),   API_TEST(test_refs_1_to_32),   API_TEST(test_refs_nested),
        API_TEST(test_wrong_types),  API_TEST(test_nameless_type),  API_TEST(test_too_much),
        API_TEST(test_new_is_zero),  API_TEST(test_items),          API_TEST(test_items_are_refs),
        API_TEST(test_size_answers), API_TEST(test_memory_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
