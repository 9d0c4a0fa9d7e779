/* micro/objects.cc: google-benchmark over counts, objects, slots and weak references, beside what others would use.
 *
 * Owns        the objects of a benchmark, made and dropped by its first thread.
 * Invariants  pairs leave the count as it was; what is compared does the same work in the same loop.
 * Sync        none beyond what is measured; threads of a benchmark begin together.
 * Source      none
 */
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include <ouro/alloc.h>
#include <ouro/object.h>
#ifdef OURO_BENCH_WEAKREF
#include <ouro/weakref.h>
#endif

namespace
{

struct small {
    ouro_object base;
    std::uint64_t words[6];
};
static_assert(sizeof(small) == 64, "as the names of the benchmarks say");

struct linked {
    ouro_object base;
    ouro_object *refs[2];
    std::uint64_t words[4];
};

ouro_type small_type = OURO_TYPE(small);
ouro_type linked_type = OURO_TYPE(linked, OURO_REFS(linked, refs[0], refs[1]));

/* The compiler knows nothing of the pointer, and every count reaches memory. */
template <class T>
T *opaque(T *pointer)
{
    benchmark::DoNotOptimize(pointer);
    return pointer;
}

void pairs(benchmark::State &state, void *obj)
{
    for (auto _ : state) {
        ouro_incref(obj);
        benchmark::ClobberMemory();
        ouro_decref(obj);
        benchmark::ClobberMemory();
    }
}

/* Counts. */

void pair_by_owner(benchmark::State &state)
{
    void *obj = opaque(ouro_new(&small_type));
    pairs(state, obj);
    ouro_decref(obj);
}

/* Made by a thread that sleeps meanwhile, or by one that is gone. */
void pair_by_another(benchmark::State &state)
{
    void *obj = nullptr;
    std::mutex end;
    std::atomic<bool> ready{ false };
    end.lock();
    std::thread owner([&] {
        obj = ouro_newref(ouro_new(&small_type));
        ouro_decref(obj);
        ready.store(true);
        OURO_BLOCKING {
            end.lock();
        }
        end.unlock();
    });
    while (!ready.load())
        std::this_thread::yield();
    pairs(state, opaque(obj));
    ouro_decref(obj);
    end.unlock();
    OURO_BLOCKING {
        owner.join();
    }
}

/* All threads on one object, which the first one owns. */
void *shared_object;
void pair_on_one_object(benchmark::State &state)
{
    if (state.thread_index() == 0)
        shared_object = ouro_new(&small_type);
    /* the threads wait for each other at the loop's beginning and end */
    for (auto _ : state) {
        ouro_incref(shared_object);
        ouro_decref(shared_object);
    }
    if (state.thread_index() == 0)
        ouro_decref(shared_object);
}

void pair_on_one_distributed(benchmark::State &state)
{
    if (state.thread_index() == 0) {
        shared_object = ouro_new(&small_type);
        if (ouro_distribute(shared_object) != 0)
            state.SkipWithError("ouro_distribute");
    }
    for (auto _ : state) {
        ouro_incref(shared_object);
        ouro_decref(shared_object);
    }
    if (state.thread_index() == 0)
        ouro_decref(shared_object);
}

void pair_on_one_immortal(benchmark::State &state)
{
    static void *immortal = [] {
        void *obj = ouro_new(&small_type);
        ouro_immortalize(obj);
        return obj;
    }();
    pairs(state, opaque(immortal));
}

/* Beside it. */

void plain_pair(benchmark::State &state)
{
    auto *count = opaque(new std::int64_t(1));
    for (auto _ : state) {
        ++*count;
        benchmark::ClobberMemory();
        if (--*count == 0)
            state.SkipWithError("count");
        benchmark::ClobberMemory();
    }
    delete count;
}

std::atomic<std::int64_t> shared_count{ 1 };
void relaxed_atomic_pair(benchmark::State &state)
{
    auto *count = opaque(&shared_count);
    for (auto _ : state) {
        /* relaxed: a count whose value nothing depends on */
        count->fetch_add(1, std::memory_order_relaxed);
        if (count->fetch_sub(1, std::memory_order_relaxed) == 0)
            state.SkipWithError("count");
    }
}

struct payload {
    std::uint64_t words[6];
};
std::shared_ptr<payload> shared_pointer = std::make_shared<payload>();
void shared_ptr_pair(benchmark::State &state)
{
    for (auto _ : state) {
        std::shared_ptr<payload> copy = shared_pointer;
        benchmark::DoNotOptimize(copy.get());
    }
}

/* New and free. */

void new_and_free_64(benchmark::State &state)
{
    for (auto _ : state)
        ouro_decref(opaque(ouro_new(&small_type)));
}
void new_and_free_64_tracked(benchmark::State &state)
{
    for (auto _ : state)
        ouro_decref(opaque(ouro_new(&linked_type)));
}
void ouro_malloc_and_free_64(benchmark::State &state)
{
    for (auto _ : state)
        ouro_free(opaque(ouro_malloc(64)));
}
void make_shared_64(benchmark::State &state)
{
    for (auto _ : state) {
        std::shared_ptr<payload> made = std::make_shared<payload>();
        benchmark::DoNotOptimize(made.get());
    }
}
/* A list of a thousand: made, then freed by one decref. */
void list_of_1000(benchmark::State &state)
{
    for (auto _ : state) {
        ouro_object *head = nullptr;
        for (int i = 0; i < 1000; i++) {
            auto *next = static_cast<linked *>(ouro_new(&linked_type));
            next->refs[0] = head;
            head = &next->base;
        }
        ouro_decref(head);
    }
    state.SetItemsProcessed(state.iterations() * 1000);
}

/* Slots: 1 to 8 readers; and a writer beside them, in another set. */

ouro_slot slot;
void slot_load(benchmark::State &state)
{
    if (state.thread_index() == 0)
        ouro_slot_exchange(&slot, ouro_new(&small_type));
    for (auto _ : state) {
        void *obj = ouro_slot_load(&slot);
        ouro_decref(obj);
        ouro_safepoint();
    }
    if (state.thread_index() == 0)
        ouro_slot_store(&slot, nullptr);
}
void slot_load_and_one_writer(benchmark::State &state)
{
    bool writer = state.thread_index() == 0;
    if (writer)
        ouro_slot_exchange(&slot, ouro_new(&small_type));
    for (auto _ : state) {
        if (writer) {
            void *obj = ouro_new(&small_type);
            ouro_slot_store(&slot, obj);
            ouro_decref(obj);
        } else {
            ouro_decref(ouro_slot_load(&slot));
            ouro_safepoint();
        }
    }
    if (writer)
        ouro_slot_store(&slot, nullptr);
}
void slot_store(benchmark::State &state)
{
    void *objs[2] = { ouro_new(&small_type), ouro_new(&small_type) };
    std::size_t turn = 0;
    for (auto _ : state)
        ouro_slot_store(&slot, objs[turn++ % 2]);
    ouro_slot_store(&slot, nullptr);
    ouro_decref(objs[0]);
    ouro_decref(objs[1]);
}

std::atomic<std::shared_ptr<payload>> atomic_shared;
void atomic_shared_ptr_load(benchmark::State &state)
{
    if (state.thread_index() == 0)
        atomic_shared.store(std::make_shared<payload>());
    for (auto _ : state) {
        std::shared_ptr<payload> copy = atomic_shared.load();
        benchmark::DoNotOptimize(copy.get());
    }
    if (state.thread_index() == 0)
        atomic_shared.store(nullptr);
}
void atomic_shared_ptr_load_and_one_writer(benchmark::State &state)
{
    bool writer = state.thread_index() == 0;
    if (writer)
        atomic_shared.store(std::make_shared<payload>());
    for (auto _ : state) {
        if (writer) {
            atomic_shared.store(std::make_shared<payload>());
        } else {
            std::shared_ptr<payload> copy = atomic_shared.load();
            benchmark::DoNotOptimize(copy.get());
        }
    }
    if (writer)
        atomic_shared.store(nullptr);
}
void atomic_shared_ptr_store(benchmark::State &state)
{
    std::shared_ptr<payload> both[2] = { std::make_shared<payload>(), std::make_shared<payload>() };
    std::size_t turn = 0;
    for (auto _ : state)
        atomic_shared.store(both[turn++ % 2]);
    atomic_shared.store(nullptr);
}

std::mutex pointer_lock;
std::shared_ptr<payload> locked_pointer;
void mutex_and_pointer_load(benchmark::State &state)
{
    if (state.thread_index() == 0) {
        std::lock_guard<std::mutex> hold(pointer_lock);
        locked_pointer = std::make_shared<payload>();
    }
    for (auto _ : state) {
        std::shared_ptr<payload> copy;
        {
            std::lock_guard<std::mutex> hold(pointer_lock);
            copy = locked_pointer;
        }
        benchmark::DoNotOptimize(copy.get());
    }
}

#ifdef OURO_BENCH_WEAKREF
ouro_weakref *weak;
void weakref_get(benchmark::State &state)
{
    static void *target;
    if (state.thread_index() == 0) {
        target = ouro_new(&small_type);
        weak = ouro_weakref_new(target, nullptr, nullptr);
    }
    for (auto _ : state) {
        ouro_decref(ouro_weakref_get(weak));
        ouro_safepoint();
    }
    if (state.thread_index() == 0) {
        ouro_decref(weak);
        ouro_decref(target);
    }
}
std::weak_ptr<payload> weak_pointer;
void weak_ptr_lock(benchmark::State &state)
{
    if (state.thread_index() == 0)
        weak_pointer = shared_pointer;
    for (auto _ : state) {
        std::shared_ptr<payload> copy = weak_pointer.lock();
        benchmark::DoNotOptimize(copy.get());
    }
}
BENCHMARK(weakref_get)->ThreadRange(1, 8)->UseRealTime();
BENCHMARK(weak_ptr_lock)->ThreadRange(1, 8)->UseRealTime();
#endif

BENCHMARK(pair_by_owner);
BENCHMARK(plain_pair);
BENCHMARK(relaxed_atomic_pair);
BENCHMARK(pair_by_another);
BENCHMARK(shared_ptr_pair)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(pair_on_one_immortal);
BENCHMARK(pair_on_one_object)->Threads(2)->UseRealTime();
BENCHMARK(relaxed_atomic_pair)->Name("relaxed_atomic_pair_threads")->Threads(2)->UseRealTime();
BENCHMARK(pair_on_one_distributed)->ThreadRange(1, 2)->UseRealTime();

BENCHMARK(new_and_free_64);
BENCHMARK(new_and_free_64_tracked);
BENCHMARK(ouro_malloc_and_free_64);
BENCHMARK(make_shared_64);
BENCHMARK(list_of_1000);

BENCHMARK(slot_load)->ThreadRange(1, 8)->UseRealTime();
BENCHMARK(atomic_shared_ptr_load)->ThreadRange(1, 8)->UseRealTime();
BENCHMARK(mutex_and_pointer_load)->ThreadRange(1, 8)->UseRealTime();
BENCHMARK(slot_load_and_one_writer)->ThreadRange(2, 8)->UseRealTime();
BENCHMARK(atomic_shared_ptr_load_and_one_writer)->ThreadRange(2, 8)->UseRealTime();
BENCHMARK(slot_store);
BENCHMARK(atomic_shared_ptr_store);

} // namespace

BENCHMARK_MAIN();
