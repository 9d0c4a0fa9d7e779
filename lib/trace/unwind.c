/* trace/unwind.c: walks a thread's stack by call frame information, which code compiled without frame pointers has too; by
 * frame pointers where there is none (code made at run time).
 *
 * Owns        a cache of what .eh_frame says of return addresses, for all threads, overwritten at will.
 * Invariants  memory is read only where it is known to be the thread's stack, or was found readable. Where the caller
 *             should be is above where its callee is, so that a walk ends.
 * Sync        an entry is two words, the second of them the rule, the first that and the address, exclusive or: of two
 *             writers' halves no address comes out that was looked for, but by a chance of 2^-64 (Hyatt). Relaxed: so any
 *             value will do. Code that was unloaded may have left rules, and other code come to its place: what they lead to
 *             is a wrong traceback, or a short one, until tracing starts again.
 */
#include "trace/unwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

enum { RULE_BITS = 14, RULES = 1 << RULE_BITS, PAGE = 4096 };
#define MAIN_STACK_BYTES ((uintptr_t)128 << 20)

static struct {
    uint64_t key, rule;
} rules[RULES];

static uintptr_t text_begin, text_end; /* of the library */
extern const char __start_ouro_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_ouro_text[] __attribute__((weak, visibility("hidden")));
extern void *__libc_stack_end __attribute__((weak));

/* What may be read. */
static __thread struct {
    uintptr_t bottom, top; /* of the thread's own stack; 0: not looked up yet */
    uintptr_t begin, end;  /* of another stack, as far as it was found readable */
} stack __attribute__((tls_model("initial-exec")));

struct frame {
    uintptr_t ip, sp;
    uintptr_t fp, fp_at; /* the frame pointer, or if fp_at is not 0 what is to be read there */
    uintptr_t limit;     /* where the stack ends that sp is on; 0: unknown */
};

/* A rule of most frames: CFA = sp + offset, a multiple of 8; the return address right below; the frame pointer, if it was
 * saved, further below. Nothing has to be checked of it but that the stack is not at its end. The kind is in bits 2..0, the
 * offset in 31..0 but for these, the frame pointer's in 47..32; 0: it was not saved.
 * Other rules: kind, saved 3, offset 31..4, the frame pointer's 47..32, the return address's 63..48. */
enum { RULE_PLAIN = 7 };

static uint64_t pack(struct ouroi_cfi cfi)
{
    bool plain = cfi.kind == OUROI_CFI_SP && cfi.cfa_offset > 0 && cfi.cfa_offset % 8 == 0 && cfi.ra_offset == -8 &&
                 (!cfi.fp_saved || (cfi.fp_offset % 8 == 0 && cfi.fp_offset >= -cfi.cfa_offset && cfi.fp_offset < 0));
    if (plain)
        return RULE_PLAIN | (uint64_t)cfi.cfa_offset | (uint64_t)(uint16_t)(cfi.fp_saved ? cfi.fp_offset : 0) << 32;
    return (uint64_t)cfi.kind | (uint64_t)cfi.fp_saved << 3 | (uint64_t)((uint32_t)cfi.cfa_offset & 0xfffffff) << 4 |
           (uint64_t)(uint16_t)cfi.fp_offset << 32 | (uint64_t)(uint16_t)(cfi.ra_saved ? cfi.ra_offset : 0) << 48;
}

static OUROI_NOINLINE uint64_t find_rule(uintptr_t ip, size_t at)
{
    uint64_t rule = pack(ouroi_cfi_find(ip - 1));
    ouroi_atomic_store_relaxed(&rules[at].rule, rule); /* relaxed: see the file head */
    ouroi_atomic_store_relaxed(&rules[at].key, rule ^ ip);
    return rule;
}

OUROI_INLINE uint64_t rule_of(uintptr_t ip)
{
    size_t at = (uint32_t)(ip * 0x9e3779b1u) >> (32 - RULE_BITS);
    uint64_t rule = ouroi_atomic_load_relaxed(&rules[at].rule);                 /* relaxed: see the file head */
    if (OUROI_LIKELY((ouroi_atomic_load_relaxed(&rules[at].key) ^ rule) == ip)) /* relaxed: the same */
        return rule;
    return find_rule(ip, at);
}

/* The thread's own stack. The main thread's grows; the kernel keeps as much below its top free of mappings. */
static OUROI_COLD void find_stack(void)
{
    pthread_attr_t attributes;
    void *bottom;
    size_t bytes;
    int saved = errno;
    if (syscall(SYS_gettid) == getpid() && &__libc_stack_end != NULL) {
        stack.top = (uintptr_t)__libc_stack_end;
        stack.bottom = stack.top - MAIN_STACK_BYTES;
    } else if (pthread_getattr_np(pthread_self(), &attributes) == 0) { /* may allocate; that is not traced */
        if (pthread_attr_getstack(&attributes, &bottom, &bytes) == 0) {
            stack.bottom = (uintptr_t)bottom;
            stack.top = stack.bottom + bytes;
        }
        pthread_attr_destroy(&attributes);
    }
    if (stack.top == 0)
        stack.top = stack.bottom = 1;
    errno = saved;
}

/* Whether [at, at + PAGE) can be read: asks the kernel, which copies a word of it, or does not. */
static bool can_read(uintptr_t at)
{
    uint64_t word;
    struct iovec to = { &word, sizeof word }, from = { (void *)at, sizeof word };
    int saved = errno;
    long n = syscall(SYS_process_vm_readv, getpid(), &to, 1ul, &from, 1ul, 0ul);
    errno = saved;
    return n == (long)sizeof word;
}

/* Whether the word at `at` of a stack on which `sp` is can be read; sp is in use. */
static OUROI_NOINLINE bool is_readable(uintptr_t at, uintptr_t sp)
{
    uintptr_t page = ouroi_align_down(sp, PAGE);
    if (at % sizeof(uintptr_t) != 0 || at < sp)
        return false;
    if (page < stack.begin || page >= stack.end) { /* yet another one */
        stack.begin = page;
        stack.end = page + PAGE;
    }
    for (unsigned pages = 0; at >= stack.end; pages++) {
        if (pages == 256 || !can_read(stack.end))
            return false;
        stack.end += PAGE;
    }
    return true;
}

OUROI_INLINE bool may_read(uintptr_t at, const struct frame *frame)
{
    if (OUROI_LIKELY(at >= frame->sp && at < frame->limit && at % sizeof(uintptr_t) == 0))
        return true;
    return frame->limit == 0 && is_readable(at, frame->sp);
}

OUROI_INLINE uintptr_t limit_of(uintptr_t sp)
{
    return sp - stack.bottom < stack.top - stack.bottom ? stack.top : 0;
}

/* Of the thread's own stack, within its limits; the sanitizer's redzones, and what other functions wrote there, are among it. */
__attribute__((no_sanitize("address", "thread"))) static uintptr_t word_at(uintptr_t at)
{
    return *(const uintptr_t *)at;
}

static uintptr_t fp_of(const struct frame *frame)
{
    return frame->fp_at != 0 ? word_at(frame->fp_at) : frame->fp;
}

/* The frame that a signal interrupted. */
static bool leave_signal(struct frame *frame)
{
    const ucontext_t *context = (const ucontext_t *)frame->sp;
#if defined(__x86_64__)
    if (!may_read(frame->sp + offsetof(ucontext_t, uc_mcontext) + sizeof context->uc_mcontext - 8, frame))
        return false;
    frame->ip = (uintptr_t)context->uc_mcontext.gregs[REG_RIP] + 1;
    frame->sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    frame->fp = (uintptr_t)context->uc_mcontext.gregs[REG_RBP];
    frame->fp_at = 0;
    frame->limit = limit_of(frame->sp);
    return true;
#else
    (void)context;
    return false;
#endif
}

/* By frame pointers: the caller's, and above it the return address. */
static bool leave_by_pointer(struct frame *frame)
{
    uintptr_t fp = fp_of(frame);
    if (fp < frame->sp || !may_read(fp, frame) || !may_read(fp + sizeof fp, frame))
        return false;
    frame->ip = word_at(fp + sizeof fp);
    frame->sp = fp + 2 * sizeof fp;
    frame->fp_at = fp;
    return frame->ip > PAGE;
}

/* Makes *frame its caller, by any rule. False: there is none. */
static OUROI_NOINLINE bool leave_slowly(struct frame *frame, uint64_t rule)
{
    uintptr_t cfa = (uintptr_t)((int64_t)(rule << 32) >> 36);
    uintptr_t ra_offset = (uintptr_t)(int64_t)(int16_t)(rule >> 48),
              fp_offset = (uintptr_t)(int64_t)(int16_t)(rule >> 32);
    bool fp_saved = (rule >> 3 & 1) != 0;
    switch (rule & 7) {
    case RULE_PLAIN:
        cfa = frame->sp + (uint32_t)(rule & ~(uint64_t)7);
        ra_offset = (uintptr_t)-8;
        fp_saved = fp_offset != 0;
        break;
    case OUROI_CFI_SP:
        cfa += frame->sp;
        break;
    case OUROI_CFI_FP:
        cfa += fp_of(frame);
        break;
    case OUROI_CFI_FP_AT:
        cfa += fp_of(frame);
        if (!may_read(cfa, frame))
            return false;
        cfa = word_at(cfa);
        break;
    case OUROI_CFI_SIGNAL:
        return leave_signal(frame);
    case OUROI_CFI_NONE:
        return leave_by_pointer(frame);
    default:
        return false;
    }
    uintptr_t ra_at = cfa + ra_offset, fp_at = cfa + fp_offset;
    if (cfa <= frame->sp || ra_at == cfa || !may_read(ra_at, frame))
        return false;
    if (fp_saved) {
        if (!may_read(fp_at, frame))
            return false;
        frame->fp_at = fp_at;
    }
    frame->ip = word_at(ra_at);
    frame->sp = cfa;
    return frame->ip > PAGE;
}

/* Makes *frame its caller. False: there is none. */
OUROI_INLINE bool leave(struct frame *frame)
{
    uint64_t rule = rule_of(frame->ip);
    uintptr_t cfa = frame->sp + (uint32_t)(rule & ~(uint64_t)7);
    if (OUROI_UNLIKELY((rule & 7) != RULE_PLAIN || cfa > frame->limit)) {
        struct frame copy = *frame; /* *frame itself stays in registers */
        bool left = leave_slowly(&copy, rule);
        *frame = copy;
        return left;
    }
    uintptr_t fp_offset = (uintptr_t)(int64_t)(int16_t)(rule >> 32);
    frame->fp_at = fp_offset != 0 ? cfa + fp_offset : frame->fp_at;
    frame->ip = word_at(cfa - sizeof cfa);
    frame->sp = cfa;
    return OUROI_LIKELY(frame->ip > PAGE);
}

/* Here: the registers as they are. */
#if defined(__x86_64__)
#define READ_REGISTERS(frame)                                                    \
    __asm__ __volatile__("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2" \
                         : "=r"((frame).ip), "=r"((frame).sp), "=r"((frame).fp))
#elif defined(__aarch64__)
#define READ_REGISTERS(frame)                                     \
    __asm__ __volatile__("adr %0, .\n\tmov %1, sp\n\tmov %2, x29" \
                         : "=r"((frame).ip), "=r"((frame).sp), "=r"((frame).fp))
#else
#define READ_REGISTERS(frame) \
    ((frame) =                \
         (struct frame){ .sp = (uintptr_t)__builtin_frame_address(0), .fp = (uintptr_t)__builtin_frame_address(0) })
#endif

OUROI_NOINLINE size_t ouroi_unwind(void **frames, size_t max, uint64_t *hash)
{
    struct frame frame;
    size_t count = 0;
    uint64_t sum = 0;
    uintptr_t begin = text_begin, bytes = text_end - text_begin;
    if (OUROI_UNLIKELY(stack.top == 0))
        find_stack();
    READ_REGISTERS(frame);
    frame.fp_at = 0;
    frame.limit = limit_of(frame.sp);
    do {
        if (!leave(&frame))
            goto end;
    } while (frame.ip - 1 - begin < bytes);
    do {
        uintptr_t at = frame.ip - 1;
        frames[count++] = (void *)at;
        sum = (sum ^ at) * 0xbf58476d1ce4e5b9u;
    } while (count < max && leave(&frame));
end:
    *hash = sum;
    return count;
}

static int find_own_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        size_t bytes = info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (uintptr_t)ouroi_unwind - start < bytes) {
            text_begin = start;
            text_end = start + bytes;
            return 1;
        }
    }
    return 0;
}

void ouroi_unwind_prepare(void)
{
    if (text_end == 0 && (uintptr_t)ouroi_unwind >= (uintptr_t)__start_ouro_text &&
        (uintptr_t)ouroi_unwind < (uintptr_t)__stop_ouro_text) {
        text_begin = (uintptr_t)__start_ouro_text;
        text_end = (uintptr_t)__stop_ouro_text;
    } else if (text_end == 0) {
        dl_iterate_phdr(find_own_object, NULL);
    }
    for (size_t i = 0; i < RULES; i++) {
        ouroi_atomic_store_relaxed(&rules[i].key, 0); /* relaxed: see the file head */
        ouroi_atomic_store_relaxed(&rules[i].rule, 0);
    }
}
