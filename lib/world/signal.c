/* world/signal.c: stopping threads by a signal, wherever they are outside of the library.
 *
 * Owns        the handler, and for each signal that it was ever installed for the action that was there before; the range of
 *             the library's own instructions.
 * Invariants  a handler stays once it is installed, so that a signal sent late finds it; it hands on what we did not send,
 *             which is told by the value that comes with ours.
 * Sync        [SIGNAL]. registry_lock guards installation. The handler runs with all signals blocked.
 *
 * A thread can be stopped where it is if it is RUNNING and nothing of the library is half done on it: the instruction that
 * was interrupted is not the library's, no lock of the library is held, and no section is open (libc, called by the library).
 * Else the handler returns, and the stopper sends the signal again. What it cannot see is a handler of the program for another
 * signal that interrupted the library and is interrupted in turn: such handlers must not run for long.
 *
 * Where the library's instructions are: in the archive they have a section of their own, ouro_text, whose ends the linker
 * names; a shared object is found by its program headers. Linked otherwise into a program, all the program's instructions
 * count as the library's: only threads that are in other libraries, libc's system calls among them, are stopped then.
 *
 * ThreadSanitizer delivers signals inside of calls that it knows to block (epoll_wait, poll, pthread_join, pthread_cond_wait;
 * read in later versions) at once, and otherwise as the thread next calls one of the functions that it intercepts: a loop that
 * calls none is not stopped there, nor is a system call that is restarted.
 */
#include "world/internal.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define HOLD_WAIT_NS ((uint64_t)200000000) /* for a thread to hear */
#define HOLD_MAX_NS ((uint64_t)2000000000) /* that it is kept */

enum { SIGNALS = 65 };

extern const char __start_ouro_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_ouro_text[] __attribute__((weak, visibility("hidden")));

static uintptr_t text_begin, text_end;
static int stop_signo;                    /* 0: off */
static struct sigaction *before[SIGNALS]; /* NULL: not ours */
static char stop_cookie, hold_cookie;     /* their addresses are the values that our signals carry */

/* A thread that is kept for a look. */
static struct {
    uint32_t state; /* a futex word: NOBODY, WANTED, HERE */
    int tid;
    uintptr_t pc, sp;
} held;
enum { NOBODY, WANTED, HERE };

static void find_place(void *context, uintptr_t *pc, uintptr_t *sp)
{
    const ucontext_t *at = context;
#if defined(__x86_64__)
    *pc = (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
    *sp = (uintptr_t)at->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    *pc = (uintptr_t)at->uc_mcontext.pc;
    *sp = (uintptr_t)at->uc_mcontext.sp;
#else
    (void)at;
    *pc = text_begin; /* unknown: never stopped here */
    *sp = 0;
#endif
}

static bool may_stop(struct ouroi_thread *thread, void *context)
{
    uintptr_t pc, sp;
    if (thread == NULL || ouroi_section_depth != 0 || ouroi_locks_held != 0)
        return false;
    find_place(context, &pc, &sp);
    if (pc >= text_begin && pc < text_end)
        return false;
    /* relaxed: the thread's own, and the stopper, who asked, changes it no more */
    return ouroi_atomic_load_relaxed(&thread->state) == (OUROI_RUNNING | OUROI_ASKED);
}

static void stop_here(void *context)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    if (!may_stop(thread, context))
        return;
    uint32_t state = OUROI_RUNNING | OUROI_ASKED;
    OUROI_OWNED_SET(&thread->by_signal, true);
    ouroi_sleep_begin();
    /* [STATE answer] seq_cst, pairs with [STATE stop]: all that the thread did */
    if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_STOPPED)) {
        ouroi_stop_report();
        ouroi_sleep_while_stopped(thread);
    }
    OUROI_OWNED_SET(&thread->by_signal, false);
    ouroi_sleep_end();
}

static void stay_here(void *context)
{
    /* [SIGNAL look] acquire, pairs with [SIGNAL want] */
    if (ouroi_atomic_load_acquire(&held.state) != WANTED || held.tid != (int)syscall(SYS_gettid))
        return;
    find_place(context, &held.pc, &held.sp);
    uint32_t wanted = WANTED;
    /* [SIGNAL here] release, pairs with [SIGNAL heard]: the place */
    if (!ouroi_atomic_cas_release(&held.state, &wanted, HERE))
        return;
    ouroi_os.futex_wake(&held.state, INT_MAX);
    uint64_t deadline = ouroi_os.now_ns() + HOLD_MAX_NS, now;
    /* [SIGNAL look] acquire, pairs with [SIGNAL go] */
    while (ouroi_atomic_load_acquire(&held.state) == HERE && (now = ouroi_os.now_ns()) < deadline)
        ouroi_os.futex_wait(&held.state, HERE, deadline - now);
}

/* As if this handler were not there. */
static void hand_on(int signo, siginfo_t *info, void *context)
{
    /* [SIGNAL before] acquire, pairs with [SIGNAL install] */
    const struct sigaction *action = ouroi_atomic_load_acquire(&before[signo]);
    if (action == NULL || action->sa_handler == SIG_IGN)
        return;
    if (action->sa_handler == SIG_DFL) {
        if (signo == SIGURG || signo == SIGCHLD || signo == SIGWINCH || signo == SIGCONT)
            return;
        sigset_t one; /* the default ends or stops the process: do that */
        struct sigaction default_action = { .sa_handler = SIG_DFL };
        sigaction(signo, &default_action, NULL);
        sigemptyset(&one);
        sigaddset(&one, signo);
        raise(signo);
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
        return;
    }
    sigset_t mask = ((ucontext_t *)context)->uc_sigmask, full;
    for (int s = 1; s < SIGNALS; s++)
        if (sigismember(&action->sa_mask, s) == 1)
            sigaddset(&mask, s);
    if ((action->sa_flags & SA_NODEFER) == 0)
        sigaddset(&mask, signo);
    pthread_sigmask(SIG_SETMASK, &mask, &full);
    if ((action->sa_flags & SA_SIGINFO) != 0)
        action->sa_sigaction(signo, info, context);
    else
        action->sa_handler(signo);
    pthread_sigmask(SIG_SETMASK, &full, NULL);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &stop_cookie)
        stop_here(context);
    else if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &hold_cookie)
        stay_here(context);
    else
        hand_on(signo, info, context);
    errno = saved;
}

static int find_own_object(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    uintptr_t own = (uintptr_t)on_signal;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        uintptr_t at = (uintptr_t)object->dlpi_addr + (uintptr_t)object->dlpi_phdr[i].p_vaddr;
        if (object->dlpi_phdr[i].p_type == PT_LOAD && own >= at && own < at + object->dlpi_phdr[i].p_memsz) {
            text_begin = at;
            text_end = at + object->dlpi_phdr[i].p_memsz;
            return 1;
        }
    }
    return 0;
}

static void find_text(void)
{
    if (text_end != 0)
        return;
    if ((uintptr_t)on_signal >= (uintptr_t)__start_ouro_text && (uintptr_t)on_signal < (uintptr_t)__stop_ouro_text) {
        text_begin = (uintptr_t)__start_ouro_text;
        text_end = (uintptr_t)__stop_ouro_text;
    } else {
        dl_iterate_phdr(find_own_object, NULL);
    }
}

/* Makes the handler that of a signal; 0, -EINVAL, -ENOMEM. */
static int install_locked(int signo)
{
    struct sigaction old, ours = { .sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO | SA_ONSTACK };
    if (signo <= 0 || signo >= SIGNALS || sigaction(signo, NULL, &old) != 0)
        return -EINVAL;
    find_text();
    if ((old.sa_flags & SA_SIGINFO) != 0 && old.sa_sigaction == on_signal)
        return 0;
    struct sigaction *copy = ouroi_meta_alloc(sizeof *copy); /* a handler may be looking at the last one */
    if (copy == NULL)
        return -ENOMEM;
    *copy = old;
    struct sigaction *last = before[signo];
    /* [SIGNAL install] release, pairs with [SIGNAL before] */
    ouroi_atomic_store_release(&before[signo], copy);
    sigfillset(&ours.sa_mask);
    if (sigaction(signo, &ours, NULL) == 0)
        return 0;
    /* [SIGNAL install] release, pairs with [SIGNAL before] */
    ouroi_atomic_store_release(&before[signo], last);
    return -EINVAL;
}

static int stop_by_signal_locked(int signo)
{
    int rc = signo == 0 ? 0 : install_locked(signo);
    if (rc == 0)
        ouroi_atomic_store_relaxed(&stop_signo, signo); /* relaxed: read by stoppers, who hold the lock */
    return rc;
}

int ouro_thread_stop_by_signal(int signo)
{
    if (ouroi_heap_start() != 0) {
        errno = ENOMEM;
        return -1;
    }
    ouroi_registry_acquire();
    int rc = stop_by_signal_locked(signo);
    ouroi_lock_release(&ouroi_registry_lock);
    if (rc == 0)
        return 0;
    errno = -rc;
    return -1;
}

/* A signal's number out of its name or digits; 0: neither. */
static int parse_signal(const char *text)
{
    static const struct {
        const char *name;
        int signo;
    } names[] = { { "HUP", SIGHUP },       { "INT", SIGINT },   { "QUIT", SIGQUIT },     { "USR1", SIGUSR1 },
                  { "USR2", SIGUSR2 },     { "PIPE", SIGPIPE }, { "ALRM", SIGALRM },     { "TERM", SIGTERM },
                  { "CHLD", SIGCHLD },     { "CONT", SIGCONT }, { "TSTP", SIGTSTP },     { "TTIN", SIGTTIN },
                  { "TTOU", SIGTTOU },     { "URG", SIGURG },   { "XCPU", SIGXCPU },     { "XFSZ", SIGXFSZ },
                  { "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH },   { "IO", SIGIO },
                  { "PWR", SIGPWR },       { "TRAP", SIGTRAP }, { "STKFLT", SIGSTKFLT }, { "SYS", SIGSYS } };
    int signo = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && signo < SIGNALS; at++)
        signo = signo * 10 + (*at - '0');
    if (*at == '\0')
        return signo;
    at = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, at) == 0)
            return names[i].signo;
    if (strcmp(at, "RTMIN") == 0 || strcmp(at, "RTMAX") == 0)
        return at[3] == 'I' ? SIGRTMIN : SIGRTMAX;
    return 0;
}

void ouroi_signal_init(void)
{
    const char *value = ouroi_os_getenv("OURO_STW_SIGNAL");
    if (value == NULL || strcmp(value, "0") == 0)
        return;
    int signo = parse_signal(value);
    if (signo == 0 || stop_by_signal_locked(signo) != 0)
        ouroi_warn("OURO_STW_SIGNAL=%s is no signal that can be handled; ignored", value);
}

bool ouroi_signal_is_on(void)
{
    return ouroi_atomic_load_relaxed(&stop_signo) != 0; /* relaxed: see stop_by_signal_locked */
}

static bool send_to(struct ouroi_thread *thread, int signo, void *cookie)
{
    int saved = errno;
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = signo;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = cookie;
    bool sent = syscall(SYS_rt_tgsigqueueinfo, info.si_pid, thread->tid, signo, &info) == 0;
    errno = saved;
    return sent;
}

void ouroi_signal_send(struct ouroi_thread *thread)
{
    send_to(thread, ouroi_atomic_load_relaxed(&stop_signo), &stop_cookie); /* relaxed: see stop_by_signal_locked */
}

/* A real-time signal that nobody uses, highest first; 0: there is none. */
static int find_free_signal(void)
{
    struct sigaction action;
    for (int signo = SIGRTMAX - 1; signo > SIGRTMIN; signo--)
        if (sigaction(signo, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL)
            return signo;
    return 0;
}

static bool await_hearing(void)
{
    uint64_t deadline = ouroi_os.now_ns() + HOLD_WAIT_NS, now;
    /* [SIGNAL heard] acquire, pairs with [SIGNAL here] */
    while (ouroi_atomic_load_acquire(&held.state) == WANTED && (now = ouroi_os.now_ns()) < deadline)
        ouroi_os.futex_wait(&held.state, WANTED, deadline - now);
    uint32_t wanted = WANTED;
    /* [SIGNAL heard] acquire, pairs with [SIGNAL here]: relaxed where it was not heard */
    return !ouroi_atomic_cas_acquire(&held.state, &wanted, NOBODY);
}

bool ouroi_signal_hold(struct ouroi_thread *thread, uintptr_t *pc, uintptr_t *sp)
{
    int saved = errno, signo = ouroi_atomic_load_relaxed(&stop_signo); /* relaxed: see stop_by_signal_locked */
    struct sigaction old, ours = { .sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO | SA_ONSTACK };
    bool borrowed = signo == 0, heard = false;
    sigfillset(&ours.sa_mask);
    if (borrowed && ((signo = find_free_signal()) == 0 || sigaction(signo, &ours, &old) != 0))
        return false;
    held.tid = thread->tid;
    /* [SIGNAL want] release, pairs with [SIGNAL look] */
    ouroi_atomic_store_release(&held.state, WANTED);
    if (send_to(thread, signo, &hold_cookie))
        heard = await_hearing();
    else
        ouroi_atomic_store_relaxed(&held.state, NOBODY); /* relaxed: nobody looks */
    if (heard) {
        *pc = held.pc;
        *sp = held.sp;
    }
    /* A signal that was not heard is still to come: the handler stays for it. */
    if (borrowed && heard)
        sigaction(signo, &old, NULL);
    errno = saved;
    return heard;
}

void ouroi_signal_let_go(void)
{
    /* [SIGNAL go] release, pairs with [SIGNAL look] */
    ouroi_atomic_store_release(&held.state, NOBODY);
    ouroi_os.futex_wake(&held.state, INT_MAX);
}
