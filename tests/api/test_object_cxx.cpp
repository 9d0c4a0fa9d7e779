/* api/test_object_cxx.cpp: ouro/object.h as C++17 sees it: types, macros, slots. */
#include <ouro/object.h>
#include <ouro/ouro.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#define EXPECT(condition)                                                                \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

namespace
{

struct node {
    ouro_object base;
    node *next;
    ouro_slot slot;
    struct {
        node *cell[3];
        int number;
    } inner;
};
static_assert(std::is_standard_layout<node>::value, "offsetof needs it");
static_assert(sizeof(ouro_slot) == sizeof(void *), "as in C");
static_assert(sizeof(ouro_object) == 16, "the header");

int deaths, finalized;

void node_finalize(ouro_object *)
{
    finalized++;
}
void node_destroy(ouro_object *self)
{
    EXPECT(reinterpret_cast<node *>(self)->next == nullptr);
    deaths++;
}

struct list {
    ouro_object base;
    std::size_t length;
    ouro_object *items[1];
};

ouro_type node_type = OURO_TYPE(node, OURO_REFS(node, next, slot, inner.cell[0], inner.cell[2]),
                                .finalize = node_finalize, .destroy = node_destroy);
ouro_type list_type = OURO_TYPE_SIZED(list, offsetof(list, items), .item_size = sizeof(void *), .items_are_refs = true);
ouro_type plain_type = OURO_TYPE(struct node);

/* References held by C++ objects of static storage: they end after main. */
struct holder {
    node *held = nullptr;
    ~holder()
    {
        int before = deaths;
        OURO_CLEAR(held);
        EXPECT(deaths == before + 1);
        void *late = ouro_new(&node_type);
        EXPECT(late != nullptr);
        ouro_decref(late);
        EXPECT(deaths == before + 2);
    }
};
holder at_exit;
thread_local holder at_thread_exit;

node *node_new()
{
    auto *made = static_cast<node *>(ouro_new(&node_type));
    EXPECT(made != nullptr && made->next == nullptr && ouro_slot_load(&made->slot) == nullptr);
    return made;
}

void count_by_macros()
{
    node *head = node_new();
    OURO_SETREF(head->next, node_new());
    OURO_SETREF(head->inner.cell[0], static_cast<node *>(ouro_newref(head->next)));
    EXPECT(ouro_refcount(head->next) == 2);
    node *moved = OURO_MOVE(head->inner.cell[0]);
    EXPECT(head->inner.cell[0] == nullptr && moved == head->next);
    OURO_SETREF(head->inner.cell[2], OURO_MOVE(moved));
    OURO_CLEAR(head->next);
    EXPECT(deaths == 0 && ouro_refcount(head->inner.cell[2]) == 1);
    {
        OURO_AUTO node *alias = static_cast<node *>(ouro_newref(head));
        EXPECT(ouro_refcount(alias) == 2);
    }
    EXPECT(ouro_refcount(head) == 1);
    ouro_decref(head);
    EXPECT(deaths == 2 && finalized == 2);
}

void slots()
{
    deaths = 0;
    ouro_slot slot = {};
    EXPECT(ouro_slot_load(&slot) == nullptr);
    node *a = node_new(), *b = node_new();
    ouro_slot_store(&slot, a);
    EXPECT(!ouro_slot_compare_exchange(&slot, b, b));
    EXPECT(ouro_slot_compare_exchange(&slot, a, b));
    auto *loaded = static_cast<node *>(ouro_slot_load(&slot));
    EXPECT(loaded == b && ouro_refcount(b) == 3);
    ouro_decref(loaded);
    EXPECT(ouro_slot_exchange(&slot, nullptr) == b);
    ouro_decref(b);
    EXPECT(ouro_refcount(a) == 1 && ouro_refcount(b) == 1);
    ouro_slot_store(&a->slot, b);
    ouro_decref(b);
    ouro_decref(a);
    EXPECT(deaths == 2);
}

void items()
{
    deaths = 0;
    auto *made = static_cast<list *>(ouro_new_items(&list_type, 10));
    EXPECT(made != nullptr && ouro_item_count(made) == 10 && ouro_items(made) == static_cast<void *>(made->items));
    for (int i = 0; i < 10; i += 2)
        static_cast<ouro_object **>(ouro_items(made))[i] = &node_new()->base;
    ouro_decref(made);
    EXPECT(deaths == 5);
}

bool leave_region_by_return()
{
    OURO_BLOCKING {
        return ouro_thread_is_registered();
    }
    return false;
}

} // namespace

int main()
{
    EXPECT(node_type.ref_count == 4 && node_type.refs[1] == offsetof(node, slot));
    EXPECT(node_type.refs[3] == offsetof(node, inner.cell[2]) && plain_type.ref_count == 0);
    count_by_macros();
    slots();
    items();
    EXPECT(leave_region_by_return());
    at_exit.held = node_new();
    at_thread_exit.held = node_new();
    return ouro_debug_check() == 0 ? 0 : 1;
}
