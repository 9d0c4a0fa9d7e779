/* preload/plugin_cxx.cpp: a C++ library for a C program to load: the runtime of C++ comes with it. */
#include <cstddef>
#include <cstdint>
#include <new>

extern "C" bool plugin_cxx_catches(std::size_t size);
extern "C" bool plugin_cxx_calls_handler(std::size_t size);
extern "C" bool plugin_cxx_contains_handler(std::size_t size);

/* Whether a request that is too large throws bad_alloc. */
extern "C" bool plugin_cxx_catches(std::size_t size)
{
    try {
        operator delete(operator new(size));
    } catch (const std::bad_alloc &) {
        return operator new(size, std::nothrow) == nullptr;
    }
    return false;
}

static void refuse()
{
    throw std::bad_alloc();
}

/* Whether what a handler throws stays inside a nothrow new. */
extern "C" bool plugin_cxx_contains_handler(std::size_t size)
{
    std::set_new_handler(refuse);
    bool null = operator new(size, std::nothrow) == nullptr;
    std::set_new_handler(nullptr);
    return null;
}

static unsigned calls;

static void give_up()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

extern "C" bool plugin_cxx_calls_handler(std::size_t size)
{
    calls = 0;
    std::set_new_handler(give_up);
    return plugin_cxx_catches(size) && calls == 3;
}
