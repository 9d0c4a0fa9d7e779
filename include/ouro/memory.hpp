/* ouro/memory.hpp: blocks and heaps of ouro/alloc.h as allocators of C++17. Header only; with libouro or the drop-in. */
#ifndef OURO_MEMORY_HPP
#define OURO_MEMORY_HPP

#include <cstddef>
#include <limits>
#include <memory_resource>
#include <new>
#include <type_traits>

#include <ouro/alloc.h>

namespace ouro
{

/* An allocator for the containers of the standard library, over ouro_malloc. All are equal. */
template <class T>
class allocator
{
public:
    using value_type = T;
    using is_always_equal = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;

    constexpr allocator() noexcept = default;
    template <class U>
    constexpr allocator(const allocator<U> &) noexcept
    {
    }
    T *allocate(std::size_t count)
    {
        if (count > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T))
            throw std::bad_array_new_length();
        void *block = alignof(T) > alignof(std::max_align_t) ? ouro_aligned_alloc(alignof(T), count * sizeof(T))
                                                             : ouro_malloc(count * sizeof(T));
        if (block == nullptr)
            throw std::bad_alloc();
        return static_cast<T *>(block);
    }
    void deallocate(T *block, std::size_t) noexcept
    {
        ouro_free(block);
    }
};
template <class T, class U>
constexpr bool operator==(const allocator<T> &, const allocator<U> &) noexcept
{
    return true;
}
template <class T, class U>
constexpr bool operator!=(const allocator<T> &, const allocator<U> &) noexcept
{
    return false;
}

/* A heap for std::pmr: containers that are filled and forgotten together. Its end frees every block still in it, with no
 * walk; what lies there must need no destructor, or have had it. Any thread may use it. */
class memory_resource : public std::pmr::memory_resource
{
public:
    /* A new heap. Throws std::bad_alloc. */
    memory_resource() : heap_(ouro_heap_new()), owned_(true)
    {
        if (heap_ == nullptr)
            throw std::bad_alloc();
    }
    /* A heap of the caller's, who destroys it; null: the default heap. */
    explicit memory_resource(ouro_heap *heap) noexcept : heap_(heap), owned_(false)
    {
    }
    memory_resource(const memory_resource &) = delete;
    memory_resource &operator=(const memory_resource &) = delete;
    ~memory_resource() override
    {
        if (owned_)
            ouro_heap_destroy(heap_);
    }
    ouro_heap *heap() const noexcept
    {
        return heap_;
    }

private:
    void *do_allocate(std::size_t bytes, std::size_t alignment) override
    {
        void *block = alignment > alignof(std::max_align_t) ? ouro_heap_aligned_alloc(heap_, alignment, bytes)
                                                            : ouro_heap_malloc(heap_, bytes);
        if (block == nullptr)
            throw std::bad_alloc();
        return block;
    }
    void do_deallocate(void *block, std::size_t, std::size_t) override
    {
        ouro_free(block);
    }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
        const auto *same = dynamic_cast<const memory_resource *>(&other);
        return same != nullptr && same->heap_ == heap_;
    }

    ouro_heap *heap_;
    bool owned_;
};

} // namespace ouro

#endif
