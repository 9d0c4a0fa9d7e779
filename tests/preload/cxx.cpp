/* preload/cxx.cpp: operator new and delete in all their forms, the new_handler, thread_local and static objects. */
#include "check.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <malloc.h>
#include <sys/resource.h>

#include "tables.h"

namespace
{

const size_t huge = static_cast<size_t>(PTRDIFF_MAX) - 4096;

template <typename Call>
void expect_bad_alloc(Call call)
{
    bool thrown = false;
    try {
        keep(call());
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    EXPECT(thrown);
}

void check_new_throws()
{
    expect_bad_alloc([] { return ::operator new(opaque(SIZE_MAX)); });
    expect_bad_alloc([] { return ::operator new(opaque(huge)); });
    expect_bad_alloc([] { return ::operator new(opaque(size_t(1) << 47)); });
    exercise(1);
}

void check_new_array_throws()
{
    expect_bad_alloc([] { return ::operator new[](opaque(SIZE_MAX)); });
    expect_bad_alloc([] { return ::operator new[](opaque(huge)); });
    expect_bad_alloc([] { return new char[opaque(huge)]; });
    exercise(1);
}

void check_aligned_new_throws()
{
    for (size_t a = 32; a <= 64 * MIB; a *= 8) {
        expect_bad_alloc([a] { return ::operator new(opaque(SIZE_MAX), std::align_val_t(a)); });
        expect_bad_alloc([a] { return ::operator new(opaque(SIZE_MAX - a + 1), std::align_val_t(a)); });
        expect_bad_alloc([a] { return ::operator new[](opaque(huge), std::align_val_t(a)); });
    }
    exercise(1);
}

void check_new_nothrow_returns_null()
{
    EXPECT(::operator new(opaque(SIZE_MAX), std::nothrow) == nullptr);
    EXPECT(::operator new(opaque(huge), std::nothrow) == nullptr);
    EXPECT(::operator new[](opaque(huge), std::nothrow) == nullptr);
    EXPECT(keep(new (std::nothrow) char[opaque(huge)]) == nullptr);
    exercise(1);
}

void check_aligned_nothrow_returns_null()
{
    EXPECT(::operator new(opaque(SIZE_MAX), std::align_val_t(64), std::nothrow) == nullptr);
    EXPECT(::operator new(opaque(SIZE_MAX - 63), std::align_val_t(64), std::nothrow) == nullptr);
    EXPECT(::operator new[](opaque(huge), std::align_val_t(4096), std::nothrow) == nullptr);
    exercise(1);
}

void check_bad_array_new_length()
{
    bool thrown = false;
    try {
        keep(new uint64_t[opaque(SIZE_MAX / 4)]);
    } catch (const std::bad_array_new_length &) {
        thrown = true;
    }
    EXPECT(thrown);
}

/* The handler */

unsigned handler_calls;
void *reserve;

void give_up_at_third()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

template <typename Call>
void expect_three_calls(Call call)
{
    handler_calls = 0;
    std::set_new_handler(give_up_at_third);
    call();
    EXPECT_CMP(handler_calls, ==, 3);
    EXPECT(std::get_new_handler() == nullptr);
}

void check_handler_is_called()
{
    expect_three_calls([] { expect_bad_alloc([] { return ::operator new(opaque(huge)); }); });
}

void check_handler_is_called_by_array()
{
    expect_three_calls([] { expect_bad_alloc([] { return ::operator new[](opaque(huge)); }); });
}

void check_handler_is_called_by_nothrow()
{
    expect_three_calls([] { EXPECT(::operator new(opaque(huge), std::nothrow) == nullptr); });
    expect_three_calls([] { EXPECT(::operator new[](opaque(huge), std::nothrow) == nullptr); });
}

void check_handler_is_called_by_aligned()
{
    expect_three_calls([] { expect_bad_alloc([] { return ::operator new(opaque(huge), std::align_val_t(128)); }); });
    expect_three_calls([] { expect_bad_alloc([] { return ::operator new[](opaque(huge), std::align_val_t(128)); }); });
    expect_three_calls([] { EXPECT(::operator new(opaque(huge), std::align_val_t(128), std::nothrow) == nullptr); });
}

struct of_handler {
    int code;
};

void throw_from_handler()
{
    throw of_handler{ 42 };
}

void check_handler_throws()
{
    int code = 0;
    std::set_new_handler(throw_from_handler);
    try {
        keep(::operator new(opaque(huge)));
    } catch (const of_handler &thrown) {
        code = thrown.code;
    }
    EXPECT_CMP(code, ==, 42);
}

void throw_bad_alloc_from_handler()
{
    throw std::bad_alloc();
}

void check_handler_throws_in_nothrow()
{
    std::set_new_handler(throw_bad_alloc_from_handler);
    EXPECT(::operator new(opaque(huge), std::nothrow) == nullptr);
    EXPECT(::operator new[](opaque(huge), std::nothrow) == nullptr);
    EXPECT(::operator new(opaque(huge), std::align_val_t(64), std::nothrow) == nullptr);
}

void free_reserve()
{
    handler_calls++;
    if (reserve == nullptr) {
        std::set_new_handler(nullptr);
        return;
    }
    std::free(reserve);
    reserve = nullptr;
}

/* The handler frees a reserve: the same new goes on and succeeds; when the reserve is gone it is called again. */
void succeed_after_handler(size_t size, bool aligned, bool nothrow)
{
    exercise(1);
    reserve = std::malloc(300 * MIB);
    EXPECT(reserve != nullptr);
    touch(reserve, 300 * MIB);
    limit_to(RLIMIT_AS, vm_bytes() + 32 * MIB);
    handler_calls = 0;
    std::set_new_handler(free_reserve);
    void *p;
    if (aligned) {
        p = nothrow ? ::operator new(size, std::align_val_t(4096), std::nothrow)
                    : ::operator new(size, std::align_val_t(4096));
    } else {
        p = nothrow ? ::operator new(size, std::nothrow) : ::operator new(size);
    }
    EXPECT(p != nullptr);
    EXPECT_CMP(handler_calls, ==, 1);
    touch(p, size);
    expect_bad_alloc([size] { return ::operator new(opaque(size * 2)); });
    EXPECT_CMP(handler_calls, ==, 2);
    if (aligned)
        ::operator delete(p, std::align_val_t(4096));
    else
        ::operator delete(p);
    limit_lift(RLIMIT_AS);
    exercise(2);
}

void check_handler_frees_then_new_succeeds()
{
    succeed_after_handler(200 * MIB, false, false);
}
void check_handler_frees_then_nothrow_succeeds()
{
    succeed_after_handler(200 * MIB, false, true);
}
void check_handler_frees_then_aligned_succeeds()
{
    succeed_after_handler(200 * MIB, true, false);
}

std::vector<std::unique_ptr<char[]>> reserve_blocks;

void free_some_blocks()
{
    handler_calls++;
    for (unsigned i = 0; i < 1000; i++) {
        if (reserve_blocks.empty())
            throw std::bad_alloc();
        reserve_blocks.pop_back();
    }
}

/* Small blocks: called again and again, each time it freed some, until nothing is left to free. */
void check_handler_called_until_nothing_is_left()
{
    reserve_blocks.reserve(20000);
    for (unsigned i = 0; i < 20000; i++)
        reserve_blocks.emplace_back(new char[1000]);
    limit_to(RLIMIT_AS, vm_bytes() + 8 * MIB);
    std::set_new_handler(free_some_blocks);
    struct node {
        node *next;
        char body[1000];
    };
    node *list = nullptr;
    size_t count = 0;
    bool thrown = false;
    try {
        for (;;) {
            node *n = new node;
            n->next = list;
            list = n;
            count++;
            EXPECT_CMP(count, <=, 1000000);
        }
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    EXPECT(thrown);
    EXPECT(reserve_blocks.empty());
    EXPECT_CMP(handler_calls, >=, 20);
    EXPECT_CMP(count, >=, 19000);
    std::set_new_handler(nullptr);
    while (list != nullptr) {
        node *n = list;
        list = n->next;
        delete n;
    }
    limit_lift(RLIMIT_AS);
    exercise(1);
}

/* Exceptions are thrown although memory has run out, and all is well afterwards. */
void check_bad_alloc_without_memory()
{
    std::vector<char *> blocks;
    blocks.reserve(100000);
    for (unsigned round = 0; round < 3; round++) {
        limit_to(RLIMIT_AS, vm_bytes() + 32 * MIB);
        bool thrown = false;
        try {
            while (blocks.size() < 100000)
                blocks.push_back(new char[7000]);
        } catch (const std::bad_alloc &) {
            thrown = true;
        }
        EXPECT(thrown);
        limit_lift(RLIMIT_AS);
        for (char *p : blocks)
            delete[] p;
        blocks.clear();
        exercise(round);
    }
}

/* All forms */

void check_new_zero_is_unique()
{
    void *blocks[200];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = i % 2 == 0 ? ::operator new(opaque(0)) : ::operator new[](opaque(0));
        EXPECT(blocks[i] != nullptr);
        for (size_t k = 0; k < i; k++)
            EXPECT(blocks[i] != blocks[k]);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        if (i % 2 == 0)
            ::operator delete(blocks[i]);
        else
            ::operator delete[](blocks[i]);
    }
}

void check_delete_null()
{
    errno = ERRNO_MARK;
    ::operator delete(keep(nullptr));
    ::operator delete[](keep(nullptr));
    ::operator delete(keep(nullptr), size_t(8));
    ::operator delete[](keep(nullptr), size_t(8));
    ::operator delete(keep(nullptr), std::nothrow);
    ::operator delete[](keep(nullptr), std::nothrow);
    ::operator delete(keep(nullptr), std::align_val_t(64));
    ::operator delete[](keep(nullptr), std::align_val_t(64));
    ::operator delete(keep(nullptr), size_t(8), std::align_val_t(64));
    ::operator delete[](keep(nullptr), size_t(8), std::align_val_t(64));
    ::operator delete(keep(nullptr), std::align_val_t(64), std::nothrow);
    ::operator delete[](keep(nullptr), std::align_val_t(64), std::nothrow);
    EXPECT_CMP(errno, ==, ERRNO_MARK);
}

const size_t form_sizes[] = { 0, 1, 16, 100, 1000, 5000, 40000, 100 * KIB };

template <typename New, typename Delete>
void form(New make, Delete drop)
{
    size_t settled = 0;
    for (unsigned round = 0; round < 40; round++) {
        for (size_t size : form_sizes) {
            errno = ERRNO_MARK;
            void *p = make(size), *q = make(size);
            EXPECT(p != nullptr && q != nullptr);
            fill(p, size, 1);
            fill(q, size, 2);
            EXPECT(verify(p, size, 1));
            drop(p, size);
            EXPECT(verify(q, size, 2));
            drop(q, size);
            EXPECT_CMP(errno, ==, ERRNO_MARK);
        }
        if (round == 5)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 8 * MIB);
}

void check_forms_plain()
{
    form([](size_t n) { return ::operator new(n); }, [](void *p, size_t) { ::operator delete(p); });
    form([](size_t n) { return ::operator new[](n); }, [](void *p, size_t) { ::operator delete[](p); });
}

void check_forms_sized()
{
    form([](size_t n) { return ::operator new(n); }, [](void *p, size_t n) { ::operator delete(p, n); });
    form([](size_t n) { return ::operator new[](n); }, [](void *p, size_t n) { ::operator delete[](p, n); });
}

void check_forms_nothrow()
{
    form([](size_t n) { return ::operator new(n, std::nothrow); },
         [](void *p, size_t) { ::operator delete(p, std::nothrow); });
    form([](size_t n) { return ::operator new[](n, std::nothrow); },
         [](void *p, size_t) { ::operator delete[](p, std::nothrow); });
}

template <size_t Alignment>
void forms_aligned()
{
    const std::align_val_t a{ Alignment };
    auto aligned = [](void *p) {
        EXPECT(is_aligned(p, Alignment));
        return p;
    };
    form([=](size_t n) { return aligned(::operator new(n, a)); }, [=](void *p, size_t) { ::operator delete(p, a); });
    form([=](size_t n) { return aligned(::operator new[](n, a)); },
         [=](void *p, size_t) { ::operator delete[](p, a); });
    form([=](size_t n) { return aligned(::operator new(n, a)); },
         [=](void *p, size_t n) { ::operator delete(p, n, a); });
    form([=](size_t n) { return aligned(::operator new[](n, a)); },
         [=](void *p, size_t n) { ::operator delete[](p, n, a); });
    form([=](size_t n) { return aligned(::operator new(n, a, std::nothrow)); },
         [=](void *p, size_t) { ::operator delete(p, a, std::nothrow); });
    form([=](size_t n) { return aligned(::operator new[](n, a, std::nothrow)); },
         [=](void *p, size_t) { ::operator delete[](p, a, std::nothrow); });
}

void check_forms_aligned_small()
{
    forms_aligned<8>();
    forms_aligned<16>();
    forms_aligned<32>();
    forms_aligned<64>();
}

void check_forms_aligned_large()
{
    forms_aligned<256>();
    forms_aligned<4096>();
    forms_aligned<64 * KIB>();
}

struct alignas(64) line {
    char bytes[64];
};
struct alignas(4096) page {
    char bytes[4096];
};
struct alignas(64 * KIB) big_page {
    char bytes[64 * KIB];
};

template <typename T>
void over_aligned()
{
    std::vector<std::unique_ptr<T>> ones;
    std::vector<std::unique_ptr<T[]>> manys;
    std::vector<T> grown;
    for (size_t i = 1; i < 40; i++) {
        ones.emplace_back(new T);
        manys.emplace_back(new T[i]);
        grown.emplace_back();
        EXPECT(is_aligned(ones.back().get(), alignof(T)));
        EXPECT(is_aligned(manys.back().get(), alignof(T)));
        EXPECT(is_aligned(grown.data(), alignof(T)));
        ones.back()->bytes[0] = static_cast<char>(i);
        manys.back()[i - 1].bytes[0] = static_cast<char>(i);
    }
    for (size_t i = 1; i < 40; i++) {
        EXPECT(ones[i - 1]->bytes[0] == static_cast<char>(i));
        EXPECT(manys[i - 1][i - 1].bytes[0] == static_cast<char>(i));
    }
    auto shared = std::make_shared<T>();
    EXPECT(is_aligned(shared.get(), alignof(T)));
}

void check_over_aligned_types()
{
    over_aligned<line>();
    over_aligned<page>();
    over_aligned<big_page>();
}

void check_new_aligned_to_16()
{
    for (size_t size = 0; size < 3000; size++) {
        std::unique_ptr<char[]> one(new char[size]), two(new char[size]);
        EXPECT(is_aligned(one.get(), 16) && is_aligned(two.get(), 16));
    }
}

/* new and malloc are one heap as far as sizes go: usable size is usable. */
void check_new_usable_size()
{
    for (size_t size = 0; size < 100000; size += 1 + size / 5) {
        void *p = ::operator new(size);
        EXPECT_CMP(malloc_usable_size(p), >=, size);
        fill(p, malloc_usable_size(p), size);
        EXPECT(verify(p, malloc_usable_size(p), size));
        ::operator delete(p);
    }
}

/* Objects of threads and of the program */

std::atomic<unsigned> destroyed;

struct of_thread {
    std::string text = std::string(500, 'x');
    std::vector<int> numbers = std::vector<int>(1000);
    ~of_thread()
    {
        EXPECT(text.size() == 500 && text[499] == 'x');
        std::map<int, std::string> last;
        for (int i = 0; i < 50; i++)
            last[i] = std::string(static_cast<size_t>(i * 10), 'y');
        numbers.resize(100000);
        destroyed++;
    }
};

thread_local of_thread object_of_thread;
thread_local std::vector<std::string> strings_of_thread;

void check_thread_local_destructors()
{
    size_t settled = 0;
    for (unsigned i = 0; i < 3000; i++) {
        std::thread([] {
            object_of_thread.text[0] = 'x';
            strings_of_thread.assign(20, std::string(100, 'z'));
        }).join();
        if (i == 300)
            settled = rss_bytes();
    }
    EXPECT_CMP(destroyed.load(), ==, 3000);
    EXPECT_CMP(rss_bytes(), <=, settled + 6 * MIB);
}

struct of_program {
    std::map<std::string, std::string> table;
    of_program() = default;
    ~of_program()
    {
        for (int i = 0; i < 1000; i++)
            table[std::to_string(i)] += "more";
        if (!table.empty() && table.size() < 1000)
            check_fail(__FILE__, __LINE__, "the table of a static object");
    }
};

of_program object_of_program;

void check_static_objects()
{
    for (int i = 0; i < 1000; i++)
        object_of_program.table[std::to_string(i)] = std::string(static_cast<size_t>(i), 'a');
    static of_program local;
    local.table["key"] = "value";
    object_of_thread.text[1] = 'x';
}

/* A pool of work as servers have it: strings, maps, futures, shared pointers that die in other threads. */
void check_containers_and_futures()
{
    std::vector<std::future<size_t>> futures;
    auto shared = std::make_shared<std::vector<std::string>>(1000, std::string(100, 's'));
    for (unsigned i = 0; i < 60; i++) {
        futures.push_back(std::async(std::launch::async, [i, shared] {
            std::unordered_map<std::string, std::vector<unsigned>> index;
            for (unsigned k = 0; k < 3000; k++)
                index["key" + std::to_string(k * i % 997)].push_back(k);
            size_t total = 0;
            for (auto &entry : index) {
                EXPECT(std::is_sorted(entry.second.begin(), entry.second.end()));
                total += entry.second.size();
            }
            return total + (*shared)[i].size();
        }));
    }
    shared.reset();
    for (auto &f : futures)
        EXPECT_CMP(f.get(), ==, 3100);
}

void check_exceptions_in_threads()
{
    std::atomic<unsigned> caught{ 0 };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 6; t++) {
        threads.emplace_back([&caught] {
            for (unsigned i = 0; i < 3000; i++) {
                try {
                    if (i % 3 == 0)
                        keep(::operator new(opaque(huge)));
                    throw std::string(i % 500, 'e');
                } catch (const std::bad_alloc &) {
                    caught++;
                } catch (const std::string &text) {
                    EXPECT(text.size() == i % 500);
                    caught++;
                }
            }
        });
    }
    for (auto &t : threads)
        t.join();
    EXPECT_CMP(caught.load(), ==, 18000);
}

void check_vector_grows_to_512_mib()
{
    peak_reset();
    size_t before = rss_bytes();
    std::vector<char> v;
    while (v.size() < 128 * MIB)
        v.insert(v.end(), 1 * MIB, 'v');
    v.shrink_to_fit();
    EXPECT_CMP(peak_bytes() - before, <=, 128 * MIB * 3 + 16 * MIB);
    v = std::vector<char>();
    EXPECT_CMP(wait_for_rss(before + 32 * MIB, 3000), <=, before + 32 * MIB);
}

} // namespace

const struct check checks_cxx[] = {
    { "cxx_new_throws", check_new_throws, nullptr, "" },
    { "cxx_new_array_throws", check_new_array_throws, nullptr, "" },
    { "cxx_aligned_new_throws", check_aligned_new_throws, nullptr, "" },
    { "cxx_nothrow_returns_null", check_new_nothrow_returns_null, nullptr, "" },
    { "cxx_aligned_nothrow_returns_null", check_aligned_nothrow_returns_null, nullptr, "" },
    { "cxx_bad_array_new_length", check_bad_array_new_length, nullptr, "" },
    { "cxx_handler_is_called", check_handler_is_called, nullptr, "" },
    { "cxx_handler_is_called_by_array", check_handler_is_called_by_array, nullptr, "" },
    { "cxx_handler_is_called_by_nothrow", check_handler_is_called_by_nothrow, nullptr, "" },
    { "cxx_handler_is_called_by_aligned", check_handler_is_called_by_aligned, nullptr, "" },
    { "cxx_handler_throws", check_handler_throws, nullptr, "" },
    { "cxx_handler_throws_in_nothrow", check_handler_throws_in_nothrow, nullptr, "" },
    { "cxx_handler_frees_then_new_succeeds", check_handler_frees_then_new_succeeds, nullptr, "" },
    { "cxx_handler_frees_then_nothrow_succeeds", check_handler_frees_then_nothrow_succeeds, nullptr, "" },
    { "cxx_handler_frees_then_aligned_succeeds", check_handler_frees_then_aligned_succeeds, nullptr, "" },
    { "cxx_handler_called_until_nothing_is_left", check_handler_called_until_nothing_is_left, nullptr, "" },
    { "cxx_bad_alloc_without_memory", check_bad_alloc_without_memory, nullptr, "" },
    { "cxx_new_zero_is_unique", check_new_zero_is_unique, nullptr, "" },
    { "cxx_delete_null", check_delete_null, nullptr, "" },
    { "cxx_forms_plain", check_forms_plain, nullptr, "" },
    { "cxx_forms_sized", check_forms_sized, nullptr, "" },
    { "cxx_forms_nothrow", check_forms_nothrow, nullptr, "" },
    { "cxx_forms_aligned_small", check_forms_aligned_small, nullptr, "" },
    { "cxx_forms_aligned_large", check_forms_aligned_large, nullptr, "" },
    { "cxx_over_aligned_types", check_over_aligned_types, nullptr, "" },
    { "cxx_new_aligned_to_16", check_new_aligned_to_16, nullptr, "" },
    { "cxx_new_usable_size", check_new_usable_size, nullptr, "" },
    { "cxx_thread_local_destructors", check_thread_local_destructors, nullptr, "" },
    { "cxx_static_objects", check_static_objects, nullptr, "" },
    { "cxx_containers_and_futures", check_containers_and_futures, nullptr, "" },
    { "cxx_exceptions_in_threads", check_exceptions_in_threads, nullptr, "" },
    { "cxx_vector_grows", check_vector_grows_to_512_mib, nullptr, "" },
    { nullptr, nullptr, nullptr, nullptr },
};
