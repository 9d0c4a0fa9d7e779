/* api/headers.cpp: each public header compiles alone as C++, twice, and its functions link. */
#include <ouro/alloc.h>

#include <ouro/stats.h>
#include <ouro/version.h>

#include <ouro/ouro.h>

#include <cstring>
#include <memory>

namespace
{
struct ouro_deleter {
    void operator()(void *ptr) const
    {
        ouro_free(ptr);
    }
};
} // namespace

int main()
{
    std::unique_ptr<char, ouro_deleter> text(static_cast<char *>(ouro_malloc(100)));
    std::unique_ptr<void, ouro_deleter> aligned(ouro_aligned_alloc(256, 100));
    ouro_heap *heap = ouro_heap_new();
    if (!text || !aligned || heap == nullptr || ouro_heap_malloc(heap, 10) == nullptr)
        return 1;
    std::strcpy(text.get(), OURO_VERSION_STRING);
    ouro_heap_destroy(heap);
    ouro_alloc_stats stats;
    ouro_stats_get(&stats);
    bool owns = ouro_owns(text.get());
    return owns && stats.mallocs >= 2 && ouro_debug_check() == 0 ? 0 : 1;
}
