/* A child that follows the sentinel's page of WATCHDOG_PIPE, and the pipe: repeats its standard
 * input, and ends when its parent does. The page tells it of that before the parent's memory is
 * taken down, and whoever else holds the pipe. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "link.h"

struct slot {
    _Atomic uint32_t word;
    _Atomic uint32_t link;
};

enum state { LIVES, DIED, SAYS_NOTHING };

static struct slot *slot; /* mapped read-only */
static uint32_t our_link;
static int told;          /* an eventfd: readable when the parent died */

static enum state look(uint32_t *word)
{
    /* The word first: whoever sees the word of a later link then sees its number too. */
    *word = atomic_load_explicit(&slot->word, memory_order_acquire);
    if (atomic_load_explicit(&slot->link, memory_order_relaxed) != our_link)
        return SAYS_NOTHING;
    if (*word & FUTEX_OWNER_DIED)
        return DIED;
    return *word & FUTEX_TID_MASK ? LIVES : SAYS_NOTHING;
}

static void *listen_to_word(void *unused)
{
    uint32_t word;
    enum state state;
    (void)unused;
    while ((state = look(&word)) == LIVES)
        if (syscall(SYS_futex, &slot->word, FUTEX_WAIT, word, NULL, NULL, 0) < 0 &&
            errno != EAGAIN && errno != EINTR)
            return NULL; /* a filter refuses it: the pipe alone remains */
    /* The kernel wakes one sleeper alone. If that was this thread, the others are woken here. */
    syscall(SYS_futex, &slot->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    if (state == DIED && write(told, &(uint64_t){1}, 8) != 8)
        abort();
    return NULL;
}

/* Maps the slot. False if there is none, or it cannot be used: the pipe alone remains then. */
static bool map_slot(const struct link *link)
{
    const uint64_t *sentinel = link->sentinel, offset = sentinel[3];
    if (!link->has_page || !is_open_as(sentinel[0], sentinel + 1))
        return false;
    int page = (int)sentinel[0], seals = fcntl(page, F_GET_SEALS);
    const int needed = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct stat file;
    if (seals < 0 || (seals & needed) != needed || fstat(page, &file) != 0 ||
        sentinel[4] > UINT32_MAX || offset % 8 != 0 || (uint64_t)file.st_size < 8 ||
        offset > (uint64_t)file.st_size - 8)
        return false;
    uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE), within = offset % size;
    char *start = mmap(NULL, size, PROT_READ, MAP_SHARED, page, (off_t)(offset - within));
    if (start == MAP_FAILED)
        return false;
    close(page);
    slot = (struct slot *)(start + within);
    our_link = (uint32_t)sentinel[4];
    return true;
}

int main(void)
{
    struct link link;
    pthread_t listener;
    bool supervised = find_link(&link);
    told = eventfd(0, EFD_CLOEXEC);
    if (supervised && map_slot(&link))
        pthread_create(&listener, NULL, listen_to_word, NULL);
    puts(supervised ? "ready" : "unsupervised");
    fflush(stdout);
    for (;;) {
        /* poll(2) passes over a negative number. */
        int pipe = supervised ? (int)link.fd : -1;
        int listens = supervised ? told : -1;
        struct pollfd fds[] = {{0, POLLIN, 0}, {pipe, POLLIN, 0}, {listens, POLLIN, 0}};
        if (poll(fds, 3, -1) < 0)
            continue;
        enum verdict verdict = NONE;
        if (fds[1].revents != 0 || fds[2].revents != 0)
            verdict = read_pipe(&link);
        /* What the parent said in life counts more than its death, and can be read by now. */
        if (verdict == NONE && fds[2].revents != 0)
            verdict = EXITED;
        if (verdict != NONE) {
            act(verdict);
            close((int)link.fd);
            supervised = false;
        }
        if (fds[0].revents != 0)
            work();
    }
}
