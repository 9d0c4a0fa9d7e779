/* kvserver/main.c: options, the listeners, the threads; what happens at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kv.h"

enum { THREADS_MAX = 64 };

static struct server_thread threads[THREADS_MAX];

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: kvserver [--port N] [--metrics-port N] [--threads N] [--maxmemory BYTES] [--max-bulk BYTES]\n"
                "                [--max-output BYTES] [--maxclients N]\n"
                "An in-memory server for the Redis protocol, on the loopback interface. Port 0: any; it is printed.\n"
                "BYTES may end in k, m or g. SIGINT, SIGTERM and SHUTDOWN end it.\n");
    return status;
}

static bool take_size(const char *text, size_t *size)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    int shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
    if (errno != 0 || end == text || text[0] == '-' || end[shift != 0] != '\0' || number > SIZE_MAX >> shift)
        return false;
    *size = (size_t)number << shift;
    return true;
}

static bool take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        size_t value;
        if (i + 1 == argc || !take_size(argv[i + 1], &value))
            return false;
        if (strcmp(argv[i], "--port") == 0 && value < 65536)
            options.port = (int)value;
        else if (strcmp(argv[i], "--metrics-port") == 0 && value < 65536)
            options.metrics_port = (int)value;
        else if (strcmp(argv[i], "--threads") == 0 && value <= THREADS_MAX)
            options.threads = (unsigned)value;
        else if (strcmp(argv[i], "--maxclients") == 0 && value <= 1000000)
            options.max_clients = (unsigned)value;
        else if (strcmp(argv[i], "--maxmemory") == 0)
            options.max_memory = value;
        else if (strcmp(argv[i], "--max-bulk") == 0)
            options.max_bulk = value;
        else if (strcmp(argv[i], "--max-output") == 0)
            options.max_output = value;
        else
            return false;
    }
    return true;
}

static bool thread_start(struct server_thread *thread, int listener)
{
    thread->listener = listener;
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    thread->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&thread->mail_lock, NULL);
    /* One thread at a time is woken for a connection. */
    struct epoll_event accept = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &thread->listener };
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = &thread->wake };
    return thread->epoll >= 0 && thread->wake >= 0 && epoll_ctl(thread->epoll, EPOLL_CTL_ADD, listener, &accept) == 0 &&
           epoll_ctl(thread->epoll, EPOLL_CTL_ADD, thread->wake, &wake) == 0 &&
           pthread_create(&thread->id, NULL, server_thread_run, thread) == 0;
}

static void wait_for_the_end(const sigset_t *signals)
{
    const struct timespec patience = { .tv_nsec = 100 * 1000 * 1000 };
    while (!atomic_load(&server_stop))
        if (sigtimedwait(signals, NULL, &patience) > 0)
            atomic_store(&server_stop, true);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    if (!take_options(argc, argv))
        return usage(stderr, 2);
    if (options.threads == 0) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        options.threads = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
    }

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* for all threads: they come by sigtimedwait */
    signal(SIGPIPE, SIG_IGN);

    int listener = listen_on(&options.port);
    int metrics = options.metrics_port < 0 ? -1 : listen_on(&options.metrics_port);
    if (listener < 0 || (options.metrics_port >= 0 && metrics < 0)) {
        perror("kvserver: cannot listen");
        return 1;
    }
    commands_start();
    if (!db_start()) {
        perror("kvserver: cannot start");
        return 1;
    }
    pthread_t metrics_thread;
    if (metrics >= 0 && pthread_create(&metrics_thread, NULL, metrics_run, &metrics) != 0)
        return 1;
    for (unsigned i = 0; i < options.threads; i++)
        if (!thread_start(&threads[i], listener)) {
            perror("kvserver: cannot start a thread");
            return 1;
        }
    printf("kvserver: port %d", options.port);
    if (metrics >= 0)
        printf(", metrics %d", options.metrics_port);
    printf(", %u threads\n", options.threads);
    fflush(stdout);

    OURO_BLOCKING {
        wait_for_the_end(&signals);
        for (unsigned i = 0; i < options.threads; i++) {
            server_wake(&threads[i]);
            pthread_join(threads[i].id, NULL);
        }
        if (metrics >= 0)
            pthread_join(metrics_thread, NULL);
    }
    return 0;
}
