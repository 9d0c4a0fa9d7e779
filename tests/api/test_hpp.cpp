/* api/test_hpp.cpp: ouro/ouro.hpp: refs, slots, weak references, classes with listed members, exceptions, allocators, with
 * the containers of the standard library. */
#include <ouro/ouro.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#define EXPECT(condition)                                                                \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

namespace
{

std::atomic<long> alive; /* bodies of counted classes */

struct counted {
    counted() noexcept
    {
        alive++;
    }
    counted(const counted &) noexcept
    {
        alive++;
    }
    ~counted()
    {
        alive--;
    }
};

struct text : counted {
    explicit text(std::string s) : value(std::move(s))
    {
    }
    std::string value;
};

struct node : counted {
    node() = default;
    explicit node(ouro::ref<node> n) : next(std::move(n))
    {
    }
    ouro::ref<node> next;
    ouro::ref<text> name;
    ouro::slot<node> shared;
    static constexpr auto refs = ouro::members(&node::next, &node::name, &node::shared);
};

void refs()
{
    static_assert(sizeof(ouro::ref<node>) == sizeof(void *), "a pointer");
    static_assert(std::is_nothrow_move_constructible_v<ouro::ref<node>>, "vectors move them");
    auto a = ouro::make<node>();
    EXPECT(a && a.use_count() == 1 && a != nullptr && !(a == nullptr) && alive == 1);
    EXPECT(ouro_gc_is_tracked(a.header()) && std::strstr(ouro_typeof(a.header())->name, "node") != nullptr);
    ouro::ref<node> b = a, empty;
    EXPECT(a == b && a.use_count() == 2 && !empty && empty.get() == nullptr && empty == nullptr);
    b = ouro::make<node>(a);
    EXPECT(b->next == a && a.use_count() == 2 && alive == 2);
    b = b->next; /* the only reference to what is assigned from */
    EXPECT(b == a && alive == 1 && a.use_count() == 2);
    b = static_cast<ouro::ref<node> &>(b);
    ouro::ref<node> c = std::move(b);
    EXPECT(!b && c == a && a.use_count() == 2);
    swap(b, c);
    EXPECT(b == a && !c);
    EXPECT(ouro::self(a.get()) == a && (*a).next == nullptr);
    a->name = ouro::make<text>("Ada");
    EXPECT(!ouro_gc_is_tracked(a->name.header()) && a->name->value == "Ada" && alive == 2);
    ouro_object *raw = b.release();
    EXPECT(!b && ouro::ref<node>::adopt(raw) == a);
    a = nullptr;
    EXPECT(alive == 0);
}

/* A list that is dropped at its head must not grow the stack. */
void chain()
{
    ouro::ref<node> head;
    for (int i = 0; i < 300000; i++)
        head = ouro::make<node>(std::move(head));
    EXPECT(alive == 300000);
    head.reset();
    EXPECT(alive == 0);
}

struct everything : counted {
    struct part {
        ouro::ref<everything> in;
        static constexpr auto refs = ouro::members(&part::in);
    };
    ouro::ref<everything> plain;
    std::vector<ouro::ref<everything>> vector;
    std::list<ouro::ref<everything>> list;
    std::deque<ouro::ref<everything>> deque;
    std::map<std::string, ouro::ref<everything>> map;
    std::unordered_map<ouro::ref<everything>, int> keys;
    std::set<ouro::ref<everything>> set;
    std::array<ouro::ref<everything>, 3> array;
    std::optional<ouro::ref<everything>> optional;
    std::pair<int, ouro::ref<everything>> pair;
    std::tuple<ouro::ref<everything>, int, ouro::ref<everything>> tuple;
    std::variant<int, ouro::ref<everything>, std::vector<ouro::ref<everything>>> variant;
    std::vector<part> parts;
    part inner;
    static constexpr auto refs =
        ouro::members(&everything::plain, &everything::vector, &everything::list, &everything::deque, &everything::map,
                      &everything::keys, &everything::set, &everything::array, &everything::optional, &everything::pair,
                      &everything::tuple, &everything::variant, &everything::parts, &everything::inner);
};

/* Puts a ref to `to` into the member number `which`; false past the last. */
bool refer(everything &from, int which, const ouro::ref<everything> &to)
{
    switch (which) {
    case 0:
        return (from.plain = to), true;
    case 1:
        return from.vector.assign(3, to), true;
    case 2:
        return from.list.assign(2, to), true;
    case 3:
        return from.deque.assign(200, to), true;
    case 4:
        return from.map["x"] = to, from.map["y"] = to, true;
    case 5:
        return from.keys[to] = 1, true;
    case 6:
        return from.set.insert(to), true;
    case 7:
        return from.array[2] = to, true;
    case 8:
        return (from.optional = to), true;
    case 9:
        return (from.pair.second = to), true;
    case 10:
        return (std::get<2>(from.tuple) = to), true;
    case 11:
        return (from.variant = to), true;
    case 12:
        return (from.variant = std::vector<ouro::ref<everything>>(2, to)), true;
    case 13:
        return from.parts.resize(2), (from.parts[1].in = to), true;
    case 14:
        return (from.inner.in = to), true;
    default:
        return false;
    }
}

/* A cycle through each kind of member is found; what is held from outside lives. */
void containers()
{
    int kinds = 0;
    for (int which = 0; refer(*ouro::make<everything>(), which, nullptr); which++, kinds++) {
        auto a = ouro::make<everything>(), b = ouro::make<everything>();
        refer(*a, which, b);
        refer(*b, which, a);
        b.reset();
        EXPECT(ouro_gc_collect(2) == 0 && alive == 2);
        EXPECT(ouro_debug_check() == 0);
        a.reset();
        EXPECT(alive == 2 && ouro_gc_collect(2) == 2 && alive == 0);
    }
    EXPECT(kinds == 15);
    auto many = ouro::make<everything>(); /* by counts alone */
    for (int which = 0; which < kinds; which++)
        refer(*many, which, ouro::make<everything>());
    EXPECT(alive == kinds); /* itself and one in each member, but that one variant has taken the other's place */
    many.reset();
    EXPECT(alive == 0 && ouro_gc_garbage_count() == 0);
}

struct bulk { /* nothing runs at its end */
    ouro::ref<bulk> other;
    static constexpr auto refs = ouro::members(&bulk::other);
    static constexpr bool only_refs = true;
};

void bulk_garbage()
{
    for (int i = 0; i < 1000; i++) {
        auto a = ouro::make<bulk>(), b = ouro::make<bulk>();
        a->other = b;
        b->other = a;
    }
    EXPECT(ouro_typeof(ouro::make<bulk>().header())->destroy == nullptr);
    EXPECT(ouro_gc_collect(2) == 2000);
}

/* Classes with virtual functions and bases. */
struct shape : counted {
    virtual ~shape() = default;
    virtual int corners() const = 0;
    ouro::ref<shape> parent;
    static constexpr auto refs = ouro::members(&shape::parent);
};
struct square final : shape {
    int corners() const override
    {
        return 4;
    }
    std::vector<ouro::ref<shape>> holes;
    static constexpr auto refs = ouro::members(shape::refs, &square::holes);
};
struct point final : shape {
    int corners() const override
    {
        return 1;
    }
};
struct other_base {
    virtual ~other_base() = default;
    int number = 1;
};
struct two_bases final : other_base, shape {
    int corners() const override
    {
        return 2;
    }
};

void inheritance()
{
    auto all = ouro::make<square>();
    ouro::ref<shape> base = all, dot = ouro::make<point>();
    EXPECT(base == all && base->corners() == 4 && dot->corners() == 1);
    EXPECT(ouro::dynamic_ref_cast<square>(base) == all && !ouro::dynamic_ref_cast<square>(dot));
    EXPECT(ouro::static_ref_cast<square>(base)->holes.empty());
    dot->parent = all;
    all->holes.push_back(std::move(dot));
    all->parent = base;
    all.reset();
    base.reset();
    EXPECT(alive == 2 && ouro_gc_collect(2) == 2 && alive == 0);

    bool refused = false;
    try {
        ouro::ref<shape> second = ouro::make<two_bases>();
    } catch (const std::logic_error &) {
        refused = true;
    }
    EXPECT(refused && alive == 0);
}

/* Constructors that throw. */
struct throwing : counted {
    explicit throwing(int when)
    {
        first = ouro::make<text>("first");
        many.emplace(1, ouro::make<throwing>(*this, 0));
        many[2] = many[1];
        ouro_gc_collect(2); /* sees an object that is half there */
        if (when == 1)
            throw std::runtime_error("thrown");
    }
    throwing(throwing &, int)
    {
        ouro_gc_collect(0);
    }
    ouro::ref<text> first;
    std::map<int, ouro::ref<throwing>> many;
    static constexpr auto refs = ouro::members(&throwing::first, &throwing::many);
};
struct watched : counted {
    explicit watched(ouro::weak<watched> &out)
    {
        out = ouro::self(this);
        kept = out.lock();
        throw 1;
    }
    ~watched()
    {
        std::abort(); /* it was never whole */
    }
    static ouro::ref<watched> kept;
    ouro::ref<text> name = ouro::make<text>("watched");
    static constexpr auto refs = ouro::members(&watched::name);
};
ouro::ref<watched> watched::kept;

void exceptions()
{
    std::size_t before = ouro_gc_get_objects(-1, nullptr, nullptr);
    for (int i = 0; i < 100; i++) {
        bool thrown = false;
        try {
            ouro::make<throwing>(1);
        } catch (const std::runtime_error &) {
            thrown = true;
        }
        EXPECT(thrown && alive == 0);
    }
    EXPECT(ouro::make<throwing>(0)->many.size() == 2);
    EXPECT(alive == 0);
    EXPECT(ouro_gc_get_objects(-1, nullptr, nullptr) == before);

    /* One that gave itself away: the destructor never runs, the block is freed with the last reference. */
    ouro::weak<watched> weak;
    try {
        ouro::make<watched>(weak);
    } catch (int) {
    }
    EXPECT(alive == 0 && !weak.expired());
    ouro_gc_collect(2);
    watched::kept.reset();
    EXPECT(weak.expired() && ouro_gc_get_objects(-1, nullptr, nullptr) == before);

    bool refused = false;
    try {
        (void)ouro::allocator<char>().allocate(static_cast<std::size_t>(PTRDIFF_MAX) - 4096);
    } catch (const std::bad_alloc &) {
        refused = true;
    }
    EXPECT(refused);
}

void weak_references()
{
    auto a = ouro::make<node>();
    ouro::weak<node> w(a), copy = w, none;
    EXPECT(w.lock() == a && copy.lock() == a && !none.lock() && none.expired() && ouro_weakref_count(a.header()) == 1);
    int calls = 0;
    ouro::weak<node> called(a, [&calls] { calls++; });
    ouro::weak<node> cancelled(a, [&calls] { calls += 100; });
    cancelled.reset();
    a->next = a;
    a.reset();
    EXPECT(!w.expired() && ouro_gc_collect(2) == 1);
    EXPECT(w.expired() && copy.expired() && !called.lock() && calls == 1 && alive == 0);
    auto holder = std::make_shared<int>(7); /* what the callback keeps goes with it */
    {
        auto b = ouro::make<node>();
        ouro::weak<node> keeps(b, [holder] { (void)*holder; });
        EXPECT(holder.use_count() == 2);
    }
    EXPECT(holder.use_count() == 1 && ouro::weak<node>(nullptr).expired());
}

struct lazarus : counted {
    void finalize()
    {
        risen = ouro::self(this);
    }
    std::size_t extra_size() const
    {
        return 1000;
    }
    ouro::ref<lazarus> me;
    static ouro::ref<lazarus> risen;
    static constexpr auto refs = ouro::members(&lazarus::me);
};
ouro::ref<lazarus> lazarus::risen;

void finalizers()
{
    auto a = ouro::make<lazarus>();
    EXPECT(ouro_sizeof(a.header()) == sizeof(ouro_object) + sizeof(lazarus) + 1000);
    a->me = a;
    a.reset();
    EXPECT(ouro_gc_collect(2) == 0 && lazarus::risen && alive == 1);
    lazarus::risen->me.reset();
    lazarus::risen.reset();
    EXPECT(alive == 0);
}

/* A destructor that makes objects, and collects, while the container that it is in is emptied. */
struct noisy : counted {
    ~noisy()
    {
        if (others > 0) {
            others--;
            ouro::make<noisy>();
            ouro_gc_collect(0);
        }
    }
    static int others;
};
int noisy::others = 200;
struct bag : counted {
    std::vector<ouro::ref<noisy>> items;
    ouro::ref<bag> self;
    static constexpr auto refs = ouro::members(&bag::items, &bag::self);
};

void busy_destructors()
{
    auto a = ouro::make<bag>(), held = ouro::make<bag>();
    for (int i = 0; i < 100; i++) {
        a->items.push_back(ouro::make<noisy>());
        held->items.push_back(a->items.back());
    }
    held->items.erase(held->items.begin() + 10, held->items.begin() + 60);
    a->items.clear();
    EXPECT(ouro_debug_check() == 0);
    held->self = held;
    held.reset();
    a.reset();
    ouro_gc_collect(2);
    EXPECT(alive == 0 && noisy::others < 150);
}

void slots()
{
    std::atomic<bool> stop{ false };
    std::atomic<long> loads{ 0 };
    ouro::slot<text> current(ouro::make<text>("0"));
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; i++)
        readers.emplace_back([&] {
            while (!stop) {
                auto seen = current.load();
                EXPECT(!seen->value.empty());
                loads++;
                ouro_safepoint();
            }
        });
    for (int i = 1; i < 2000 || loads < 100; i++)
        current.store(ouro::make<text>(std::to_string(i)));
    stop = true;
    {
        ouro::blocking region;
        for (auto &reader : readers)
            reader.join();
    }
    auto last = current.exchange(nullptr);
    EXPECT(last && !current.load() && current.compare_exchange(nullptr, last));
    EXPECT(!current.compare_exchange(nullptr, last) && last.use_count() == 2);
    current.reset();
    EXPECT(last.use_count() == 1);
}

/* Threads that build, share and drop cycles while one collects. */
void threads()
{
    auto root = ouro::make<node>();
    std::vector<std::thread> all;
    for (int t = 0; t < 4; t++)
        all.emplace_back([root] {
            for (int i = 0; i < 20000; i++) {
                auto a = ouro::make<node>(root), b = ouro::make<node>(a);
                a->shared.store(b);
                if (i % 16 == 0)
                    root->shared.store(b);
                auto got = root->shared.load();
                if (i % 500 == 0)
                    ouro_gc_collect(i % 3);
            }
        });
    {
        ouro::blocking region;
        for (auto &thread : all)
            thread.join();
    }
    root->shared.reset();
    root.reset();
    ouro_gc_collect(2);
    EXPECT(alive == 0);
}

template <class Container>
void fill(Container &container)
{
    for (int i = 0; i < 1000; i++)
        container.insert(container.end(), static_cast<typename Container::value_type>(i));
    Container copy(container), moved(std::move(container));
    container = copy;
    EXPECT(container.size() == 1000 && moved == copy && container == moved);
    swap(copy, moved);
}

struct alignas(128) wide {
    char bytes[128];
};

void allocators()
{
    using ouro::allocator;
    std::vector<int, allocator<int>> vector;
    std::deque<long, allocator<long>> deque;
    std::list<int, allocator<int>> list;
    std::set<int, std::less<>, allocator<int>> set;
    std::unordered_set<int, std::hash<int>, std::equal_to<>, allocator<int>> hashed;
    fill(vector);
    fill(deque);
    fill(list);
    fill(set);
    fill(hashed);
    EXPECT(ouro_owns(vector.data()));
    std::basic_string<char, std::char_traits<char>, allocator<char>> string(1000, 'x');
    EXPECT(ouro_owns(string.data()) && string.size() == 1000);
    std::map<int, std::string, std::less<>, allocator<std::pair<const int, std::string>>> map;
    for (int i = 0; i < 100; i++)
        map[i] = std::to_string(i);
    EXPECT(map.at(42) == "42");
    std::vector<wide, allocator<wide>> wides(10);
    EXPECT(reinterpret_cast<std::uintptr_t>(wides.data()) % 128 == 0);
    EXPECT(std::allocate_shared<int>(allocator<int>(), 5) != nullptr);

    /* Refs in containers are values like others. */
    std::vector<ouro::ref<node>> nodes;
    for (int i = 0; i < 100; i++)
        nodes.push_back(ouro::make<node>());
    std::sort(nodes.begin(), nodes.end());
    std::reverse(nodes.begin(), nodes.end());
    std::unordered_set<ouro::ref<node>> unique(nodes.begin(), nodes.end());
    unique.insert(nodes[5]);
    EXPECT(unique.size() == 100 && nodes[5].use_count() == 2);
    nodes.erase(nodes.begin() + 3, nodes.begin() + 53);
    unique.clear();
    EXPECT(alive == 50);
}

void resources()
{
    ouro_alloc_stats before, after;
    ouro_stats_get(&before);
    {
        ouro::memory_resource heap;
        std::pmr::vector<std::pmr::string> strings(&heap);
        for (int i = 0; i < 1000; i++)
            strings.emplace_back(std::string(static_cast<std::size_t>(i % 100 + 20), 'x'));
        EXPECT(ouro_owns(strings.data()) && strings[999].get_allocator().resource() == &heap);
        auto *forgotten = static_cast<std::pmr::map<int, int> *>(heap.allocate(sizeof(std::pmr::map<int, int>)));
        ::new (forgotten) std::pmr::map<int, int>(&heap);
        for (int i = 0; i < 1000; i++)
            (*forgotten)[i] = i;
        void *wide = heap.allocate(100, 256);
        EXPECT(reinterpret_cast<std::uintptr_t>(wide) % 256 == 0);
        ouro::memory_resource again(heap.heap()), other, standard(nullptr);
        EXPECT(heap.is_equal(again) && !heap.is_equal(other) && !heap.is_equal(*std::pmr::new_delete_resource()));
        std::pmr::vector<int> in_default(1000, 1, &standard), moved(&other);
        moved = std::move(in_default); /* between unequal resources: copied */
        EXPECT(moved.size() == 1000 && moved.get_allocator().resource() == &other);
        std::pmr::unsynchronized_pool_resource pool(&heap);
        std::pmr::list<int> list(100, 1, &pool);
        EXPECT(list.size() == 100);
    }
    ouro_stats_get(&after);
    EXPECT(after.allocated < before.allocated + 65536);
}

/* A struct that C knows. */
struct person {
    ouro_object base;
    person *friend_;
};
ouro_type person_type = OURO_TYPE(person, OURO_REFS(person, friend_));

} // namespace

template <>
struct ouro::in_c<person> : std::true_type {
};

namespace
{

void c_structs()
{
    auto ada = ouro::ref<person>::adopt(ouro_new(&person_type));
    EXPECT(ada && static_cast<void *>(ada.get()) == ada.header() && ada->friend_ == nullptr);
    ada->friend_ = reinterpret_cast<person *>(ouro::ref<person>(ada).release());
    EXPECT(ada.use_count() == 2 && ouro::self(ada.get()) == ada);
    ada.reset();
    EXPECT(ouro_gc_collect(2) == 1);
}

} // namespace

int main()
{
    ouro_gc_disable(); /* collections come when they are asked for */
    refs();
    chain();
    containers();
    bulk_garbage();
    inheritance();
    exceptions();
    weak_references();
    finalizers();
    busy_destructors();
    slots();
    allocators();
    resources();
    c_structs();
    EXPECT(alive == 0);
    ouro_gc_enable();
    threads();
    EXPECT(alive == 0 && ouro_debug_check() == 0 && ouro_gc_garbage_count() == 0);
    std::puts("ouro.hpp: right");
    return 0;
}
