/* micro/micro.cpp: google-benchmark over the single calls: what one kind of call costs by itself.
 *
 * Owns        nothing beyond a benchmark's own blocks.
 * Invariants  every block's first word is written, so that no call can be thought away.
 * Sync        [PARCEL put] and [PARCEL take]: blocks change threads a hundred at a time.
 * Source      none
 */
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <thread>

namespace
{

constexpr int kBatch = 100;
constexpr int kMaxThreads = 16;

void *touched(void *block)
{
    benchmark::DoNotOptimize(block);
    *static_cast<unsigned char *>(block) = 1;
    return block;
}

/* malloc and free of one size at once: the hottest path. */
void same_thread_pair(benchmark::State &state)
{
    const auto size = static_cast<std::size_t>(state.range(0));
    for (auto _ : state)
        free(touched(malloc(size)));
    state.SetItemsProcessed(state.iterations());
}

/* A hundred blocks, freed in the order of their making. */
void batch(benchmark::State &state)
{
    const auto size = static_cast<std::size_t>(state.range(0));
    void *blocks[kBatch];
    for (auto _ : state) {
        for (void *&block : blocks)
            block = touched(malloc(size));
        for (void *block : blocks)
            free(block);
    }
    state.SetItemsProcessed(state.iterations() * kBatch);
}

struct Parcel {
    void *blocks[kBatch];
};

std::atomic<Parcel *> exchange_place[kMaxThreads / 2];

Parcel *parcel_new(std::size_t size)
{
    auto *parcel = static_cast<Parcel *>(malloc(sizeof(Parcel)));
    for (void *&block : parcel->blocks)
        block = touched(malloc(size));
    return parcel;
}

void parcel_free(Parcel *parcel)
{
    for (void *block : parcel->blocks)
        free(block);
    free(parcel);
}

void parcel_wait(unsigned *turns)
{
    if (++*turns > 100)
        std::this_thread::yield();
}

/* Threads in pairs: one makes parcels of a hundred blocks, the other frees them. */
void remote_free(benchmark::State &state)
{
    const auto size = static_cast<std::size_t>(state.range(0));
    const bool maker = state.thread_index() % 2 == 0;
    auto &place = exchange_place[state.thread_index() / 2];
    for (auto _ : state) {
        unsigned turns = 0;
        if (maker) {
            Parcel *parcel = parcel_new(size);
            Parcel *none = nullptr;
            /* [PARCEL put] release, pairs with [PARCEL take]: the contents travel with the parcel */
            while (!place.compare_exchange_weak(none, parcel, std::memory_order_release, std::memory_order_relaxed)) {
                none = nullptr;
                parcel_wait(&turns);
            }
        } else {
            Parcel *parcel;
            /* [PARCEL take] acquire, pairs with [PARCEL put] */
            while ((parcel = place.exchange(nullptr, std::memory_order_acquire)) == nullptr)
                parcel_wait(&turns);
            parcel_free(parcel);
        }
    }
    state.SetItemsProcessed(maker ? state.iterations() * kBatch : 0);
}

void zeroed(benchmark::State &state)
{
    const auto size = static_cast<std::size_t>(state.range(0));
    for (auto _ : state)
        free(touched(calloc(1, size)));
    state.SetItemsProcessed(state.iterations());
}

/* One vector from 16 bytes to the size given, growing by half. */
void realloc_growth(benchmark::State &state)
{
    const auto goal = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        void *block = nullptr;
        for (std::size_t size = 16; size < goal; size += size / 2)
            block = touched(realloc(block, size));
        free(block);
    }
    state.SetItemsProcessed(state.iterations());
}

void aligned(benchmark::State &state)
{
    const auto alignment = static_cast<std::size_t>(state.range(0));
    const auto size = static_cast<std::size_t>(state.range(1));
    for (auto _ : state)
        free(touched(aligned_alloc(alignment, size)));
    state.SetItemsProcessed(state.iterations());
}

/* A table of 1024 blocks of mixed sizes a thread, one of which is replaced at every turn. */
void random_replacement(benchmark::State &state)
{
    void *slots[1024] = {};
    std::uint64_t random = 88172645463325252U + static_cast<unsigned>(state.thread_index());
    for (auto _ : state) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        void *&slot = slots[random % 1024];
        free(slot);
        slot = touched(malloc(16 + ((random >> 32) & 1023)));
    }
    for (void *slot : slots)
        free(slot);
    state.SetItemsProcessed(state.iterations());
}

BENCHMARK(same_thread_pair)->RangeMultiplier(4)->Range(16, 4 << 20);
BENCHMARK(same_thread_pair)->Name("same_thread_pair_threads")->Arg(64)->ThreadRange(1, kMaxThreads)->UseRealTime();
BENCHMARK(batch)->RangeMultiplier(4)->Range(16, 64 << 10);
BENCHMARK(remote_free)->Arg(64)->Arg(1024)->ThreadRange(2, kMaxThreads)->UseRealTime();
BENCHMARK(zeroed)->RangeMultiplier(8)->Range(64, 4 << 20);
BENCHMARK(realloc_growth)->RangeMultiplier(16)->Range(256, 16 << 20);
BENCHMARK(aligned)
    ->Args({ 64, 64 })
    ->Args({ 64, 1024 })
    ->Args({ 4096, 4096 })
    ->Args({ 4096, 64 << 10 })
    ->Args({ 2 << 20, 2 << 20 });
BENCHMARK(random_replacement)->ThreadRange(1, kMaxThreads)->UseRealTime();

} // namespace

BENCHMARK_MAIN();
