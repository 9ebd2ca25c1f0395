/* Faults for a program that does not know of them: preloaded (LD_PRELOAD) by tests, part of no product.
 *
 * LEAK_MB_PER_S=n  a thread takes n MiB a second and never gives them back
 * SOCKET_UNIT=1    it is started as by a socket unit of systemd: descriptor 3 listens at a port of its own
 * HANG_FILE=path   while that file is there, writing to disk (pwrite64, fdatasync, fsync) does not return
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

static void *leak(void *mb_per_s) {
    long chunks_per_s = (long)mb_per_s * (1024 * 1024 / CHUNK);
    for (;;) {
        char *chunk = malloc(CHUNK);
        if (chunk)
            memset(chunk, 1, CHUNK);
        usleep(1000000 / chunks_per_s);
    }
    return NULL;
}

static void hand_over_socket(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char pid[16];
    int listener;
    if (!getenv("SOCKET_UNIT"))
        return;
    /* Not again by the copy. */
    unsetenv("SOCKET_UNIT");
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128) || dup2(listener, 3) != 3)
        abort();
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
}

__attribute__((constructor)) static void begin(void) {
    hand_over_socket();
    const char *mb_per_s = getenv("LEAK_MB_PER_S");
    pthread_t thread;
    if (mb_per_s && atol(mb_per_s) > 0 && pthread_create(&thread, NULL, leak, (void *)atol(mb_per_s)) == 0)
        pthread_detach(thread);
}

static void hang(void) {
    const char *path = getenv("HANG_FILE");
    while (path && access(path, F_OK) == 0)
        usleep(10000);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "pwrite64");
    hang();
    return real(fd, bytes, count, offset);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fdatasync");
    hang();
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fsync");
    hang();
    return real(fd);
}
