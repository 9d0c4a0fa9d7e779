/* trace/environment.c: tracing that the environment asked for: OURO_TRACE=frames[:sample_bytes], OURO_TRACE_FILE,
 * OURO_TRACE_SIGNAL.
 *
 * Owns        the thread that writes snapshots when the signal comes, and the handler that wakes it, which does nothing else.
 * Invariants  the program gets the file FILE at its exit and FILE.1, FILE.2, ... by the signal, its number in place of %p;
 *             a child that it forks has .PID behind FILE without %p, so that it does not write over its parent's.
 * Sync        [TRACE-ASK]: the number of signals that came. Everything else is set up before main runs, or in a child while
 *             it has one thread.
 */
#include "trace/session.h"

#include <errno.h>
#include <limits.h>
#include <ouro/trace.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10, PATH_ROOM = 4096, NAME_ROOM = PATH_ROOM + 64 };

static char path[PATH_ROOM]; /* empty: none is to be written */
static int path_pid;         /* of the process that was started with it */
static int signo;            /* 0: none */
static uint32_t asked, written;

static bool read_number(const char **text, uint64_t *value)
{
    const char *start = *text;
    for (*value = 0; **text >= '0' && **text <= '9' && *value < UINT64_MAX / 16; ++*text)
        *value = *value * 10 + (uint64_t)(**text - '0');
    return *text != start && (**text < '0' || **text > '9');
}

/* FILE, FILE.PID, and .NUMBER behind it if that is not 0. */
static void name_file(char *name, uint32_t number)
{
    const char *place = strstr(path, "%p");
    size_t before = place != NULL ? (size_t)(place - path) : strlen(path), used = before;
    memcpy(name, path, before);
    name[used] = '\0';
    if (place != NULL)
        used += ouroi_format(name + used, NAME_ROOM - used, "%d%s", (int)getpid(), place + 2);
    else if (getpid() != path_pid)
        used += ouroi_format(name + used, NAME_ROOM - used, ".%d", (int)getpid());
    if (number != 0)
        ouroi_format(name + used, NAME_ROOM - used, ".%u", number);
}

static void write_snapshot(uint32_t number)
{
    char name[NAME_ROOM];
    ouroi_trace_paused++;
    name_file(name, number);
    uint64_t lost = ouroi_trace_lost();
    ouro_snapshot *snapshot = ouro_trace_take_snapshot();
    if (snapshot == NULL && errno == EINVAL)
        ouroi_warn("OURO_TRACE_FILE: tracing was stopped; %s is not written", name);
    else if (snapshot == NULL || ouro_snapshot_dump(snapshot, name) != 0)
        ouroi_warn("OURO_TRACE_FILE: %s could not be written (error %d)", name, errno);
    else if (lost != 0)
        ouroi_warn("OURO_TRACE_FILE: %s lacks %zu blocks, for which there was no memory", name, (size_t)lost);
    ouro_snapshot_free(snapshot);
    ouroi_trace_paused--;
}

/* The signal. */

static void on_signal(int number)
{
    (void)number;
    ouroi_atomic_fetch_add_relaxed(&asked, 1); /* [TRACE-ASK]; relaxed: a count on its own */
    ouroi_os.futex_wake(&asked, 1);
}

static void *writer(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "ouro-trace", 0, 0, 0);
    for (;;) {
        uint32_t wanted = ouroi_atomic_load_relaxed(&asked); /* [TRACE-ASK]; relaxed: a count on its own */
        if (written == wanted)
            ouroi_os.futex_wait(&asked, wanted, 0);
        else
            write_snapshot(++written);
    }
    return NULL;
}

static void start_writer(void)
{
    sigset_t all, mask;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    ouroi_trace_paused++;
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, (size_t)(STACK_BYTES < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : STACK_BYTES));
    if (pthread_create(&thread, &attributes, writer, NULL) != 0)
        ouroi_warn("OURO_TRACE_SIGNAL: there is no thread to write snapshots");
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    ouroi_trace_paused--;
}

static void after_fork_child(void)
{
    ouroi_atomic_store_relaxed(&asked, 0); /* relaxed: the child has one thread */
    written = 0;
    start_writer();
}

/* A name such as SIGUSR2 or USR2, or a number; 0: neither. */
static int signal_of(const char *text)
{
    static const struct {
        const char *name;
        int number;
    } known[] = { { "HUP", SIGHUP }, { "QUIT", SIGQUIT }, { "USR1", SIGUSR1 },    { "USR2", SIGUSR2 },
                  { "URG", SIGURG }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH },  { "IO", SIGIO },
                  { "PWR", SIGPWR }, { "ALRM", SIGALRM }, { "VTALRM", SIGVTALRM } };
    const char *at = text;
    uint64_t number;
    if (read_number(&at, &number) && *at == '\0')
        return number > 0 && number <= (uint64_t)SIGRTMAX && number != SIGKILL && number != SIGSTOP ? (int)number : 0;
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(text, known[i].name) == 0)
            return known[i].number;
    return 0;
}

static void listen_to_signal(const char *text)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    signo = signal_of(text);
    if (signo == 0 || sigaction(signo, &action, NULL) != 0) {
        ouroi_warn("OURO_TRACE_SIGNAL=%s is no signal that can be caught; ignored", text);
        signo = 0;
        return;
    }
    start_writer();
    pthread_atfork(NULL, NULL, after_fork_child);
}

/* Start and end. After the constructor in heap/heap.c. */

static bool read_trace(const char *text, unsigned *frames, size_t *sample_bytes)
{
    uint64_t first, second = 0;
    if (!read_number(&text, &first) || first < 1 || first > 4096)
        return false;
    if (*text == ':') {
        text++;
        if (!read_number(&text, &second) || second > SIZE_MAX / 2)
            return false;
    }
    *frames = (unsigned)first;
    *sample_bytes = (size_t)second;
    return *text == '\0';
}

__attribute__((constructor(102))) static void tracing_starts(void)
{
    const char *trace = ouroi_os_getenv("OURO_TRACE"), *file = ouroi_os_getenv("OURO_TRACE_FILE");
    const char *signal_text = ouroi_os_getenv("OURO_TRACE_SIGNAL");
    unsigned frames;
    size_t sample_bytes;
    int saved = errno;
    if (trace == NULL || *trace == '\0')
        return;
    if (!read_trace(trace, &frames, &sample_bytes)) {
        ouroi_warn("OURO_TRACE=%s is not FRAMES or FRAMES:SAMPLE_BYTES; ignored", trace);
        return;
    }
    if (ouro_trace_start(frames, sample_bytes) != 0)
        ouroi_warn("OURO_TRACE: there is no memory to trace with");
    else if (file != NULL && strlen(file) >= sizeof path)
        ouroi_warn("OURO_TRACE_FILE is too long a name; ignored");
    else if (file != NULL && *file != '\0') {
        memcpy(path, file, strlen(file) + 1);
        path_pid = getpid();
        if (signal_text != NULL && *signal_text != '\0')
            listen_to_signal(signal_text);
    }
    errno = saved;
}

/* At exit(), and at return from main. */
__attribute__((destructor(102))) static void tracing_ends(void)
{
    if (path[0] != '\0')
        write_snapshot(0);
}
