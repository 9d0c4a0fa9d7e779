/* examples/find_leak.c: a leak, found: sessions that are closed and never go, because something that was forgotten still holds one.
 *
 * Each session and its log refer to each other: such a cycle, once nothing else refers to it, goes with the next collection.
 * But a closed session's timer is still on the list of timers, and the timer refers to its session. The program writes
 * the graph of its objects to find_leak.graph, or to the file that it is told; `ouro graph find_leak.graph --why session`
 * says what holds the sessions. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <ouro/ouro.h>

struct log;
struct session {
    ouro_object base;
    struct log *log;
    char user[32];
};
struct log {
    ouro_object base;
    struct session *session;
    char lines[200];
};
struct timer {
    ouro_object base;
    struct timer *next;
    struct session *session;
};

static ouro_type session_type = OURO_TYPE(struct session, OURO_REFS(struct session, log));
static ouro_type log_type = OURO_TYPE(struct log, OURO_REFS(struct log, session));
static ouro_type timer_type = OURO_TYPE(struct timer, OURO_REFS(struct timer, next, session));

static struct timer *timers; /* holds the first, which holds the next */

static void *made(void *object)
{
    if (object == NULL) {
        perror("ouro_new");
        exit(1);
    }
    return object;
}

static struct session *open_session(unsigned number)
{
    struct session *session = made(ouro_new(&session_type));
    session->log = made(ouro_new(&log_type));
    session->log->session = ouro_newref(session);
    snprintf(session->user, sizeof session->user, "user %u", number);
    return session;
}

static void start_timer(struct session *session)
{
    struct timer *timer = made(ouro_new(&timer_type));
    timer->session = ouro_newref(session);
    timer->next = timers;
    timers = timer;
}

/* Here is the mistake: a session's timer is not stopped. */
static void close_session(struct session *session)
{
    ouro_decref(session);
}

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct session *session = open_session(i);
        if (i % 100 == 0)
            start_timer(session);
        close_session(session);
    }
    printf("collected: %ld\n", ouro_gc_collect(2));
    int file = open(argc > 1 ? argv[1] : "find_leak.graph", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || ouro_gc_dump_graph(file) != 0) {
        perror("the graph of objects");
        return 1;
    }
    close(file);
    ouro_decref(timers);
    printf("collected after the timers were dropped: %ld\n", ouro_gc_collect(2));
    return 0;
}
