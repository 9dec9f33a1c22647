/* What the children in C share: finds the pipe that WATCHDOG_PIPE names, and reads what is said on
 * it. */
#ifndef LINK_H
#define LINK_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum verdict { NONE, EXITED, DROPPED, RELEASED };

static const char *const VERDICTS[] = {"none", "exited", "dropped", "released"};

struct link {
    uint64_t fd;
    uint64_t pipe[2]; /* device and inode */
    bool has_page;
    /* Number, device and inode of the page, offset of the slot, number of the link. */
    uint64_t sentinel[5];
};

/* Reads COUNT numbers with ':' between them, and nothing else. */
static inline bool numbers(const char *text, uint64_t *into, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        errno = 0;
        into[i] = strtoull(text, &end, 10);
        if (errno != 0 || *end != (i + 1 < count ? ':' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

/* Whether the number is open as the file with this device and inode. */
static inline bool is_open_as(uint64_t fd, const uint64_t *file)
{
    struct stat found;
    return fd <= INT32_MAX && fstat((int)fd, &found) == 0 && found.st_dev == file[0] &&
           found.st_ino == file[1];
}

/* False in a process that nobody supervises. Takes the variable out of the environment: it is for
 * this process, and not for the programs that it starts. */
static inline bool find_link(struct link *link)
{
    const char *value = getenv("WATCHDOG_PIPE");
    if (value == NULL)
        return false;
    char *text = strdup(value);
    bool fd = false, pipe = false, bad = text == NULL;
    *link = (struct link){0};
    for (char *field = bad ? NULL : strtok(text, ","); field != NULL; field = strtok(NULL, ",")) {
        if (strncmp(field, "fd=", 3) == 0)
            bad |= !(fd = numbers(field + 3, &link->fd, 1));
        else if (strncmp(field, "pipe=", 5) == 0)
            bad |= !(pipe = numbers(field + 5, link->pipe, 2));
        else if (strncmp(field, "sentinel=", 9) == 0)
            bad |= !(link->has_page = numbers(field + 9, link->sentinel, 5));
        /* Any other key is skipped. */
    }
    free(text);
    if (bad || !fd || !pipe) {
        fprintf(stderr, "WATCHDOG_PIPE=%s\n", value);
        exit(2);
    }
    unsetenv("WATCHDOG_PIPE");
    if (!is_open_as(link->fd, link->pipe))
        return false;
    int number = (int)link->fd;
    return fcntl(number, F_SETFD, FD_CLOEXEC) == 0 && fcntl(number, F_SETFL, O_NONBLOCK) == 0;
}

/* Reads until there is a verdict, or nothing more to read. */
static inline enum verdict read_pipe(const struct link *link)
{
    static char last[8];
    char byte;
    for (;;) {
        ssize_t count = read((int)link->fd, &byte, 1);
        if (count == 0)
            return EXITED;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno == EAGAIN ? NONE : EXITED;
        memmove(last, last + 1, 7);
        last[7] = byte;
        if (memcmp(last, "wd:drop\n", 8) == 0)
            return DROPPED;
        if (memcmp(last, "wd:free\n", 8) == 0)
            return RELEASED;
        if (memcmp(last, "wd:died\n", 8) == 0)
            return EXITED;
    }
}

/* Says the verdict, and ends the process if that is what it means. */
static inline void act(enum verdict verdict)
{
    puts(VERDICTS[verdict]);
    fflush(stdout);
    if (verdict != RELEASED)
        exit(0);
}

/* The work: repeats some of standard input. */
static inline void work(void)
{
    char bytes[4096];
    ssize_t count = read(0, bytes, sizeof bytes);
    if (count <= 0 || write(1, bytes, (size_t)count) != count)
        exit(0);
}

#endif
