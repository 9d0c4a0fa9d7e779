/* examples/family.cpp: C++: classes that list their references, virtual functions, containers, weak references, heaps. */
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <ouro/ouro.hpp>

/* Any class; what is listed as `refs` is traced. */
class person
{
public:
    explicit person(std::string name) : name_(std::move(name))
    {
        living++;
    }
    virtual ~person()
    {
        living--;
    }
    virtual std::string title() const
    {
        return name_;
    }
    void marry(const ouro::ref<person> &other)
    {
        spouse_ = other;
        other->spouse_ = ouro::self(this);
    }
    void add_child(const ouro::ref<person> &child)
    {
        children_.push_back(child);
        child->parents_[name_] = ouro::self(this);
    }
    std::size_t relatives() const
    {
        return children_.size() + parents_.size() + (spouse_ != nullptr);
    }
    static int living;

private:
    std::string name_;
    ouro::ref<person> spouse_;
    std::vector<ouro::ref<person>> children_;
    std::map<std::string, ouro::ref<person>> parents_;

public:
    static constexpr auto refs = ouro::members(&person::spouse_, &person::children_, &person::parents_);
};
int person::living;

class countess final : public person
{
public:
    using person::person;
    std::string title() const override
    {
        return "Countess " + person::title();
    }
};

int main()
{
    auto ada = ouro::make<countess>("Ada");
    ouro::ref<person> william = ouro::make<person>("William"), byron = ouro::make<person>("Byron");
    ada->marry(william);
    std::cout << ada->title() << " marries " << william->title() << "\n";
    ada->add_child(byron);
    william->add_child(byron);
    std::cout << ada->relatives() << " and " << byron->relatives() << " relatives, " << person::living << " persons\n";

    ouro::weak<person> last(byron, [] { std::cout << "the last of them is gone\n"; });
    ada.reset();
    william.reset();
    std::cout << "held by one: " << ouro_gc_collect(2) << " collected, " << person::living << " living\n";
    byron.reset();
    long collected = ouro_gc_collect(2);
    std::cout << "held by none: " << collected << " collected, " << person::living << " living\n";
    std::cout << "the weak reference is " << (last.expired() ? "expired" : "alive") << "\n";

    ouro::memory_resource heap; /* for what is filled and forgotten together */
    std::pmr::vector<std::pmr::string> words(&heap);
    for (int i = 0; i < 1000; i++)
        words.emplace_back("a word that is too long to lie in the string itself");
    std::cout << words.size() << " words in a heap of their own\n";
    return 0;
}
