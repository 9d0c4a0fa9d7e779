/* Tracebacks from where stacks are unusual: a signal handler, another stack, code without call frame information. */
#define _GNU_SOURCE
#include "unit/unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <ouro/ouro.h>
#include <ouro/trace.h>

#include "trace/unwind.h"

enum { MOST = 64 };
static void *frames[MOST];
static size_t count;

/* A function in a section of its own, whose ends the linker names. */
#define KNOWN(name)                                                              \
    extern const char __start_of_##name[] __attribute__((visibility("hidden"))), \
        __stop_of_##name[] __attribute__((visibility("hidden")));                \
    static __attribute__((noinline, section("of_" #name)))
#define HAS(name) has(__start_of_##name, __stop_of_##name)

KNOWN(look) void look(void)
{
    uint64_t hash;
    count = ouroi_unwind(frames, MOST, &hash);
    __asm__ __volatile__("" ::: "memory");
}

static bool has(const void *begin, const void *end)
{
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)frames[i] >= (uintptr_t)begin && (uintptr_t)frames[i] < (uintptr_t)end)
            return true;
    return false;
}

KNOWN(on_signal) void on_signal(int signo)
{
    (void)signo;
    look();
    __asm__ __volatile__("" ::: "memory"); /* or the call would be a jump */
}

KNOWN(interrupted) void interrupted(void)
{
    raise(SIGUSR1);
    __asm__ __volatile__("" ::: "memory");
}

KNOWN(test_signal) void test_signal(void **state)
{
    (void)state;
    static char other[64 * 1024];
    stack_t stack = { .ss_sp = other, .ss_size = sizeof other };
    assert_int_equal(sigaltstack(&stack, NULL), 0);
    for (int flags = 0;; flags = SA_ONSTACK) {
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
        assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
        interrupted();
        assert_true(count > 2);
        assert_true(HAS(look));
        assert_true(HAS(on_signal));
        assert_true(HAS(interrupted));
        assert_true(HAS(test_signal));
        if (flags != 0)
            break;
    }
}

static ucontext_t here, there;

KNOWN(on_other_stack) void on_other_stack(void)
{
    look();
    swapcontext(&there, &here);
}

/* A stack that ends with its mapping: nothing is read past it. */
static void test_other_stack(void **state)
{
    (void)state;
    size_t bytes = 64 * 1024;
    char *memory = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory + 4096, bytes, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(getcontext(&there), 0);
    there.uc_stack.ss_sp = memory + 4096;
    there.uc_stack.ss_size = bytes;
    there.uc_link = NULL;
    makecontext(&there, on_other_stack, 0);
    assert_int_equal(swapcontext(&here, &there), 0);
    assert_true(HAS(look));
    assert_true(HAS(on_other_stack));
    munmap(memory, bytes + 8192);
}

#if defined(__x86_64__)
/* push rbp; mov rbp, rsp; call rdi; pop rbp; ret: code that no .eh_frame knows, with a frame pointer; and the same with
 * rubbish in it. */
KNOWN(test_made_at_run_time) void test_made_at_run_time(void **state)
{
    (void)state;
    static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3 };
    static const unsigned char rubbish[] = { 0x55, 0x48, 0xc7, 0xc5, 0x78, 0x56, 0x34, 0x12, 0xff, 0xd7, 0x5d, 0xc3 };
    unsigned char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        skip();
    memcpy(memory, code, sizeof code);
    void (*run)(void (*)(void)) = (void (*)(void (*)(void)))(uintptr_t)memory;
    run(look);
    assert_true(HAS(look));
    assert_true(has(memory, memory + sizeof code));
    assert_true(HAS(test_made_at_run_time));
    memcpy(memory, rubbish, sizeof rubbish);
    ouroi_unwind_prepare();
    run(look);
    assert_true(HAS(look));
    munmap(memory, 4096);
}
#else
static void test_made_at_run_time(void **state)
{
    (void)state;
    skip();
}
#endif

static void test_limits(void **state)
{
    (void)state;
    uint64_t hash, again;
    void *few[3];
    look();
    assert_int_equal(ouroi_unwind(few, 3, &hash), 3);
    assert_int_equal(ouroi_unwind(few, 1, &again), 1);
    assert_true(ouroi_cfi_find(0).kind == OUROI_CFI_NONE);
    assert_true(ouroi_cfi_find(1).kind == OUROI_CFI_NONE);
    assert_true(ouroi_cfi_find((uintptr_t)few).kind == OUROI_CFI_NONE);
    assert_true(ouroi_cfi_find((uintptr_t)test_limits + 16).kind != OUROI_CFI_NONE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_other_stack),
        cmocka_unit_test(test_made_at_run_time),
        cmocka_unit_test(test_limits),
    };
    ouroi_unwind_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
