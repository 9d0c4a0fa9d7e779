// A stranger's C++ program: DROPIN says whether its own operator new should be ours.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ouro/ouro.h>

namespace
{
int failures;

void expect(bool condition, const char *what)
{
    if (!condition) {
        std::fprintf(stderr, "wrong: %s\n", what);
        failures++;
    }
}

struct alignas(128) wide {
    char bytes[128];
};
} // namespace

int main()
{
    const bool dropin = DROPIN != 0;
    void *ours = ouro_calloc(10, 10);
    expect(ours != nullptr && ouro_owns(ours), "ouro_owns(ouro_calloc(10, 10))");
    ouro_free(ours);

    auto number = std::make_unique<int[]>(1000);
    expect(ouro_owns(number.get()) == dropin, "operator new[]");
    auto aligned = std::make_unique<wide>();
    expect(ouro_owns(aligned.get()) == dropin, "operator new, aligned");
    expect(reinterpret_cast<std::size_t>(aligned.get()) % 128 == 0, "operator new's alignment");

    std::map<int, std::string> map;
    std::thread([&map] {
        for (int i = 0; i < 10000; i++)
            map[i] = std::string(static_cast<std::size_t>(i % 300), 'x');
    }).join();
    expect(map.size() == 10000 && map[299].size() == 299, "a map filled by a thread");
    expect(ouro_owns(map[299].data()) == dropin, "a string's block");

    if (failures == 0)
        std::puts("c++: right");
    return failures != 0;
}
