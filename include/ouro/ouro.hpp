/* ouro/ouro.hpp: objects, weak references and slots for C++17; allocators by ouro/memory.hpp. Header only, over
 * ouro/ouro.h; needs ouro::ouro.
 *
 *     struct node {
 *         explicit node(std::string text) : name(std::move(text)) {}
 *         std::string name;
 *         ouro::ref<node> next;
 *         std::vector<ouro::ref<node>> children;
 *         static constexpr auto refs = ouro::members(&node::next, &node::children);
 *     };
 *     ouro::ref<node> first = ouro::make<node>("first");
 *     first->next = first;  // the collector frees it, as `refs` lists the member
 *
 * Any class can be an object, virtual functions and all: make() puts the library's header before it. What the class lists
 * as `refs` is traced by the collector: ref, slot, and containers, optionals, pairs, tuples and variants of them. A member
 * that is not listed is counted and not traced: a cycle through it leaks. Members of a base class are listed by
 * base::refs. The destructor runs when the last reference is dropped, or the collector frees the object; the refs and
 * slots that `refs` names are null by then, as they are in C.
 *
 *     void finalize()            if T has it: runs once before death, the object whole, which it may bring back
 *     size_t extra_size() const  if T has it: bytes owned beyond the instance, for ouro_sizeof
 *     only_refs                  if T has it as `static constexpr bool only_refs = true`: the destructor does nothing but
 *                                drop what is listed, and need not run: the collector frees such garbage in bulk
 *
 * Threads      a ref is as a shared_ptr: several threads may hold refs to one object, each changes its own; a ref that
 *              several threads change is a slot. Containers that are listed are read while the world is stopped, at
 *              safepoints; a program that has its threads stopped by a signal lists refs and slots alone.
 * Exceptions   make, weak and the allocators throw std::bad_alloc. A constructor that throws leaves nothing behind, if it
 *              gave `this` to nobody. Destructors, finalizers and callbacks that throw end the program.
 */
#ifndef OURO_OURO_HPP
#define OURO_OURO_HPP

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <ouro/memory.hpp>
#include <ouro/ouro.h>

namespace ouro
{

template <class T>
class ref;
template <class T>
class slot;
template <class T>
class weak;

/* For a struct of a C interface, whose first member is its ouro_object:
 *     template <> struct ouro::in_c<person> : std::true_type {};
 * A ref<person> then holds what ouro_new(&person_type) made, by ref<person>::adopt. */
template <class T>
struct in_c : std::false_type {
};

/* What members() returns: pointers to members, and lists of base classes. */
template <class... Member>
struct member_list {
    std::tuple<Member...> members;
};

/* static constexpr auto refs = ouro::members(&node::next, base::refs);  declared after the members that it names. */
template <class... Member>
constexpr member_list<Member...> members(Member... member)
{
    return { std::tuple<Member...>(member...) };
}

namespace detail
{

template <class T>
constexpr std::size_t header_bytes = in_c<T>::value ? 0 : sizeof(ouro_object);

template <class T>
T *body_of(ouro_object *self) noexcept
{
    return reinterpret_cast<T *>(reinterpret_cast<char *>(self) + header_bytes<T>);
}
template <class T>
ouro_object *header_of(T *body) noexcept
{
    using bytes = std::conditional_t<std::is_const_v<T>, const char, char>;
    return reinterpret_cast<ouro_object *>(
        const_cast<char *>(reinterpret_cast<bytes *>(body) - header_bytes<std::remove_const_t<T>>));
}

/* Objects of C++ have no items. Their number is 1 while the body is not there: before the constructor is done, and for
 * ever where it threw. */
inline bool is_whole(const ouro_object *self) noexcept
{
    return self->ouro_items_ == 0;
}

template <class T, template <class...> class Template>
struct is_instance : std::false_type {
};
template <class... A, template <class...> class Template>
struct is_instance<Template<A...>, Template> : std::true_type {
};
template <class T, template <class...> class Template>
constexpr bool is_a = is_instance<std::remove_cv_t<T>, Template>::value;

template <class T, class = void>
struct lists_refs : std::false_type {
};
template <class T>
struct lists_refs<T, std::void_t<decltype(T::refs)>> : std::true_type {
};
template <class T, class = void>
struct is_range : std::false_type {
};
template <class T>
struct is_range<T, std::void_t<decltype(std::declval<T &>().begin()), typename T::value_type>> : std::true_type {
};
template <class T, class = void>
struct is_clearable : std::false_type {
};
template <class T>
struct is_clearable<T, std::void_t<decltype(std::declval<T &>().clear())>> : std::true_type {
};
template <class T, class = void>
struct has_finalize : std::false_type {
};
template <class T>
struct has_finalize<T, std::void_t<decltype(std::declval<T &>().finalize())>> : std::true_type {
};
template <class T, class = void>
struct has_extra_size : std::false_type {
};
template <class T>
struct has_extra_size<T, std::void_t<decltype(std::declval<const T &>().extra_size())>> : std::true_type {
};
template <class T, class = void>
struct has_only_refs : std::false_type {
};
template <class T>
struct has_only_refs<T, std::void_t<decltype(T::only_refs)>> : std::bool_constant<T::only_refs> {
};

/* A member that the library reads by its offset. */
template <class M>
constexpr bool is_field = is_a<M, ref> || is_a<M, slot>;

template <class M>
constexpr bool may_hold_refs();
template <class... M>
constexpr bool any_may_hold_refs(std::tuple<M...> *)
{
    return (may_hold_refs<M>() || ...);
}
template <class... M>
constexpr bool any_may_hold_refs(std::variant<M...> *)
{
    return (may_hold_refs<M>() || ...);
}

/* Whether there is anything to trace in a value of this type. */
template <class M>
constexpr bool may_hold_refs()
{
    using type = std::remove_cv_t<M>;
    if constexpr (is_field<type> || lists_refs<type>::value)
        return true;
    else if constexpr (is_a<type, std::pair>)
        return may_hold_refs<typename type::first_type>() || may_hold_refs<typename type::second_type>();
    else if constexpr (is_a<type, std::tuple> || is_a<type, std::variant>)
        return any_may_hold_refs(static_cast<type *>(nullptr));
    else if constexpr (is_a<type, std::optional> || is_range<type>::value)
        return may_hold_refs<typename type::value_type>();
    else
        return false;
}

template <class M, class F>
void each_in(M &value, const F &f);

template <class T, class Member, class F>
void each_member(T &object, const Member &member, const F &f)
{
    if constexpr (std::is_member_object_pointer_v<Member>)
        f(object.*member);
    else
        std::apply([&](const auto &...inner) { (each_member(object, inner, f), ...); }, member.members);
}

/* Calls f with every ref and slot in value. */
template <class M, class F>
void each_in(M &value, const F &f)
{
    if constexpr (!may_hold_refs<M>()) {
        (void)value;
    } else if constexpr (is_field<std::remove_cv_t<M>>) {
        f(value);
    } else if constexpr (is_a<M, std::optional>) {
        if (value.has_value())
            each_in(*value, f);
    } else if constexpr (is_a<M, std::pair>) {
        each_in(value.first, f);
        each_in(value.second, f);
    } else if constexpr (is_a<M, std::tuple>) {
        std::apply([&f](auto &...part) { (each_in(part, f), ...); }, value);
    } else if constexpr (is_a<M, std::variant>) {
        if (!value.valueless_by_exception())
            std::visit([&f](auto &part) { each_in(part, f); }, value);
    } else if constexpr (lists_refs<M>::value) {
        each_member(value, M::refs, [&f](auto &member) { each_in(member, f); });
    } else {
        for (auto &item : value)
            each_in(item, f);
    }
}

/* Drops every reference in value. What is dropped may run any destructor, so value is emptied before. */
template <class M>
void clear_in(M &value)
{
    if constexpr (!may_hold_refs<M>()) {
        (void)value;
    } else if constexpr (is_field<M> || is_a<M, std::optional>) {
        value.reset();
    } else if constexpr (is_clearable<M>::value) {
        if constexpr (std::is_default_constructible_v<M> && std::is_swappable_v<M>) {
            M gone;
            std::swap(gone, value);
        } else {
            value.clear();
        }
    } else if constexpr (is_a<M, std::pair>) {
        clear_in(value.first);
        clear_in(value.second);
    } else if constexpr (is_a<M, std::tuple>) {
        std::apply([](auto &...part) { (clear_in(part), ...); }, value);
    } else if constexpr (is_a<M, std::variant>) {
        if (!value.valueless_by_exception())
            std::visit([](auto &part) { clear_in(part); }, value);
    } else if constexpr (lists_refs<M>::value) {
        each_member(value, M::refs, [](auto &member) { clear_in(member); });
    } else {
        for (auto &item : value)
            clear_in(item);
    }
}

/* Members of each kind in a list. */
template <class Member>
struct member_kind {
    static constexpr std::size_t fields = 0, others = 0;
};
template <class M, class C>
struct member_kind<M C::*> {
    static_assert(may_hold_refs<M>(), "a member listed in `refs` holds no references");
    static constexpr std::size_t fields = is_field<M>, others = !is_field<M>;
};
template <class... Member>
struct member_kind<member_list<Member...>> {
    static constexpr std::size_t fields = (member_kind<Member>::fields + ... + 0);
    static constexpr std::size_t others = (member_kind<Member>::others + ... + 0);
};
template <class T, class = void>
struct kinds {
    static constexpr std::size_t fields = 0, others = 0;
};
template <class T>
struct kinds<T, std::enable_if_t<lists_refs<T>::value>> : member_kind<std::remove_cv_t<decltype(T::refs)>> {
};

template <class T>
constexpr const char *pretty() noexcept
{
    return __PRETTY_FUNCTION__; /* ... [with T = node] by gcc, [T = node] by clang */
}
template <class T>
constexpr std::string_view name_view() noexcept
{
    constexpr std::string_view all = pretty<T>();
    constexpr std::size_t begin = all.find("T = ") + 4;
    return all.substr(begin, all.size() - begin - 1);
}
template <class T>
struct name_of {
    static constexpr std::size_t size = name_view<T>().size();
    static constexpr std::array<char, size + 1> make() noexcept
    {
        std::array<char, size + 1> made{};
        for (std::size_t i = 0; i < size; i++)
            made[i] = name_view<T>()[i];
        return made;
    }
    static constexpr std::array<char, size + 1> text = make();
};

/* The ouro_type of a class, and what it points to. Made by the first make<T>(), never destroyed. */
template <class T>
class type_of
{
public:
    static ouro_type *get()
    {
        static type_of made;
        return &made.type_;
    }

private:
    static constexpr std::size_t fields = kinds<T>::fields;
    static constexpr bool has_others = kinds<T>::others > 0;

    type_of()
    {
        static_assert(alignof(T) <= alignof(std::max_align_t), "an object's class is aligned to 16 bytes at most");
        static_assert(std::is_nothrow_destructible_v<T>, "an object's destructor must not throw");
        if constexpr (lists_refs<T>::value)
            add(T::refs);
        type_.name = name_of<T>::text.data();
        type_.size = sizeof(ouro_object) + sizeof(T);
        type_.refs = offsets_.data();
        type_.ref_count = fields;
        if constexpr (has_others) {
            type_.traverse = traverse;
            type_.clear = clear;
        }
        if constexpr (has_finalize<T>::value)
            type_.finalize = finalize;
        if constexpr (!std::is_trivially_destructible_v<T> && !(has_only_refs<T>::value && !has_others))
            type_.destroy = destroy;
        if constexpr (has_extra_size<T>::value)
            type_.extra_size = extra_size;
    }

    template <class... Member>
    void add(const member_list<Member...> &list)
    {
        std::apply([this](const auto &...member) { (this->add(member), ...); }, list.members);
    }
    template <class M, class C>
    void add(M C::*member)
    {
        if constexpr (is_field<M>) {
            M T::*own = member; /* by the C++ ABI of gcc and clang, its offset */
            std::ptrdiff_t offset;
            static_assert(sizeof own == sizeof offset, "pointers to members");
            __builtin_memcpy(&offset, &own, sizeof offset);
            offset += static_cast<std::ptrdiff_t>(sizeof(ouro_object));
            if (offset > std::numeric_limits<std::uint16_t>::max())
                throw std::length_error("ouro: a listed member lies beyond the first 64 KiB of its class");
            offsets_[filled_++] = static_cast<std::uint16_t>(offset);
        }
    }

    /* Those of the listed members that have no offset. */
    template <class F>
    static void each_other(T &object, const F &f)
    {
        each_member(object, T::refs, [&f](auto &member) {
            if constexpr (!is_field<std::remove_reference_t<decltype(member)>>)
                f(member);
        });
    }
    static void traverse(ouro_object *self, ouro_visit visit, void *arg) noexcept
    {
        if (!is_whole(self))
            return;
        each_other(*body_of<T>(self), [visit, arg](auto &member) {
            each_in(member, [visit, arg](auto &field) {
                if (ouro_object *referent = field.header(); referent != nullptr)
                    visit(referent, arg);
            });
        });
    }
    static void clear(ouro_object *self) noexcept
    {
        if (is_whole(self))
            each_other(*body_of<T>(self), [](auto &member) { clear_in(member); });
    }
    static void finalize(ouro_object *self) noexcept
    {
        if (is_whole(self))
            body_of<T>(self)->finalize();
    }
    static void destroy(ouro_object *self) noexcept
    {
        if (is_whole(self))
            body_of<T>(self)->~T();
    }
    static std::size_t extra_size(const ouro_object *self) noexcept
    {
        return is_whole(self) ? body_of<const T>(const_cast<ouro_object *>(self))->extra_size() : 0;
    }

    ouro_type type_;
    std::array<std::uint16_t, fields + 1> offsets_{};
    std::size_t filled_ = 0;
};

/* That a U is a T at the same address, as it must be for a ref<U> to be a ref<T>. */
template <class T, class U>
void check_same_place(U *body)
{
    static_assert(in_c<T>::value == in_c<U>::value, "a class with a C header and one without are not converted");
    if (static_cast<const volatile void *>(static_cast<T *>(body)) != static_cast<const volatile void *>(body))
        throw std::logic_error("ouro: a ref to a base that does not lie at the beginning of its class");
}

} // namespace detail

/* A counted reference to a T, or null. As large as a pointer. */
template <class T>
class ref
{
public:
    using element_type = T;

    constexpr ref() noexcept = default;
    constexpr ref(std::nullptr_t) noexcept
    {
    }
    ref(const ref &other) noexcept : header_(static_cast<ouro_object *>(ouro_xnewref(other.header_)))
    {
    }
    ref(ref &&other) noexcept : header_(other.release())
    {
    }
    /* From a class derived from T, of which T is the first base. */
    template <class U, class = std::enable_if_t<std::is_convertible_v<U *, T *>>>
    ref(const ref<U> &other) : ref(ref<U>(other))
    {
    }
    template <class U, class = std::enable_if_t<std::is_convertible_v<U *, T *>>>
    ref(ref<U> &&other)
    {
        detail::check_same_place<T>(other.get());
        header_ = other.release();
    }
    ~ref()
    {
        /* Stored so that it is not left out as dead: a container that is being emptied can be traced, if what dies here
         * makes new objects. */
        ouro_object *was = header_;
        if (was != nullptr) {
            __atomic_store_n(&header_, nullptr, __ATOMIC_RELAXED);
            ouro_decref(was);
        }
    }
    ref &operator=(const ref &other) noexcept
    {
        ref(other).swap(*this);
        return *this;
    }
    ref &operator=(ref &&other) noexcept
    {
        ref(std::move(other)).swap(*this);
        return *this;
    }
    ref &operator=(std::nullptr_t) noexcept
    {
        reset();
        return *this;
    }

    /* Takes a reference over, as from ouro_new, or null. */
    static ref adopt(void *object) noexcept
    {
        ref taken;
        taken.header_ = static_cast<ouro_object *>(object);
        return taken;
    }
    /* Takes one more reference, or null. */
    static ref share(void *object) noexcept
    {
        return adopt(ouro_xnewref(object));
    }
    /* The object as C knows it, borrowed. */
    ouro_object *header() const noexcept
    {
        return header_;
    }
    /* The same, its reference given away: this is null after. */
    ouro_object *release() noexcept
    {
        ouro_object *was = header_;
        header_ = nullptr;
        return was;
    }

    T *get() const noexcept
    {
        return header_ == nullptr ? nullptr : detail::body_of<T>(header_);
    }
    T &operator*() const noexcept
    {
        return *detail::body_of<T>(header_);
    }
    T *operator->() const noexcept
    {
        return detail::body_of<T>(header_);
    }
    explicit operator bool() const noexcept
    {
        return header_ != nullptr;
    }
    void reset() noexcept
    {
        if (ouro_object *was = release(); was != nullptr)
            ouro_decref(was);
    }
    void swap(ref &other) noexcept
    {
        std::swap(header_, other.header_);
    }
    /* The count of the object; exact while no other thread changes it. */
    std::size_t use_count() const noexcept
    {
        return header_ == nullptr ? 0 : ouro_refcount(header_);
    }

private:
    ouro_object *header_ = nullptr;
};

template <class T, class U>
bool operator==(const ref<T> &a, const ref<U> &b) noexcept
{
    return a.header() == b.header();
}
template <class T, class U>
bool operator!=(const ref<T> &a, const ref<U> &b) noexcept
{
    return a.header() != b.header();
}
template <class T, class U>
bool operator<(const ref<T> &a, const ref<U> &b) noexcept
{
    return std::less<ouro_object *>()(a.header(), b.header());
}
template <class T>
bool operator==(const ref<T> &a, std::nullptr_t) noexcept
{
    return a.header() == nullptr;
}
template <class T>
bool operator==(std::nullptr_t, const ref<T> &a) noexcept
{
    return a.header() == nullptr;
}
template <class T>
bool operator!=(const ref<T> &a, std::nullptr_t) noexcept
{
    return a.header() != nullptr;
}
template <class T>
bool operator!=(std::nullptr_t, const ref<T> &a) noexcept
{
    return a.header() != nullptr;
}
template <class T>
void swap(ref<T> &a, ref<T> &b) noexcept
{
    a.swap(b);
}

/* A new reference to an object out of its own members: ouro::self(this). The object must be one that make() made, whole or
 * under construction, and T its class or first base. */
template <class T>
ref<T> self(T *body) noexcept
{
    return ref<T>::share(detail::header_of(body));
}

template <class T, class U>
ref<T> static_ref_cast(ref<U> from)
{
    if (from)
        detail::check_same_place<U>(static_cast<T *>(from.get()));
    return ref<T>::adopt(from.release());
}
/* Null if it is no T. */
template <class T, class U>
ref<T> dynamic_ref_cast(ref<U> from)
{
    if (T *to = dynamic_cast<T *>(from.get()); to != nullptr) {
        detail::check_same_place<U>(to);
        return ref<T>::adopt(from.release());
    }
    return nullptr;
}

/* A new object, its T constructed from args, by braces if T is an aggregate. A safepoint.
 * Throws std::bad_alloc and what the constructor throws, which leaves nothing behind. O(1), amortized. */
template <class T, class... Args>
ref<T> make(Args &&...args)
{
    static_assert(!in_c<T>::value, "ouro_new(&type) and ref<T>::adopt make objects of C");
    constexpr bool brace = !std::is_constructible_v<T, Args &&...>;
    ouro_object *self = static_cast<ouro_object *>(ouro_new(detail::type_of<T>::get()));
    if (self == nullptr)
        throw std::bad_alloc();
    self->ouro_items_ = 1;
    try {
        if constexpr (brace)
            ::new (static_cast<void *>(detail::body_of<T>(self))) T{ std::forward<Args>(args)... };
        else
            ::new (static_cast<void *>(detail::body_of<T>(self))) T(std::forward<Args>(args)...);
    } catch (...) {
        ouro_decref(self);
        throw;
    }
    self->ouro_items_ = 0;
    return ref<T>::adopt(self);
}

/* A reference that several threads read and write with no lock: ouro_slot. Not copied, not moved. */
template <class T>
class slot
{
public:
    slot() noexcept = default;
    slot(ref<T> first) noexcept
    {
        exchange(std::move(first));
    }
    slot(const slot &) = delete;
    slot &operator=(const slot &) = delete;
    ~slot()
    {
        if (slot_.ptr.load(std::memory_order_relaxed) != nullptr)
            reset();
    }

    ref<T> load() const noexcept
    {
        return ref<T>::adopt(ouro_slot_load(&slot_));
    }
    void store(const ref<T> &value) noexcept
    {
        ouro_slot_store(&slot_, value.header());
    }
    ref<T> exchange(ref<T> value) noexcept
    {
        return ref<T>::adopt(ouro_slot_exchange(&slot_, value.release()));
    }
    /* If it holds `expected`, stores value and returns true. */
    bool compare_exchange(const ref<T> &expected, const ref<T> &value) noexcept
    {
        return ouro_slot_compare_exchange(&slot_, expected.header(), value.header());
    }
    void reset() noexcept
    {
        exchange(nullptr);
    }
    /* What it holds, uncounted: for identity, and for the collector. */
    ouro_object *header() const noexcept
    {
        return slot_.ptr.load(std::memory_order_relaxed);
    }

private:
    mutable ouro_slot slot_{};
};

/* A weak reference to a T, or null. Copies share it. */
template <class T>
class weak
{
public:
    constexpr weak() noexcept = default;
    /* To an object that is being destroyed: expired. Throws std::bad_alloc. */
    weak(const ref<T> &to)
    {
        if (to)
            hold(ouro_weakref_new(to.header(), nullptr, nullptr));
    }
    constexpr weak(std::nullptr_t) noexcept
    {
    }
    /* callback() once, after the object died and all weak references to it were cleared, unless all copies of this one
     * died before. */
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &>>>
    weak(const ref<T> &to, F callback)
    {
        if (!to)
            return;
        auto kept = std::make_unique<F>(std::move(callback));
        auto call = [](ouro_weakref *, void *arg) noexcept { (*static_cast<F *>(arg))(); };
        auto drop = [](void *arg) noexcept { delete static_cast<F *>(arg); };
        hold(ouro_weakref_new_full(to.header(), call, kept.get(), drop));
        if (hold_)
            kept.release();
    }

    /* A reference to the object, or null once it died. */
    ref<T> lock() const noexcept
    {
        if (!hold_)
            return nullptr;
        return ref<T>::adopt(ouro_weakref_get(reinterpret_cast<ouro_weakref *>(hold_.header())));
    }
    bool expired() const noexcept
    {
        return !lock();
    }
    void reset() noexcept
    {
        hold_.reset();
    }

private:
    struct held;

    void hold(ouro_weakref *made)
    {
        if (made == nullptr && errno == ENOMEM)
            throw std::bad_alloc();
        hold_ = ref<held>::adopt(made);
    }

    ref<held> hold_;
};

/* OURO_BLOCKING as an object: from here to the end of its scope the thread touches no object. */
class blocking
{
public:
    blocking() noexcept
    {
        ouro_blocking_begin();
    }
    ~blocking()
    {
        ouro_blocking_end();
    }
    blocking(const blocking &) = delete;
    blocking &operator=(const blocking &) = delete;
};

} // namespace ouro

namespace std
{
template <class T>
struct hash<ouro::ref<T>> {
    std::size_t operator()(const ouro::ref<T> &to) const noexcept
    {
        return std::hash<ouro_object *>()(to.header());
    }
};
} // namespace std

#endif
